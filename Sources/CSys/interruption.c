// What is said, and which file goes, when a signal ends a command in the middle. The handler calls only what may be
// called in one.
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "include/CSys.h"

static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
static char said[2048];
static char unfinished[4096];

static void interrupted(int number) {
  if (unfinished[0]) unlink(unfinished);
  if (said[0] && write(STDERR_FILENO, said, strlen(said)) < 0) { /* nobody is there to be told */ }
  // The handler is gone by now, so that the signal ends the program as it would have done.
  raise(number);
}

int csys_when_interrupted(const char *text, const char *file) {
  if (text && strlen(text) >= sizeof said) return -1;
  if (file && strlen(file) >= sizeof unfinished) return -1;
  sigset_t set, before;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaddset(&set, numbers[i]);
  pthread_sigmask(SIG_BLOCK, &set, &before);
  strcpy(said, text ? text : "");
  strcpy(unfinished, file ? file : "");
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    struct sigaction now;
    // Who started the program may want it to go on whatever comes.
    if (sigaction(numbers[i], NULL, &now) != 0 || now.sa_handler == SIG_IGN) continue;
    struct sigaction action = {.sa_flags = SA_RESETHAND | SA_NODEFER};
    action.sa_handler = text ? interrupted : SIG_DFL;
    sigaction(numbers[i], &action, NULL);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return 0;
}
