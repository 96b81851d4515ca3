/* Interlocked lists and stacks: their order, and that each node has one owner at a time. */

#include "routine.h"

typedef struct {
    union {
        LIST_ENTRY Entry;
        SINGLE_LIST_ENTRY Link;
    };
    ULONG64 Value;
    volatile LONG Owned;
} NODE;

typedef struct {
    LIST_ENTRY List;
    SINGLE_LIST_ENTRY Stack;
    KSPIN_LOCK Lock;
} LISTS;

static VOID Initialize(LISTS *Lists)
{
    InitializeListHead(&Lists->List);
    Lists->Stack.Next = NULL;
    KeInitializeSpinLock(&Lists->Lock);
}

static BOOLEAN IsStack(ULONG Routine)
{
    return Routine == R_ExInterlockedPushEntryList || Routine == R_ExInterlockedPopEntryList;
}

/* Pushes a node, or inserts it at an end of the list. Returns the result of the routine. */
static NODE *Insert(LISTS *Lists, ULONG Routine, NODE *Node)
{
    PLIST_ENTRY Old;

    if (IsStack(Routine))
    {
        PSINGLE_LIST_ENTRY Top = ExInterlockedPushEntryList(&Lists->Stack, &Node->Link, &Lists->Lock);

        return Top ? CONTAINING_RECORD(Top, NODE, Link) : NULL;
    }
    Old = Routine == R_ExInterlockedInsertHeadList ? ExInterlockedInsertHeadList(&Lists->List, &Node->Entry, &Lists->Lock)
                                                   : ExInterlockedInsertTailList(&Lists->List, &Node->Entry, &Lists->Lock);
    return Old ? CONTAINING_RECORD(Old, NODE, Entry) : NULL;
}

static NODE *Remove(LISTS *Lists, ULONG Routine)
{
    PLIST_ENTRY Entry;

    if (IsStack(Routine))
    {
        PSINGLE_LIST_ENTRY Link = ExInterlockedPopEntryList(&Lists->Stack, &Lists->Lock);

        return Link ? CONTAINING_RECORD(Link, NODE, Link) : NULL;
    }
    Entry = ExInterlockedRemoveHeadList(&Lists->List, &Lists->Lock);
    return Entry ? CONTAINING_RECORD(Entry, NODE, Entry) : NULL;
}

NTSTATUS RunList(ULONG Routine, const CALL *Call, RETURNED *Returned)
{
    NODE Nodes[CALL_VALUES + 1], *Node;
    LISTS Lists;
    ULONG Index;

    Initialize(&Lists);
    for (Index = 0; Index < Call->Count; Index++)
    {
        Nodes[Index].Value = Call->Values[Index];
        Insert(&Lists, IsStack(Routine) ? Routine : R_ExInterlockedInsertTailList, &Nodes[Index]);
    }
    if (Routine == R_ExInterlockedRemoveHeadList || Routine == R_ExInterlockedPopEntryList)
        Node = Remove(&Lists, Routine);
    else
    {
        Nodes[Index].Value = Call->Argument;
        Node = Insert(&Lists, Routine, &Nodes[Index]);
    }
    if (Node) SetFound(Returned, Node->Value);
    while ((Node = Remove(&Lists, Routine))) PushRemaining(Returned, Node->Value);
    return STATUS_SUCCESS;
}

typedef struct {
    LISTS Lists;
    NODE Nodes[MAX_THREADS];
} SHARED;

/* Counts a node that was removed, which no other thread may own. */
static VOID Take(RUN *Run, NODE *Node)
{
    Check(Run, InterlockedExchange(&Node->Owned, TRUE) == FALSE);
    Check(Run, InterlockedExchange(&Node->Owned, FALSE) == TRUE);
    InterlockedIncrement64(&Run->Actual);
}

static VOID InsertAndRemove(RUN *Run, ULONG Thread)
{
    SHARED *Shared = Run->Context;
    NODE *Node = &Shared->Nodes[Thread];
    ULONG Round;

    for (Round = 0; Round < Run->Rounds; Round++)
    {
        Insert(&Shared->Lists, Run->Routine, Node);
        Node = Remove(&Shared->Lists, Run->Routine);
        /* At least the node of this thread, or one in exchange for it, was in the list. */
        Check(Run, Node != NULL);
        if (!Node) return;
        Take(Run, Node);
    }
}

NTSTATUS ListsInThreads(RUN *Run, ULONG64 *Expected)
{
    SHARED Shared = { 0 };

    UNREFERENCED_PARAMETER(Expected);
    Initialize(&Shared.Lists);
    Run->Body = InsertAndRemove;
    Run->Context = &Shared;
    return EachThread(Run);
}
