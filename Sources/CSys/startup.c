// What has to be so before the first line of any program: the three standard streams are open, and
// the signals for a reader that went away and for a file that grew too long are errors of a call.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

// A stream that the parent closed leaves its number to the next file that is opened. That would be an
// image, and the program's messages would become its header.
static void occupy_streams(void) {
  for (int fd = 0; fd <= 2; fd++) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    int opened = open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY);
    // Without devices the number is still taken: nothing can be read from this or written to it.
    if (opened < 0) opened = open("/", O_PATH);
    if (opened != fd) _exit(126);
  }
}

// Whoever starts other programs hands this on to them: only the bench does, and its tools bear it.
static void ignore(int number) {
  struct sigaction action = {.sa_handler = SIG_IGN};
  sigemptyset(&action.sa_mask);
  sigaction(number, &action, NULL);
}

__attribute__((constructor(101))) static void start(void) {
  occupy_streams();
  ignore(SIGPIPE);
  ignore(SIGXFSZ);
}
