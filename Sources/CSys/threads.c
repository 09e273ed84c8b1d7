#define _GNU_SOURCE
#include "CSys.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

struct work {
  atomic_size_t next;
  size_t count;
  void (*body)(void *context, size_t index);
  void *context;
};

static void *take(void *argument) {
  struct work *work = argument;
  size_t index;
  while ((index = atomic_fetch_add(&work->next, 1)) < work->count) work->body(work->context, index);
  return NULL;
}

enum { most_threads = 8 };

void csys_each(size_t count, void (*body)(void *context, size_t index), void *context) {
  struct work work = {.count = count, .body = body, .context = context};
  cpu_set_t cores;
  size_t wanted = sched_getaffinity(0, sizeof cores, &cores) == 0 ? (size_t)CPU_COUNT(&cores) : 1;
  if (wanted > most_threads) wanted = most_threads;
  if (wanted > count) wanted = count;
  pthread_t others[most_threads];
  size_t made = 0;
  // A signal is for the thread that knows what it means.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (made + 1 < wanted && pthread_create(&others[made], NULL, take, &work) == 0) made++;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  take(&work);
  for (size_t index = 0; index < made; index++) pthread_join(others[index], NULL);
}
