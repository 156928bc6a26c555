#ifndef CTESTSUPPORT_H
#define CTESTSUPPORT_H

#include <stdint.h>

/// Pieces of memory that this thread has asked for so far. A program that links this has its allocations counted: its own
/// `malloc` and relatives stand before those of the C library, and hand on to them.
uint64_t test_allocations(void);

/// 0 where nothing is counted: the address sanitizer brings its own functions.
int test_counts_allocations(void);

#endif
