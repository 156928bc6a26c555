#define _GNU_SOURCE
#include "cwaybill.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static uint32_t table[8][256];

uint32_t waybill_crc32c_portable(uint32_t crc, const void *bytes, size_t length) {
    const uint8_t *p = bytes;
    uint32_t c = ~crc;
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        word ^= c;
        c = table[7][word & 0xFF] ^ table[6][(word >> 8) & 0xFF] ^ table[5][(word >> 16) & 0xFF] ^
            table[4][(word >> 24) & 0xFF] ^ table[3][(word >> 32) & 0xFF] ^ table[2][(word >> 40) & 0xFF] ^
            table[1][(word >> 48) & 0xFF] ^ table[0][word >> 56];
        p += 8;
        length -= 8;
    }
    while (length--) c = (c >> 8) ^ table[0][(c ^ *p++) & 0xFF];
    return ~c;
}

// The CRC instruction takes one step per cycle but answers only after three, so long runs go through three lanes at once.
// Their results are put together by the linear map that `lane` zero bytes apply to a checksum (as in Mark Adler's
// crc32c.c, 2013, after V. Gopal et al., "Fast CRC computation using the CRC32 instruction", Intel 2011).
enum { long_lane = 2048, middle_lane = 256, short_lane = 64 };
static uint32_t long_zeros[4][256], middle_zeros[4][256], short_zeros[4][256];

static uint32_t feed_zeros(uint32_t c, size_t count) {
    while (count--) c = (c >> 8) ^ table[0][c & 0xFF];
    return c;
}

static void fill_zeros(uint32_t zeros[4][256], size_t lane) {
    uint32_t basis[32];
    for (int bit = 0; bit < 32; bit++) basis[bit] = feed_zeros(1u << bit, lane);
    for (int k = 0; k < 4; k++)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t sum = 0;
            for (int bit = 0; bit < 8; bit++)
                if (i >> bit & 1) sum ^= basis[8 * k + bit];
            zeros[k][i] = sum;
        }
}

// The tables of slicing-by-8 (Kounavis and Berry, 2005) and of the lanes, filled once before main: no lock, no first-use race.
__attribute__((constructor)) static void fill_tables(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1)));
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++) table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xFF];
    fill_zeros(long_zeros, long_lane);
    fill_zeros(middle_zeros, middle_lane);
    fill_zeros(short_zeros, short_lane);
}

static uint32_t shift(uint32_t zeros[4][256], uint32_t c) {
    return zeros[0][c & 0xFF] ^ zeros[1][c >> 8 & 0xFF] ^ zeros[2][c >> 16 & 0xFF] ^ zeros[3][c >> 24];
}

static uint64_t word_at(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
#define CRC_TARGET __attribute__((target("sse4.2")))
#define CRC_WORD(c, word) ((uint32_t)_mm_crc32_u64(c, word))
#define CRC_BYTE(c, byte) _mm_crc32_u8(c, byte)
static int has_hardware(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#define CRC_TARGET __attribute__((target("+crc")))
#define CRC_WORD(c, word) __crc32cd(c, word)
#define CRC_BYTE(c, byte) __crc32cb(c, byte)
static int has_hardware(void) { return (getauxval(AT_HWCAP) & (1 << 7)) != 0; }
#endif

#ifdef CRC_TARGET
CRC_TARGET static uint32_t three_lanes(uint32_t zeros[4][256], size_t lane, uint32_t c0, const uint8_t *p) {
    uint32_t c1 = 0, c2 = 0;
    for (const uint8_t *end = p + lane; p < end; p += 8) {
        c0 = CRC_WORD(c0, word_at(p));
        c1 = CRC_WORD(c1, word_at(p + lane));
        c2 = CRC_WORD(c2, word_at(p + 2 * lane));
    }
    return shift(zeros, shift(zeros, c0) ^ c1) ^ c2;
}

CRC_TARGET static uint32_t crc32c_hardware(uint32_t crc, const void *bytes, size_t length) {
    const uint8_t *p = bytes;
    uint32_t c = ~crc;
    for (; length >= 3 * long_lane; p += 3 * long_lane, length -= 3 * long_lane)
        c = three_lanes(long_zeros, long_lane, c, p);
    for (; length >= 3 * middle_lane; p += 3 * middle_lane, length -= 3 * middle_lane)
        c = three_lanes(middle_zeros, middle_lane, c, p);
    for (; length >= 3 * short_lane; p += 3 * short_lane, length -= 3 * short_lane)
        c = three_lanes(short_zeros, short_lane, c, p);
    for (; length >= 8; p += 8, length -= 8) c = CRC_WORD(c, word_at(p));
    while (length--) c = CRC_BYTE(c, *p++);
    return ~c;
}
#else
static uint32_t crc32c_hardware(uint32_t crc, const void *b, size_t n) { return waybill_crc32c_portable(crc, b, n); }
static int has_hardware(void) { return 0; }
#endif

uint32_t waybill_crc32c(uint32_t crc, const void *bytes, size_t length) {
    return has_hardware() ? crc32c_hardware(crc, bytes, length) : waybill_crc32c_portable(crc, bytes, length);
}

const int waybill_direct = O_DIRECT;

int waybill_use_cache(int descriptor) {
    int flags = fcntl(descriptor, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT) && fcntl(descriptor, F_SETFL, flags & ~O_DIRECT) == 0;
}

int waybill_open(const char *path, int flags, unsigned int mode) { return open(path, flags, mode); }

static struct flock whole_file(void) {
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return lock;
}

int waybill_lock_exclusive(int descriptor) {
    struct flock lock = whole_file();
    return fcntl(descriptor, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

int waybill_lock_query(int descriptor) {
    struct flock lock = whole_file();
    if (fcntl(descriptor, F_OFD_GETLK, &lock) != 0) return -errno;
    return lock.l_type == F_UNLCK ? 0 : 1;
}

__attribute__((noinline)) void waybill_clear_stack(size_t bytes) {
    char space[4096];
    memset(space, 0, sizeof space);
    if (bytes > sizeof space) waybill_clear_stack(bytes - sizeof space);
    // Nobody reads it, which must not tempt the compiler to leave it out, or to give up this frame before the next.
    __asm__ __volatile__("" : : "r"(space) : "memory");
}

void waybill_forbid_dumps(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTRAP, SIGQUIT};
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) signal(deadly[i], SIG_DFL);
}

void waybill_store_release(uint64_t *address, uint64_t value) { __atomic_store_n(address, value, __ATOMIC_RELEASE); }
uint64_t waybill_load_acquire(const uint64_t *address) { return __atomic_load_n(address, __ATOMIC_ACQUIRE); }

int waybill_rename_new(const char *source, const char *target) {
    if (renameat2(AT_FDCWD, source, AT_FDCWD, target, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    if (link(source, target) != 0) return -1;
    return unlink(source);
}
