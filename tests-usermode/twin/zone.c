#include "device.h"

/* The header of a pool block. The segment follows, aligned like the pool. */
typedef struct {
    SINGLE_LIST_ENTRY Next;
    ULONG64 Unused;
} PREFIX;

static PREFIX *AllocateSegment(ULONG BlockSize, ULONG Blocks, ULONG *Size)
{
    ULONG64 Needed = sizeof(ZONE_SEGMENT_HEADER) + (ULONG64)Blocks * BlockSize;

    /* Even without blocks a segment must not be shorter than one. */
    if (Needed < BlockSize) Needed = BlockSize;
    if (Needed > MAXLONG) return NULL;
    *Size = (ULONG)Needed;
    return ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(PREFIX) + Needed, TAG);
}

NTSTATUS ZoneCreate(ZONE *Zone, ULONG BlockSize, ULONG Blocks)
{
    ULONG Size;
    PREFIX *Prefix;
    NTSTATUS Status;

    RtlZeroMemory(Zone, sizeof(*Zone));
    KeInitializeSpinLock(&Zone->Lock);
    KeInitializeSpinLock(&Zone->SegmentsLock);
    Prefix = AllocateSegment(BlockSize, Blocks, &Size);
    if (!Prefix) return STATUS_INSUFFICIENT_RESOURCES;
    Status = ExInitializeZone(&Zone->Header, BlockSize, Prefix + 1, Size);
    if (!NT_SUCCESS(Status))
    {
        ExFreePoolWithTag(Prefix, TAG);
        return Status;
    }
    ExInterlockedPushEntryList(&Zone->Segments, &Prefix->Next, &Zone->SegmentsLock);
    Zone->Blocks = Blocks;
    return STATUS_SUCCESS;
}

NTSTATUS ZoneExtend(ZONE *Zone, ULONG Blocks)
{
    ULONG Size;
    PREFIX *Prefix = AllocateSegment(Zone->Header.BlockSize, Blocks, &Size);
    NTSTATUS Status;

    if (!Prefix) return STATUS_INSUFFICIENT_RESOURCES;
    Status = ExInterlockedExtendZone(&Zone->Header, Prefix + 1, Size, &Zone->Lock);
    if (!NT_SUCCESS(Status))
    {
        ExFreePoolWithTag(Prefix, TAG);
        return Status;
    }
    ExInterlockedPushEntryList(&Zone->Segments, &Prefix->Next, &Zone->SegmentsLock);
    InterlockedExchangeAdd(&Zone->Blocks, (LONG)Blocks);
    return STATUS_SUCCESS;
}

VOID ZoneDelete(ZONE *Zone)
{
    PSINGLE_LIST_ENTRY Entry;

    while ((Entry = ExInterlockedPopEntryList(&Zone->Segments, &Zone->SegmentsLock)))
        ExFreePoolWithTag(CONTAINING_RECORD(Entry, PREFIX, Next), TAG);
}

PVOID ZoneAllocate(ZONE *Zone)
{
    PZONE_HEADER Header = &Zone->Header;
    PVOID Block = ExInterlockedAllocateFromZone(Header, &Zone->Lock);

    if (Block) InterlockedIncrement(&Zone->InUse);
    return Block;
}

VOID ZoneFree(ZONE *Zone, PVOID Block)
{
    InterlockedDecrement(&Zone->InUse);
    ExInterlockedFreeToZone(&Zone->Header, Block, &Zone->Lock);
}
