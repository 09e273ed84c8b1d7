// The few system calls, constants and handlers that `import Glibc` lacks.
//
// Calls return 0 or a count on success and a negated errno on failure, so that Swift never has to
// read errno after another call has had the chance to change it.
#ifndef QATLAS_CSYS_H
#define QATLAS_CSYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// --- Files -------------------------------------------------------------------------------------

// Turns the range into a hole that reads as zeroes; the file keeps its length.
int csys_punch_hole(int fd, int64_t offset, int64_t length);

// Makes the range read as zeroes and allocates it where the file system can; may grow the file.
int csys_zero_range(int fd, int64_t offset, int64_t length);

// Allocates host blocks for the range; may grow the file.
int csys_allocate(int fd, int64_t offset, int64_t length);

// The first offset at or behind `offset` that holds data (or is a hole); -ENXIO behind the last.
int64_t csys_seek_data(int fd, int64_t offset);
int64_t csys_seek_hole(int fd, int64_t offset);

// Asks the processor to fetch what is about to be looked at; it may be anything, and nothing is read.
static inline void csys_prefetch(const void *place) { __builtin_prefetch(place, 1, 3); }

// Asks the disk to begin with what was written there. Nobody waits for it and nothing is promised.
void csys_start_writing(int fd, int64_t offset, int64_t length);

// Open-file-description locks, the kind QEMU takes. `kind`: 0 unlock, 1 shared, 2 exclusive.
int csys_lock_range(int fd, int64_t start, int64_t length, int kind);
// 1 if somebody else's lock would refuse a lock of `kind`, 0 if not.
int csys_lock_conflicts(int fd, int64_t start, int64_t length, int kind);

// The inode of the file at `path`, which is not followed if it is a link, and when it was made, in
// nanoseconds since 1970; -ENODATA where the file system does not keep that time.
int csys_birth(const char *path, uint64_t *inode, uint64_t *nanoseconds);

int csys_random(void *bytes, size_t count);

// --- Threads -----------------------------------------------------------------------------------

// Calls `body` once for every number below `count`, on all cores at a time, and returns behind the
// last call. The calling thread is one of those that do it, and the only one that takes signals.
void csys_each(size_t count, void (*body)(void *context, size_t index), void *context);

// Starts a thread that no signal is for; it ends when `body` returns, and must be joined.
int csys_thread_start(uint64_t *thread, void (*body)(void *context), void *context);
void csys_thread_join(uint64_t thread);

// --- Sockets -----------------------------------------------------------------------------------

// Listens on a socket in the file system that is made with mode 600; a path that is there is -EADDRINUSE.
int csys_listen_unix(const char *path);
// Listens on 127.0.0.1 alone; port 0 takes any that is free.
int csys_listen_loopback(int port, int *bound);
// The next client. After shutdown() of the listening socket it returns an error.
int csys_accept(int fd);
// Connects to a socket in the file system, or to a port of a host by its name or number, of which no name is known
// with -EADDRNOTAVAIL. What takes longer than so many milliseconds fails, to send later on as well.
int csys_connect_unix(const char *path, int timeout);
int csys_connect_internet(const char *host, int port, int timeout);
// Some bytes, 0 at the end. Waits for them `timeout` milliseconds (-EAGAIN then), for ever if that is negative.
int64_t csys_receive(int fd, void *bytes, size_t count, int timeout);
// Sends all bytes, however long the other side takes.
int csys_send(int fd, const void *bytes, size_t count);

// --- Processes ---------------------------------------------------------------------------------

// From now on a process whose parent has ended becomes a child of this one, which can wait for it.
int csys_adopt_orphans(void);

// --- Interruptions -----------------------------------------------------------------------------

// When a signal ends the program from now on, removes `file` unless it is NULL, and writes `text` to the error
// stream first. NULL for both ends that. -1 for a text or a name that is too long; then nothing changes.
int csys_when_interrupted(const char *text, const char *file);

// --- Text --------------------------------------------------------------------------------------

// Columns one Unicode scalar takes: 0, 1 or 2; -1 for control characters and for
// scalars the C library does not know. Does not depend on the locale of the process.
int csys_width(uint32_t scalar);

// Bytes of names that are not UTF-8 live in texts as the scalars from here on: byte 0xff is the last
// scalar there is. See `ByteText`.
#define CSYS_RAW_BYTES 0x10ff00u

// --- Terminal ----------------------------------------------------------------------------------

// Columns and rows of the terminal behind `fd`; 0 when it does not know them.
int csys_terminal_size(int fd, int *columns, int *rows);

// Keeps the line settings of the terminal, for `csys_terminal_restore` and for the crash guard.
int csys_terminal_save(int fd);
int csys_terminal_restore(int fd);

// A file in memory; returns its descriptor.
int csys_memory_file(void);

// While armed, a crash signal writes the bytes of `restore` to `fd`, puts the saved line settings
// back, copies what the file `captured` holds to `real_error` and makes that descriptor 2 again
// (both -1: nothing is captured), and then lets the previous handler of the signal have it.
int csys_guard_arm(int fd, const void *restore, size_t length, int captured, int real_error);
void csys_guard_disarm(void);

// --- Signals -----------------------------------------------------------------------------------

// 1 for the signals that ask a program to end and can be caught, those of the real-time kind
// included; 0 for all others. SIGPIPE and SIGXFSZ are ignored from the start (startup.c).
int csys_signal_ends(int signal);

// Turns SIGWINCH, SIGCONT, SIGTSTP and every signal of `csys_signal_ends` into bytes (their numbers)
// that can be read from the returned descriptor. A second request to end while the first is unread,
// or five seconds in which nobody reads it, restore the terminal as the crash guard does and end the
// process at once.
int csys_signals_open(void);
void csys_signals_close(void);

// Makes the descriptor of `csys_signals_open` readable from any thread; the byte is 0.
void csys_wake(void);

// The next signal number, 0 for a wake-up, negative when there is none.
int csys_signals_next(void);

// Stops the process group as a terminal does for ^Z; returns when it continues.
void csys_stop_group(void);

// Ends the process with the default action of the signal, so that its parent sees which one it was.
_Noreturn void csys_die_of(int signal);

#endif
