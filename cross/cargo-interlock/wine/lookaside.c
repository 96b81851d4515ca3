/*
 * Lookaside lists, of which Wine 8 has only the older kinds. The routines that allocate a block and
 * free it are inline functions in the driver; they call the routines of the list.
 */

#include "pool.h"
#include "host.h"
#include "irql.h"

#define DEPTH 256 /* EX_MAXIMUM_LOOKASIDE_DEPTH_BASE */

/* LOOKASIDE_LIST_EX */
struct lookaside {
    SLIST_HEADER head;
    USHORT depth, maximum_depth;
    ULONG total_allocates, allocate_misses, total_frees, free_misses;
    int type;
    ULONG tag, size;
    void *(WINAPI *allocate)(int type, SIZE_T size, ULONG tag, struct lookaside *list);
    void (WINAPI *free)(void *block, struct lookaside *list);
    LIST_ENTRY entry;
    ULONG last_total_allocates, last_allocate_misses, future[2];
};

static void *WINAPI allocate(int type, SIZE_T size, ULONG tag, struct lookaside *list)
{
    (void)list;
    return pool_allocate(type, size, MEMORY_ALLOCATION_ALIGNMENT, tag, CALLER);
}

static void WINAPI release(void *block, struct lookaside *list)
{
    pool_free(block, list->tag);
}

LONG WINAPI ExInitializeLookasideListEx(struct lookaside *list, void *allocate_routine, void *free_routine, int type,
                                        ULONG flags, SIZE_T size, ULONG tag, USHORT depth)
{
    irql_check(DISPATCH_LEVEL, __func__, CALLER);
    if (flags || depth) violation(CALLER, "%s with flags 0x%lx and depth %u", __func__, flags, depth);
    if (size < sizeof(SLIST_ENTRY)) size = sizeof(SLIST_ENTRY);
    *list = (struct lookaside){.depth = DEPTH, .maximum_depth = DEPTH, .type = type, .tag = tag, .size = (ULONG)size};
    InitializeSListHead(&list->head);
    list->allocate = allocate_routine ? allocate_routine : allocate;
    list->free = free_routine ? free_routine : release;
    return 0;
}

void WINAPI ExDeleteLookasideListEx(struct lookaside *list)
{
    SLIST_ENTRY *block = InterlockedFlushSList(&list->head), *next;

    for (; block; block = next)
    {
        next = block->Next;
        list->free(block, list);
    }
}
