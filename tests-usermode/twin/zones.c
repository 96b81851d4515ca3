/* Zones: the segments that they accept, and that each block has one owner at a time. */

#include "routine.h"
#include "zone.h"

#define TAG 'niwT' /* Twin */
#define MAX_BLOCKS 64

/* A block. While it is free, its first bytes contain the link of the zone. */
typedef struct {
    SINGLE_LIST_ENTRY Link;
    volatile LONG Owner;
} MARKED;

#define NO_OWNER (-1)

/* Extends a zone that is not shared, or one that is; counts the blocks that a segment gives. */
static NTSTATUS AddSegment(ULONG Routine, PZONE_HEADER Zone, ULONG BlockSize, PUCHAR Segment, ULONG Size, ULONG64 *Blocks)
{
    KSPIN_LOCK Lock;
    NTSTATUS Status;

    KeInitializeSpinLock(&Lock);
    if (BlockSize == 0 || BlockSize % 8 != 0 || Size < sizeof(ZONE_SEGMENT_HEADER)) return STATUS_INVALID_PARAMETER;
    if (Routine == R_ExInitializeZone)
        Status = ExInitializeZone(Zone, BlockSize, Segment, Size);
    else if (Size % 8 != 0 || (ULONG_PTR)Segment % 8 != 0 || Size < BlockSize)
        Status = STATUS_INVALID_PARAMETER;
    else if (Routine == R_ExExtendZone)
        Status = ExExtendZone(Zone, Segment, Size);
    else
        Status = ExInterlockedExtendZone(Zone, Segment, Size, &Lock);
    if (NT_SUCCESS(Status)) *Blocks += (Size - sizeof(ZONE_SEGMENT_HEADER)) / BlockSize;
    return Status;
}

static NTSTATUS MakeZone(ULONG Routine, const CALL *Call, RETURNED *Returned)
{
    ULONG BlockSize = (ULONG)Call->Values[0], Size = (ULONG)Call->Values[1], Offset = (ULONG)Call->Values[2];
    ULONG MoreSize = (ULONG)Call->Values[3], MoreOffset = (ULONG)Call->Values[4];
    PUCHAR Memory = ExAllocatePool2(POOL_FLAG_NON_PAGED, 16 + Size, TAG);
    PUCHAR More = ExAllocatePool2(POOL_FLAG_NON_PAGED, 16 + MoreSize, TAG);
    ZONE_HEADER Zone;
    NTSTATUS Status = STATUS_INSUFFICIENT_RESOURCES;

    if (Memory && More)
    {
        NTSTATUS Result = AddSegment(R_ExInitializeZone, &Zone, BlockSize, Memory + Offset, Size, &Returned->Value);

        if (NT_SUCCESS(Result) && Routine != R_ExInitializeZone)
            Result = AddSegment(Routine, &Zone, BlockSize, More + MoreOffset, MoreSize, &Returned->Value);
        Returned->Status = (ULONG)Result;
        Status = STATUS_SUCCESS;
    }
    if (Memory) ExFreePoolWithTag(Memory, TAG);
    if (More) ExFreePoolWithTag(More, TAG);
    return Status;
}

/* Allocates up to a number of blocks; returns how many it has allocated. */
static ULONG AllocateBlocks(ZONE *Zone, PVOID *Blocks, ULONG Most)
{
    ULONG Got;

    for (Got = 0; Got < Most && (Blocks[Got] = ZoneAllocate(Zone)); Got++)
        ;
    return Got;
}

static BOOLEAN AllDiffer(PVOID *Blocks, ULONG Count)
{
    ULONG Index, Earlier;

    for (Index = 1; Index < Count; Index++)
        for (Earlier = 0; Earlier < Index; Earlier++)
            if (Blocks[Index] == Blocks[Earlier]) return FALSE;
    return TRUE;
}

static NTSTATUS UseZone(ULONG Routine, const CALL *Call, RETURNED *Returned)
{
    PVOID Blocks[MAX_BLOCKS];
    ULONG Count = (ULONG)Call->Values[0], Argument = (ULONG)Call->Argument, Got, Index;
    ZONE Zone;
    NTSTATUS Status = ZoneCreate(&Zone, sizeof(MARKED), Count);

    if (!NT_SUCCESS(Status)) return Status;
    if (Routine == R_ExInterlockedAllocateFromZone)
    {
        Got = AllocateBlocks(&Zone, Blocks, Argument < MAX_BLOCKS ? Argument : MAX_BLOCKS);
        /* A zone has no more blocks than that, and each further allocation fails. */
        Returned->Found = Got != 0 && Got == Argument && AllDiffer(Blocks, Got);
        Returned->Value = Got;
    }
    else
    {
        PVOID LastFreed = NULL;

        AllocateBlocks(&Zone, Blocks, MAX_BLOCKS);
        for (Index = 0; Index < Argument; Index++) ZoneFree(&Zone, LastFreed = Blocks[Index]);
        Got = AllocateBlocks(&Zone, Blocks, MAX_BLOCKS);
        Returned->Found = LastFreed && Got && Blocks[0] == LastFreed;
        Returned->Value = Got;
    }
    ZoneDelete(&Zone);
    return STATUS_SUCCESS;
}

NTSTATUS RunZone(ULONG Routine, const CALL *Call, RETURNED *Returned)
{
    if (Routine == R_ExInitializeZone || Routine == R_ExExtendZone || Routine == R_ExInterlockedExtendZone)
        return MakeZone(Routine, Call, Returned);
    return UseZone(Routine, Call, Returned);
}

/* Allocates a block, which must exist, and checks that no other thread owns it. */
static VOID UseBlock(RUN *Run, ULONG Thread)
{
    ZONE *Zone = Run->Context;
    MARKED *Block = ZoneAllocate(Zone);

    Check(Run, Block != NULL);
    if (!Block) return;
    Check(Run, InterlockedExchange(&Block->Owner, (LONG)Thread) == NO_OWNER);
    Check(Run, InterlockedExchange(&Block->Owner, NO_OWNER) == (LONG)Thread);
    ZoneFree(Zone, Block);
}

static VOID UseBlocks(RUN *Run, ULONG Thread)
{
    ULONG Round;

    for (Round = 0; Round < Run->Rounds; Round++) UseBlock(Run, Thread);
}

/* Marks every block of a zone that no thread uses as free, and returns how many there are. */
static ULONG MarkAll(ZONE *Zone)
{
    SINGLE_LIST_ENTRY All = { NULL };
    MARKED *Block;
    ULONG Count = 0;

    while ((Block = ZoneAllocate(Zone)))
    {
        Block->Owner = NO_OWNER;
        PushEntryList(&All, &Block->Link);
        Count++;
    }
    while (All.Next) ZoneFree(Zone, CONTAINING_RECORD(PopEntryList(&All), MARKED, Link));
    return Count;
}

/* How often each thread extends one zone, which keeps its segments until it is deleted. */
#define EXTENSIONS 1024

static VOID ExtendAndUse(RUN *Run, ULONG Thread)
{
    ULONG Round;

    for (Round = 0; Round < Run->Rounds; Round++)
    {
        MARKED *Block;

        Check(Run, NT_SUCCESS(ZoneExtend(Run->Context, 1)));
        Block = ZoneAllocate(Run->Context);
        Check(Run, Block != NULL);
        if (!Block) continue;
        /* A block of a new segment is zeroed, and one that a thread owns has its number. */
        Check(Run, InterlockedExchange(&Block->Owner, (LONG)Thread + 1) <= 0);
        Check(Run, InterlockedExchange(&Block->Owner, NO_OWNER) == (LONG)Thread + 1);
        ZoneFree(Run->Context, Block);
    }
}

NTSTATUS ZonesInThreads(RUN *Run, ULONG64 *Expected)
{
    BOOLEAN Extends = Run->Routine == R_ExInterlockedExtendZone;
    ULONG Left = Run->Rounds;
    NTSTATUS Status = STATUS_SUCCESS;

    Run->Body = Extends ? ExtendAndUse : UseBlocks;
    *Expected = 0;
    while (NT_SUCCESS(Status) && Left != 0)
    {
        ZONE Zone;

        Run->Rounds = Extends && Left > EXTENSIONS ? EXTENSIONS : Left;
        Left -= Run->Rounds;
        *Expected += Extends ? 1 + (ULONG64)Run->Threads * Run->Rounds : Run->Threads;
        Status = ZoneCreate(&Zone, sizeof(MARKED), Extends ? 1 : Run->Threads);
        if (!NT_SUCCESS(Status)) break;
        Run->Context = &Zone;
        MarkAll(&Zone);
        Status = EachThread(Run);
        Run->Actual += MarkAll(&Zone);
        ZoneDelete(&Zone);
    }
    return Status;
}
