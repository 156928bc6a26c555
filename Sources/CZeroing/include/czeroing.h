#ifndef CZEROING_H
#define CZEROING_H

// An executable that links this target overwrites all memory of the heap when it is given back: `free`, `realloc` and
// `reallocarray` are replaced for the whole process, libraries included. (glibc's own M_PERTURB leaves out what goes into
// its per-thread caches.) What is left then of a text or a key is what still refers to it, and stacks.
//
// There is nothing to call.

#endif
