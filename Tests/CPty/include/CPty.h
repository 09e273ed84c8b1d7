// Starting child programs the way tests need it: own session, clean signal mask, own pipes or terminal.
#ifndef QATLAS_CPTY_H
#define QATLAS_CPTY_H

#include <sys/types.h>

// Opens a pseudo terminal of a size. Returns the master (close-on-exec) and writes the path of the
// slave; a negated errno on failure.
int cpty_open(int columns, int rows, char *slave_path, size_t path_length);

// Changes the size; the kernel sends SIGWINCH.
int cpty_resize(int master, int columns, int rows);

// Starts a program in a session of its own whose controlling terminal is the slave, with default
// signals and nothing blocked. Descriptors of -1 are the terminal; others replace 0, 1 and 2.
// Returns the process or a negated errno.
pid_t cpty_spawn(const char *path, char *const arguments[], char *const environment[],
                 const char *slave_path, int input, int output, int error);

// Starts a program without a terminal; the descriptors become 0, 1 and 2. `directory` may be NULL.
pid_t cpty_spawn_plain(const char *path, char *const arguments[], char *const environment[],
                       const char *directory, int input, int output, int error);

// Waits without blocking: 1 and the raw status when the process ended, 0 while it runs.
int cpty_reap(pid_t process, int *status);

// Whether the process is stopped (state T in /proc).
int cpty_is_stopped(pid_t process);

// The bytes that lie in a terminal or pipe and wait to be read; -1 if it cannot say.
int cpty_unread(int descriptor);

// Decodes a wait status: exit code, or 128 + signal.
int cpty_exit_code(int status);
int cpty_signal(int status);

// CPU time the process has used so far, in milliseconds; -1 if it is gone.
long cpty_cpu_time(pid_t process);

// The process group in the foreground of the terminal behind the master.
pid_t cpty_foreground(int master);

// The line settings of the terminal as text that can be compared.
int cpty_settings(int master, char *text, size_t length);

#endif
