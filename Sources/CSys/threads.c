#define _GNU_SOURCE
#include "CSys.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

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

// Threads that stay. Whoever comes late finds nothing left to do and is not waited for.
static struct {
  pthread_mutex_t lock;
  // There is work for those who sleep, and the last of those who help has ended.
  pthread_cond_t given, done;
  struct work *work;
  // How many may still join, and how many have joined and work.
  size_t places, working;
  size_t threads;
  // Somebody has given them work.
  int is_taken;
} helpers = {.lock = PTHREAD_MUTEX_INITIALIZER, .given = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static void *help(void *argument) {
  (void)argument;
  pthread_mutex_lock(&helpers.lock);
  for (;;) {
    while (helpers.places == 0) pthread_cond_wait(&helpers.given, &helpers.lock);
    helpers.places--;
    helpers.working++;
    struct work *work = helpers.work;
    pthread_mutex_unlock(&helpers.lock);
    take(work);
    pthread_mutex_lock(&helpers.lock);
    if (--helpers.working == 0) pthread_cond_signal(&helpers.done);
  }
  return NULL;
}

// Makes a thread that no signal is for: a signal is for the thread that knows what it means. 0, or what the host says.
static int make(pthread_t *thread, void *(*start)(void *), void *argument) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int result = pthread_create(thread, NULL, start, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return -result;
}

// Gives work to the threads that stay; 0 if they have some already, of which this may be a part.
static int give(struct work *work, size_t wanted) {
  pthread_mutex_lock(&helpers.lock);
  if (helpers.is_taken) {
    pthread_mutex_unlock(&helpers.lock);
    return 0;
  }
  helpers.is_taken = 1;
  while (helpers.threads < wanted) {
    pthread_t thread;
    if (make(&thread, help, NULL) != 0) break;
    pthread_detach(thread);
    helpers.threads++;
  }
  helpers.work = work;
  helpers.places = wanted < helpers.threads ? wanted : helpers.threads;
  for (size_t index = 0; index < helpers.places; index++) pthread_cond_signal(&helpers.given);
  pthread_mutex_unlock(&helpers.lock);
  take(work);
  pthread_mutex_lock(&helpers.lock);
  helpers.places = 0;
  while (helpers.working > 0) pthread_cond_wait(&helpers.done, &helpers.lock);
  helpers.is_taken = 0;
  pthread_mutex_unlock(&helpers.lock);
  return 1;
}

void csys_each(size_t count, void (*body)(void *context, size_t index), void *context) {
  struct work work = {.count = count, .body = body, .context = context};
  cpu_set_t cores;
  size_t wanted = sched_getaffinity(0, sizeof cores, &cores) == 0 ? (size_t)CPU_COUNT(&cores) : 1;
  if (wanted > most_threads) wanted = most_threads;
  if (wanted > count) wanted = count;
  if (wanted < 2 || give(&work, wanted - 1)) {
    // With one core, or with none left to do.
    take(&work);
    return;
  }
  pthread_t others[most_threads];
  size_t made = 0;
  while (made + 1 < wanted && make(&others[made], take, &work) == 0) made++;
  take(&work);
  for (size_t index = 0; index < made; index++) pthread_join(others[index], NULL);
}

struct start {
  void (*body)(void *context);
  void *context;
};

static void *run(void *argument) {
  struct start start = *(struct start *)argument;
  free(argument);
  start.body(start.context);
  return NULL;
}

int csys_thread_start(uint64_t *thread, void (*body)(void *context), void *context) {
  struct start *start = malloc(sizeof *start);
  if (start == NULL) return -ENOMEM;
  *start = (struct start){body, context};
  pthread_t made;
  int result = make(&made, run, start);
  if (result == 0) *thread = (uint64_t)made;
  else free(start);
  return result;
}

void csys_thread_join(uint64_t thread) { pthread_join((pthread_t)thread, NULL); }
