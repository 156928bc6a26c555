#include "czeroing.h"

#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <string.h>

// What glibc's malloc calls itself; its documented way of replacing parts of it is to define the public names.
extern void *__libc_malloc(size_t size);
extern void __libc_free(void *memory);

static void overwrite(void *memory, size_t size) {
    memset(memory, 0, size);
    // The compiler knows that freed memory is not read, and must not draw its conclusion.
    __asm__ __volatile__("" : : "r"(memory) : "memory");
}

void free(void *memory) {
    if (memory == NULL) return;
    int before = errno;
    overwrite(memory, malloc_usable_size(memory));
    __libc_free(memory);
    errno = before;
}

// Never by moving what is there: the old place would keep its content.
void *realloc(void *memory, size_t size) {
    if (memory == NULL) return __libc_malloc(size);
    if (size == 0) {
        free(memory);
        return NULL;
    }
    size_t room = malloc_usable_size(memory);
    if (size <= room && size >= room / 2) {
        overwrite((char *)memory + size, room - size);
        return memory;
    }
    void *moved = __libc_malloc(size);
    if (moved == NULL) return NULL;
    memcpy(moved, memory, size < room ? size : room);
    free(memory);
    return moved;
}

void *reallocarray(void *memory, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(memory, bytes);
}
