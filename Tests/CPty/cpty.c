// The calls behind the terminal driver of the tests; see CPty.h.
#define _GNU_SOURCE
#include "CPty.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

int cpty_resize(int master, int columns, int rows) {
  struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
  return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

int cpty_unread(int descriptor) {
  int count = 0;
  return ioctl(descriptor, FIONREAD, &count) < 0 ? -1 : count;
}

int cpty_open(int columns, int rows, char *slave_path, size_t path_length) {
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0) return -errno;
  if (grantpt(master) < 0 || unlockpt(master) < 0 ||
      ptsname_r(master, slave_path, path_length) != 0 || cpty_resize(master, columns, rows) < 0) {
    int error = errno;
    close(master);
    return -error;
  }
  return master;
}

// Test runners block signals in their threads and children inherit that, so masks are reset.
static int clean_attributes(posix_spawnattr_t *attributes, short extra) {
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_init(attributes);
  posix_spawnattr_setsigmask(attributes, &none);
  posix_spawnattr_setsigdefault(attributes, &all);
  return posix_spawnattr_setflags(
      attributes, (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | extra));
}

static pid_t spawn(const char *path, char *const arguments[], char *const environment[],
                   posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes) {
  pid_t process;
  posix_spawn_file_actions_addclosefrom_np(actions, 3);
  int error = posix_spawn(&process, path, actions, attributes, arguments, environment);
  posix_spawn_file_actions_destroy(actions);
  posix_spawnattr_destroy(attributes);
  return error != 0 ? -error : process;
}

pid_t cpty_spawn(const char *path, char *const arguments[], char *const environment[],
                 const char *slave_path, int input, int output, int error) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  clean_attributes(&attributes, POSIX_SPAWN_SETSID);
  int given[3] = {input, output, error};
  // The first terminal that a session leader opens becomes its controlling terminal.
  posix_spawn_file_actions_addopen(&actions, 0, slave_path, O_RDWR, 0);
  for (int i = 1; i < 3; i++)
    if (given[i] < 0) posix_spawn_file_actions_adddup2(&actions, 0, i);
  for (int i = 2; i >= 0; i--)
    if (given[i] >= 0) posix_spawn_file_actions_adddup2(&actions, given[i], i);
  return spawn(path, arguments, environment, &actions, &attributes);
}

pid_t cpty_spawn_plain(const char *path, char *const arguments[], char *const environment[],
                       const char *directory, int input, int output, int error) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  clean_attributes(&attributes, POSIX_SPAWN_SETSID);
  if (directory != NULL) posix_spawn_file_actions_addchdir_np(&actions, directory);
  posix_spawn_file_actions_adddup2(&actions, input, 0);
  posix_spawn_file_actions_adddup2(&actions, output, 1);
  posix_spawn_file_actions_adddup2(&actions, error, 2);
  return spawn(path, arguments, environment, &actions, &attributes);
}

int cpty_reap(pid_t process, int *status) {
  pid_t ended = waitpid(process, status, WNOHANG);
  return ended == process ? 1 : ended == 0 ? 0 : -errno;
}

static int read_stat(pid_t process, char *buffer, size_t length) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/stat", process);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t got = read(fd, buffer, length - 1);
  close(fd);
  if (got <= 0) return -1;
  buffer[got] = 0;
  return 0;
}

int cpty_is_stopped(pid_t process) {
  char text[1024];
  if (read_stat(process, text, sizeof text) < 0) return 0;
  const char *name_end = strrchr(text, ')');
  return name_end != NULL && name_end[1] == ' ' && name_end[2] == 'T';
}

long cpty_cpu_time(pid_t process) {
  char text[1024];
  unsigned long user, system;
  if (read_stat(process, text, sizeof text) < 0) return -1;
  const char *name_end = strrchr(text, ')');
  if (name_end == NULL) return -1;
  if (sscanf(name_end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
    return -1;
  return (long)((user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK));
}

int cpty_exit_code(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + (WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

int cpty_signal(int status) { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }

pid_t cpty_foreground(int master) {
  pid_t group;
  return ioctl(master, TIOCGPGRP, &group) < 0 ? -errno : group;
}

int cpty_settings(int master, char *text, size_t length) {
  struct termios settings;
  if (tcgetattr(master, &settings) < 0) return -errno;
  int used = snprintf(text, length, "%x:%x:%x:%x", settings.c_iflag, settings.c_oflag, settings.c_cflag,
                      settings.c_lflag);
  for (int i = 0; i < NCCS && used < (int)length; i++)
    used += snprintf(text + used, length - (size_t)used, ":%x", settings.c_cc[i]);
  return used;
}
