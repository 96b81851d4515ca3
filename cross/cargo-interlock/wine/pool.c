/*
 * A freed block is not returned to Wine immediately. It is kept for a while and filled with a
 * pattern, so that its address is not reused. This makes it possible to detect a second free of it,
 * and a write to it, which changes the pattern.
 */

#include "pool.h"
#include "host.h"

#include <string.h>

#define BUCKETS 4096
#define FREED_KEPT 256
#define FREED_PATTERN 0xdd
#define LEAKS_LISTED 16

/* Routines of Wine, under the names that build.sh gives them in the import library. */
void *WINAPI wine_ExAllocatePoolWithTag(int pool_type, SIZE_T size, ULONG tag);
void WINAPI wine_ExFreePoolWithTag(void *address, ULONG tag);

struct image {
    struct image *next;
    void *base;
    BOOL closed;
    char name[MAX_PATH];
    struct pool_totals totals;
};

struct block {
    struct block *next;
    void *address; /* returned to the driver: aligned, in the allocation that starts at `base` */
    void *base;
    SIZE_T size;
    ULONG tag;
    BOOL freed;
    struct image *image;
};

static SRWLOCK lock = SRWLOCK_INIT;
static struct image *images;
static struct block *buckets[BUCKETS];
static struct block *freed_blocks[FREED_KEPT];
static unsigned next_freed;

static struct block **find(void *address)
{
    struct block **link = &buckets[((ULONG_PTR)address >> 4) % BUCKETS];

    while (*link && (*link)->address != address) link = &(*link)->next;
    return link;
}

static struct image *image_of(void *caller)
{
    void *base = NULL;
    struct image *image;

    RtlPcToFileHeader(caller, &base);
    for (image = images; image; image = image->next)
        if (image->base == base && !image->closed) return image;

    image = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof(*image));
    if (!image) return NULL;
    image->base = base;
    if (!GetModuleFileNameA(base, image->name, sizeof(image->name))) strcpy(image->name, "unknown");
    image->next = images;
    images = image;
    return image;
}

/* Pool tags are read from the lowest byte up. */
static void tag_text(ULONG tag, char text[5])
{
    int i;

    for (i = 0; i < 4; i++, tag >>= 8) text[i] = (tag & 0xff) >= 0x20 && (tag & 0xff) < 0x7f ? (char)tag : '.';
    text[4] = 0;
}

static void report_block(const char *what, const struct block *block)
{
    char tag[5];

    tag_text(block->tag, tag);
    report("%s: %zu bytes with tag '%s' of %s", what, block->size, tag, file_name(block->image->name));
}

void *pool_allocate(int pool_type, SIZE_T size, SIZE_T alignment, ULONG tag, void *caller)
{
    struct block *block = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof(*block)), **link;
    struct image *image;

    if (!block || size + alignment < size || !(block->base = wine_ExAllocatePoolWithTag(pool_type, size + alignment - 1, tag)))
    {
        HeapFree(GetProcessHeap(), 0, block);
        return NULL;
    }
    block->address = (void *)(((ULONG_PTR)block->base + alignment - 1) & ~(ULONG_PTR)(alignment - 1));
    block->size = size;
    block->tag = tag;

    AcquireSRWLockExclusive(&lock);
    if ((image = block->image = image_of(caller)))
    {
        link = find(block->address);
        *link = block;
        image->totals.allocated++;
        image->totals.blocks++;
        image->totals.bytes += size;
    }
    ReleaseSRWLockExclusive(&lock);
    if (image) return block->address;

    wine_ExFreePoolWithTag(block->base, 0);
    HeapFree(GetProcessHeap(), 0, block);
    return NULL;
}

static void check_pattern(const struct block *block)
{
    const BYTE *byte = block->address, *end = byte + block->size;

    while (byte < end && *byte == FREED_PATTERN) byte++;
    if (byte < end) report_block("error: written after it was freed", block);
}

/* The oldest freed block is returned to Wine to make room for this one. */
static void keep_freed(struct block *block)
{
    struct block **slot = &freed_blocks[next_freed++ % FREED_KEPT], *oldest = *slot;

    memset(block->address, FREED_PATTERN, block->size);
    *slot = block;
    if (!oldest) return;

    check_pattern(oldest);
    *find(oldest->address) = oldest->next;
    wine_ExFreePoolWithTag(oldest->base, 0);
    HeapFree(GetProcessHeap(), 0, oldest);
}

BOOL pool_free(void *address, ULONG tag)
{
    struct block *block;

    AcquireSRWLockExclusive(&lock);
    block = *find(address);
    if (block && block->freed)
        report_block("error: freed twice", block);
    else if (block && tag && tag != block->tag) /* ExFreePool passes 0, which matches any tag */
        report_block("error: freed with another tag", block);
    else if (block)
    {
        block->freed = TRUE;
        block->image->totals.freed++;
        block->image->totals.blocks--;
        block->image->totals.bytes -= block->size;
        keep_freed(block);
    }
    ReleaseSRWLockExclusive(&lock);
    return block != NULL;
}

static void close_image(struct image *image)
{
    struct block *block;
    unsigned i, listed = 0;

    image->closed = TRUE;
    for (i = 0; i < BUCKETS; i++)
        for (block = buckets[i]; block; block = block->next)
        {
            if (block->image != image) continue;
            if (block->freed)
                check_pattern(block);
            else if (listed++ < LEAKS_LISTED)
                report_block("not freed", block);
        }
}

struct pool_totals pool_close_unloaded_images(void)
{
    struct pool_totals totals = {0};
    struct image *image;

    AcquireSRWLockExclusive(&lock);
    for (image = images; image; image = image->next)
    {
        if (image->closed || image_is_loaded(image->base)) continue;
        close_image(image);
        totals.allocated += image->totals.allocated;
        totals.freed += image->totals.freed;
        totals.blocks += image->totals.blocks;
        totals.bytes += image->totals.bytes;
    }
    ReleaseSRWLockExclusive(&lock);
    return totals;
}
