/*
 * A zone is memory of the caller that is divided into blocks of one size. Each segment starts with
 * a ZONE_SEGMENT_HEADER, and every free block contains the link to the next one.
 */

#define _NTOSKRNL_ /* defines the routines that the header declares */
#include <ntddk.h>

#include "host.h"
#include "spinlock.h"

#define IS_ALIGNED(value) (((ULONG_PTR)(value) & 7) == 0)

static void add_segment(PZONE_HEADER zone, PVOID segment, ULONG size)
{
    PZONE_SEGMENT_HEADER header = segment;
    SIZE_T block;

    header->Reserved = NULL;
    PushEntryList(&zone->SegmentList, &header->SegmentList);
    for (block = sizeof(*header); block + zone->BlockSize <= size; block += zone->BlockSize)
        PushEntryList(&zone->FreeList, (PSINGLE_LIST_ENTRY)((char *)segment + block));
    /* As Windows does, without the rest of the segment. */
    zone->TotalSegmentSize += block;
}

NTSTATUS NTAPI ExInitializeZone(PZONE_HEADER zone, ULONG block_size, PVOID segment, ULONG segment_size)
{
    if (!block_size || !IS_ALIGNED(block_size) || !IS_ALIGNED(segment) || block_size > segment_size)
        return STATUS_INVALID_PARAMETER;
    *zone = (ZONE_HEADER){.BlockSize = block_size};
    add_segment(zone, segment, segment_size);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI ExExtendZone(PZONE_HEADER zone, PVOID segment, ULONG segment_size)
{
    if (!IS_ALIGNED(segment) || !IS_ALIGNED(segment_size) || zone->BlockSize > segment_size)
        return STATUS_UNSUCCESSFUL;
    add_segment(zone, segment, segment_size);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI ExInterlockedExtendZone(PZONE_HEADER zone, PVOID segment, ULONG segment_size, PKSPIN_LOCK lock)
{
    NTSTATUS status;

    spin_lock_enter(lock, CALLER);
    status = ExExtendZone(zone, segment, segment_size);
    spin_lock_leave(lock);
    return status;
}
