/* The pool memory that each image has allocated with ExAllocatePool2. */

#ifndef POOL_H
#define POOL_H

#include <windows.h>

/* The totals that ZwUnloadDriver reports. */
struct pool_totals {
    SIZE_T allocated, freed; /* the number of allocations and of frees */
    SIZE_T blocks, bytes;    /* the blocks that are not freed */
};

/* `caller` is an address in the image that the block is counted for. Returns NULL if Wine has no
 * memory. */
void *pool_allocate(int pool_type, SIZE_T size, SIZE_T alignment, ULONG tag, void *caller);

/* Returns FALSE if ExAllocatePool2 did not allocate the block, so that Wine must free it. A block
 * that was freed before, or that has another tag, is reported and not freed. */
BOOL pool_free(void *address, ULONG tag);

/* Ends the accounting for every image that is no longer loaded, reports its remaining blocks, and
 * returns its totals. */
struct pool_totals pool_close_unloaded_images(void);

#endif
