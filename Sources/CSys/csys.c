#define _GNU_SOURCE
#include "CSys.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

static int status(int result) { return result < 0 ? -errno : result; }

int csys_punch_hole(int fd, int64_t offset, int64_t length) {
  return status(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
}

int csys_zero_range(int fd, int64_t offset, int64_t length) {
  return status(fallocate(fd, FALLOC_FL_ZERO_RANGE, offset, length));
}

int csys_allocate(int fd, int64_t offset, int64_t length) {
  return status(fallocate(fd, 0, offset, length));
}

int64_t csys_seek_data(int fd, int64_t offset) {
  off_t found = lseek(fd, offset, SEEK_DATA);
  return found < 0 ? -errno : found;
}

int64_t csys_seek_hole(int fd, int64_t offset) {
  off_t found = lseek(fd, offset, SEEK_HOLE);
  return found < 0 ? -errno : found;
}

void csys_start_writing(int fd, int64_t offset, int64_t length) {
  // What goes wrong later is told by the flush; a file system that cannot do it early does it then.
  (void)sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE);
}

static struct flock range_lock(int64_t start, int64_t length, int kind) {
  struct flock lock = {
      .l_type = kind == 0 ? F_UNLCK : kind == 1 ? F_RDLCK : F_WRLCK,
      .l_whence = SEEK_SET,
      .l_start = start,
      .l_len = length,
  };
  return lock;
}

int csys_lock_range(int fd, int64_t start, int64_t length, int kind) {
  struct flock lock = range_lock(start, length, kind);
  return status(fcntl(fd, F_OFD_SETLK, &lock));
}

int csys_lock_conflicts(int fd, int64_t start, int64_t length, int kind) {
  struct flock lock = range_lock(start, length, kind);
  if (fcntl(fd, F_OFD_GETLK, &lock) < 0) return -errno;
  return lock.l_type != F_UNLCK;
}

int csys_birth(const char *path, uint64_t *inode, uint64_t *nanoseconds) {
  struct statx found;
  if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &found) < 0) return -errno;
  if (!(found.stx_mask & STATX_BTIME) || found.stx_btime.tv_sec <= 0) return -ENODATA;
  *inode = found.stx_ino;
  *nanoseconds = (uint64_t)found.stx_btime.tv_sec * 1000000000u + found.stx_btime.tv_nsec;
  return 0;
}

int csys_random(void *bytes, size_t count) {
  ssize_t got = getrandom(bytes, count, 0);
  return got < 0 ? -errno : (int)got;
}

static locale_t utf8_locale;
static void make_utf8_locale(void) { utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0); }

int csys_width(uint32_t scalar) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, make_utf8_locale);
  if (utf8_locale == (locale_t)0) return wcwidth((wchar_t)scalar);
  // wcwidth has no variant that takes a locale; uselocale changes only this thread.
  locale_t before = uselocale(utf8_locale);
  int width = wcwidth((wchar_t)scalar);
  uselocale(before);
  return width;
}

int csys_adopt_orphans(void) { return status(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)); }
