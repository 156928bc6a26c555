#ifndef CWAYBILL_H
#define CWAYBILL_H

#include <stddef.h>
#include <stdint.h>

/// CRC-32C (Castagnoli, RFC 3720 B.4) of `length` bytes, continuing from `crc` (0 to start). Uses the processor's
/// CRC instruction where there is one: Swift has no intrinsic for it, and the table form is eight times slower.
uint32_t waybill_crc32c(uint32_t crc, const void *bytes, size_t length);

/// The table form, callable on every machine, so that a test can hold the two against each other.
uint32_t waybill_crc32c_portable(uint32_t crc, const void *bytes, size_t length);

/// O_DIRECT, which glibc shows only to GNU sources.
extern const int waybill_direct;

/// Takes O_DIRECT from an open file (fcntl(2), F_SETFL). Returns 1 when it was set and is not any more, else 0.
int waybill_use_cache(int descriptor);

/// open(2) is variadic, which Swift imports only partly.
int waybill_open(const char *path, int flags, unsigned int mode);

/// Renames like rename(2) but fails with EEXIST when `target` exists (renameat2(2), RENAME_NOREPLACE; link(2) and
/// unlink(2) where the file system does not know that).
int waybill_rename_new(const char *source, const char *target);

/// Takes or asks for an open-file-description write lock on the whole file (fcntl(2), F_OFD_SETLK / F_OFD_GETLK).
/// Returns 0 on success; for `query`, 1 when another description holds it.
int waybill_lock_exclusive(int descriptor);
int waybill_lock_query(int descriptor);

/// Overwrites at least so many bytes of the calling thread's stack below the caller: what functions that have returned left
/// there.
void waybill_clear_stack(size_t bytes);

/// Keeps the memory of the process out of core dumps and away from other processes of the same user (prctl(2),
/// PR_SET_DUMPABLE; setrlimit(2), RLIMIT_CORE), and out of what Swift's run-time prints of registers and the memory they
/// point to when a process crashes.
void waybill_forbid_dumps(void);

/// Release-store and acquire-load of a 64-bit value in a page shared between processes.
void waybill_store_release(uint64_t *address, uint64_t value);
uint64_t waybill_load_acquire(const uint64_t *address);

/// Notes that a segment's file is mapped at `address`, so that a bus error there can name it. Returns what
/// `waybill_forget_map` takes, which must be called before the map goes; -1 when too many are mapped, and then this one goes
/// without a name.
int waybill_watch_map(const void *address, size_t length, uint64_t segment, int is_sealed);
void waybill_forget_map(int slot);

/// From here on a SIGBUS first writes to standard error which segment could not be read and where; then it ends the
/// process as ever. In C, because Swift cannot promise what a signal handler must: no lock, no allocation.
int waybill_report_bus_errors(void);

#endif
