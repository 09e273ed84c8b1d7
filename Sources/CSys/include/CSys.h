// The few system calls, constants and handlers that `import Glibc` lacks.
//
// Calls return 0 or a count on success and a negated errno on failure, so that Swift never has to
// read errno after another call has had the chance to change it.
#ifndef QATLAS_CSYS_H
#define QATLAS_CSYS_H

#include <stddef.h>
#include <stdint.h>

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

// Open-file-description locks, the kind QEMU takes. `kind`: 0 unlock, 1 shared, 2 exclusive.
int csys_lock_range(int fd, int64_t start, int64_t length, int kind);
// 1 if somebody else's lock would refuse a lock of `kind`, 0 if not.
int csys_lock_conflicts(int fd, int64_t start, int64_t length, int kind);

int csys_random(void *bytes, size_t count);

// --- Text --------------------------------------------------------------------------------------

// Columns one Unicode scalar takes: 0, 1 or 2; -1 for control characters and for
// scalars the C library does not know. Does not depend on the locale of the process.
int csys_width(uint32_t scalar);

#endif
