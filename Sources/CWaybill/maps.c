#define _GNU_SOURCE
#include "cwaybill.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

// A handler may take no lock, and the thread it interrupts may hold any. So the maps stand in a fixed table: a slot is free
// where `start` is 0, and belongs to whoever put `taken` there until that is replaced by the address.
enum { slots = 8192, taken = 1 };

static struct {
    _Atomic uintptr_t start;
    _Atomic size_t length;
    _Atomic uint64_t segment;
    _Atomic int is_sealed;
} maps[slots];

int waybill_watch_map(const void *address, size_t length, uint64_t segment, int is_sealed) {
    for (int slot = 0; slot < slots; slot++) {
        uintptr_t expected = 0;
        if (!atomic_compare_exchange_strong(&maps[slot].start, &expected, taken)) continue;
        atomic_store(&maps[slot].length, length);
        atomic_store(&maps[slot].segment, segment);
        atomic_store(&maps[slot].is_sealed, is_sealed);
        atomic_store(&maps[slot].start, (uintptr_t)address);
        return slot;
    }
    return -1;
}

void waybill_forget_map(int slot) {
    if (slot >= 0 && slot < slots) atomic_store(&maps[slot].start, 0);
}

// The handler may call nothing but what POSIX lists as async-signal-safe: no printf, no allocation.
struct text {
    char bytes[256];
    size_t length;
};

static void add(struct text *text, const char *string) {
    size_t length = strlen(string);
    if (length > sizeof text->bytes - text->length) length = sizeof text->bytes - text->length;
    memcpy(text->bytes + text->length, string, length);
    text->length += length;
}

static void add_number(struct text *text, uint64_t number, int digits_min) {
    char digits[21];
    int at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0 || (int)sizeof digits - 1 - at < digits_min);
    add(text, digits + at);
}

// Whoever reads a map keeps it, so the slot of the faulting address does not change meanwhile. Others may: a slot that is
// not the same after its fields were read as before says nothing.
static void add_place(struct text *text, uintptr_t address) {
    for (int slot = 0; slot < slots; slot++) {
        uintptr_t start = atomic_load(&maps[slot].start);
        if (start <= taken || address < start || address - start >= atomic_load(&maps[slot].length)) continue;
        uint64_t segment = atomic_load(&maps[slot].segment);
        int is_sealed = atomic_load(&maps[slot].is_sealed);
        if (atomic_load(&maps[slot].start) != start) continue;
        add(text, "segment ");
        add_number(text, segment, 20);
        add(text, is_sealed ? ".sealed" : ".wal");
        add(text, " cannot be read at offset ");
        add_number(text, address - start, 1);
        add(text, ": the medium failed, or the file was cut. Run waybill verify, and restore the file from a backup\n");
        return;
    }
    add(text, "bus error outside of every segment\n");
}

static void bus_error(int number, siginfo_t *info, void *context) {
    (void)context;
    struct text text = {.length = 0};
    add(&text, "waybill: SIGBUS: ");
    // Where somebody sent the signal there is no address.
    add_place(&text, info->si_code > 0 ? (uintptr_t)info->si_addr : 0);
    // Nobody is left to whom a failure of this could be told.
    ssize_t written = write(STDERR_FILENO, text.bytes, text.length);
    (void)written;
    // Blocked until this returns; then the process ends as it would have without us, with its core.
    signal(number, SIG_DFL);
    raise(number);
}

int waybill_report_bus_errors(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = bus_error;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, NULL);
}
