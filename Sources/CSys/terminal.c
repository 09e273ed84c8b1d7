// Signals and the crash guard: everything here may run inside a signal handler, so it calls only
// functions that POSIX allows there and touches only memory that was prepared before.
#define _GNU_SOURCE
#include "CSys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int status(int result) { return result < 0 ? -errno : result; }

int csys_terminal_size(int fd, int *columns, int *rows) {
  struct winsize size = {0};
  if (ioctl(fd, TIOCGWINSZ, &size) < 0) return -errno;
  *columns = size.ws_col;
  *rows = size.ws_row;
  return 0;
}

static struct termios saved_settings;
static volatile sig_atomic_t settings_are_saved;

int csys_terminal_save(int fd) {
  if (tcgetattr(fd, &saved_settings) < 0) return -errno;
  settings_are_saved = 1;
  return 0;
}

int csys_terminal_restore(int fd) {
  if (!settings_are_saved) return 0;
  return status(tcsetattr(fd, TCSADRAIN, &saved_settings));
}

int csys_memory_file(void) { return status(memfd_create("stderr", MFD_CLOEXEC)); }

// --- Crash guard -------------------------------------------------------------------------------

static const int crash_signals[] = {SIGSEGV, SIGABRT, SIGILL, SIGBUS, SIGFPE, SIGTRAP};
static struct sigaction previous_crash[COUNT(crash_signals)];
static unsigned char restore_bytes[512];
static size_t restore_length;
static int guard_fd = -1;
static int guard_captured = -1;
static int guard_error = -1;
static volatile sig_atomic_t guard_is_armed;
static int guard_has_fired;
static void *guard_stack;

// Stops where the descriptor takes no more.
static void write_all(int fd, const unsigned char *bytes, size_t length) {
  while (length > 0) {
    ssize_t written = write(fd, bytes, length);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    bytes += written;
    length -= (size_t)written;
  }
}

// Leaves the terminal as it was found. Safe in a handler; acts once however many threads crash.
static void restore_now(void) {
  if (!guard_is_armed || __atomic_exchange_n(&guard_has_fired, 1, __ATOMIC_SEQ_CST)) return;
  int before = errno;
  // A crash in the background must not be stopped for touching the terminal.
  sigset_t blocked, mask;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTTOU);
  pthread_sigmask(SIG_BLOCK, &blocked, &mask);
  // A terminal that takes nothing (^S, a dead line) must not keep the program.
  int flags = fcntl(guard_fd, F_GETFL);
  fcntl(guard_fd, F_SETFL, flags | O_NONBLOCK);
  write_all(guard_fd, restore_bytes, restore_length);
  fcntl(guard_fd, F_SETFL, flags);
  if (settings_are_saved) tcsetattr(guard_fd, TCSANOW, &saved_settings);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  if (guard_captured >= 0 && guard_error >= 0) {
    dup2(guard_error, 2);
    unsigned char buffer[1024];
    off_t offset = 0;
    for (int round = 0; round < 64; round++) {
      ssize_t got = pread(guard_captured, buffer, sizeof buffer, offset);
      if (got <= 0) break;
      write_all(2, buffer, (size_t)got);
      offset += got;
    }
  }
  errno = before;
}

static void crashed(int number, siginfo_t *info, void *context) {
  (void)context;
  restore_now();
  for (size_t i = 0; i < COUNT(crash_signals); i++)
    if (crash_signals[i] == number) sigaction(number, &previous_crash[i], NULL);
  // A fault happens again at the same instruction and then reaches the previous handler with all
  // it wants to know. A signal that was sent, and a breakpoint, would not: send it again.
  if (info->si_code <= 0 || number == SIGTRAP || number == SIGABRT) raise(number);
}

int csys_guard_arm(int fd, const void *restore, size_t length, int captured, int real_error) {
  if (length > sizeof restore_bytes) return -E2BIG;
  if (guard_is_armed) return -EBUSY;
  memcpy(restore_bytes, restore, length);
  restore_length = length;
  guard_fd = fd;
  guard_captured = captured;
  guard_error = real_error;
  guard_has_fired = 0;
  if (guard_stack == NULL) {
    // A stack of its own, so that running out of the ordinary one is survived too.
    size_t size = 64 * 1024;
    guard_stack = malloc(size);
    stack_t stack = {.ss_sp = guard_stack, .ss_size = size};
    if (guard_stack != NULL) sigaltstack(&stack, NULL);
  }
  struct sigaction action = {.sa_sigaction = crashed, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigemptyset(&action.sa_mask);
  guard_is_armed = 1;
  for (size_t i = 0; i < COUNT(crash_signals); i++)
    sigaction(crash_signals[i], &action, &previous_crash[i]);
  return 0;
}

void csys_guard_disarm(void) {
  if (!guard_is_armed) return;
  for (size_t i = 0; i < COUNT(crash_signals); i++)
    sigaction(crash_signals[i], &previous_crash[i], NULL);
  guard_is_armed = 0;
}

// --- Signals as bytes --------------------------------------------------------------------------

static struct sigaction previous_caught[NSIG];
static int signal_pipe[2] = {-1, -1};
// The request to end that nobody has read yet; 0 if there is none.
static volatile sig_atomic_t end_requested;
// Seconds after which it is carried out although nobody reads it: long work, or a terminal that takes
// no more output.
static const unsigned end_patience = 5;
static int wake_is_pending;

int csys_signal_ends(int number) {
  switch (number) {
  case SIGHUP: case SIGINT: case SIGQUIT: case SIGTERM: case SIGUSR1: case SIGUSR2: case SIGALRM:
  case SIGVTALRM: case SIGPROF: case SIGIO: case SIGXCPU: case SIGSYS: case SIGSTKFLT: case SIGPWR:
    return 1;
  default:
    // Those below SIGRTMIN belong to the C library.
    return number >= SIGRTMIN && number <= SIGRTMAX;
  }
}

static int is_caught(int number) {
  return number == SIGWINCH || number == SIGCONT || number == SIGTSTP || csys_signal_ends(number);
}

static void caught(int number) {
  int before = errno;
  int ends = csys_signal_ends(number);
  if (ends) {
    if (end_requested) {
      restore_now();
      csys_die_of(number == SIGALRM ? end_requested : number);
    }
    end_requested = number;
    alarm(end_patience);
  }
  unsigned char byte = (unsigned char)number;
  ssize_t written = write(signal_pipe[1], &byte, 1);
  // A full pipe means that nobody reads any more.
  if (written != 1 && ends) {
    restore_now();
    csys_die_of(number);
  }
  errno = before;
}

int csys_signals_open(void) {
  if (signal_pipe[0] >= 0) return -EBUSY;
  if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
  end_requested = 0;
  struct sigaction action = {.sa_handler = caught, .sa_flags = SA_RESTART | SA_ONSTACK};
  sigemptyset(&action.sa_mask);
  sigset_t wanted;
  sigemptyset(&wanted);
  for (int number = 1; number < NSIG; number++) {
    if (!is_caught(number)) continue;
    sigaction(number, NULL, &previous_caught[number]);
    // What the parent told us to ignore (nohup, a background job) stays ignored.
    if (csys_signal_ends(number) && previous_caught[number].sa_handler == SIG_IGN) continue;
    sigaction(number, &action, NULL);
    sigaddset(&wanted, number);
  }
  pthread_sigmask(SIG_UNBLOCK, &wanted, NULL);
  return signal_pipe[0];
}

void csys_signals_close(void) {
  if (signal_pipe[0] < 0) return;
  for (int number = 1; number < NSIG; number++)
    if (is_caught(number)) sigaction(number, &previous_caught[number], NULL);
  close(signal_pipe[0]);
  close(signal_pipe[1]);
  signal_pipe[0] = signal_pipe[1] = -1;
}

void csys_wake(void) {
  unsigned char byte = 0;
  // One unread wake-up is enough, and keeps a busy thread from filling the pipe.
  if (signal_pipe[1] < 0 || __atomic_exchange_n(&wake_is_pending, 1, __ATOMIC_SEQ_CST)) return;
  ssize_t written = write(signal_pipe[1], &byte, 1);
  (void)written;
}

int csys_signals_next(void) {
  unsigned char byte;
  ssize_t got = read(signal_pipe[0], &byte, 1);
  if (got == 1) {
    if (csys_signal_ends(byte)) {
      alarm(0);
      end_requested = 0;
    }
    if (byte == 0) __atomic_store_n(&wake_is_pending, 0, __ATOMIC_SEQ_CST);
    return byte;
  }
  return got < 0 ? -errno : -EPIPE;
}

void csys_stop_group(void) {
  struct sigaction stop = {.sa_handler = SIG_DFL}, ours;
  sigaction(SIGTSTP, &stop, &ours);
  kill(0, SIGTSTP);
  sigaction(SIGTSTP, &ours, NULL);
}

_Noreturn void csys_die_of(int number) {
  struct sigaction action = {.sa_handler = SIG_DFL};
  sigaction(number, &action, NULL);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, number);
  raise(number);
  pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
  _exit(128 + number);
}
