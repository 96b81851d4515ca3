/* The accounts of the pool that ExAllocatePool2 hands out, kept for each image that asks for it. */

#ifndef POOL_H
#define POOL_H

#include <windows.h>

/* What ZwUnloadDriver reports. */
struct pool_totals {
    SIZE_T allocated, freed; /* blocks, ever */
    SIZE_T blocks, bytes;    /* not freed */
};

/* `caller` is an address in the image that the block is charged to. NULL if Wine has no more. */
void *pool_allocate(int pool_type, SIZE_T size, SIZE_T alignment, ULONG tag, void *caller);

/* FALSE if ExAllocatePool2 did not hand the address out, so that it is Wine's to free. A block that
 * has been freed before, or whose tag is another, is reported and left as it is. */
BOOL pool_free(void *address, ULONG tag);

/* Closes the accounts of every image that is no longer loaded, reports the blocks that it left, and
 * returns its totals. */
struct pool_totals pool_close_unloaded_images(void);

#endif
