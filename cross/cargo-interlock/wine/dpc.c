/*
 * DPCs. One thread calls their routines in the order in which they were queued. A driver can free a
 * KDPC when its routine is called, and must not have it queued when the driver is unloaded. So the
 * queue is not stored in the KDPCs, and finds a KDPC by its address.
 */

#include "dpc.h"
#include "host.h"
#include "irql.h"

struct queued {
    struct queued *next;
    KDPC *dpc;
    KDPC copy; /* as it was when it was queued */
};

SRWLOCK dispatcher_lock = SRWLOCK_INIT;
static CONDITION_VARIABLE changed = CONDITION_VARIABLE_INIT;
static struct queued *queue;

static void call(struct queued *next)
{
    const union thread before = {.irql = DISPATCH_LEVEL};
    union thread after;
    KDPC dpc = next->copy;

    thread_set(before);
    dpc.routine(next->dpc, dpc.context, dpc.argument1, dpc.argument2);
    after = thread_get();
    if (after.irql != before.irql || after.locks != before.locks)
        violation(dpc.routine, "a DPC routine returned at IRQL %d with %d spin locks held", after.irql, after.locks);
}

__attribute__((noreturn)) static DWORD WINAPI dispatch(void *context)
{
    struct queued *next;
    DWORD time;

    (void)context;
    AcquireSRWLockExclusive(&dispatcher_lock);
    for (;;)
    {
        time = timers_expire();
        if (!(next = queue))
        {
            SleepConditionVariableSRW(&changed, &dispatcher_lock, time, 0);
            continue;
        }
        queue = next->next;
        ReleaseSRWLockExclusive(&dispatcher_lock);
        call(next);
        HeapFree(GetProcessHeap(), 0, next);
        AcquireSRWLockExclusive(&dispatcher_lock);
    }
}

void dispatcher_wake(void)
{
    static HANDLE thread;

    if (!thread) thread = CreateThread(NULL, 0, dispatch, NULL, 0, NULL);
    WakeConditionVariable(&changed);
}

/* Returns the link to a queued DPC, or the last link of the queue if it is not queued. */
static struct queued **find(const KDPC *dpc)
{
    struct queued **link = &queue;

    while (*link && (*link)->dpc != dpc) link = &(*link)->next;
    return link;
}

static void forget(struct queued **link)
{
    struct queued *queued = *link;

    *link = queued->next;
    HeapFree(GetProcessHeap(), 0, queued);
}

BOOLEAN dpc_insert(KDPC *dpc, void *argument1, void *argument2)
{
    struct queued **link = find(dpc);

    if (*link) return FALSE;
    dpc->argument1 = argument1;
    dpc->argument2 = argument2;
    *link = HeapAlloc(GetProcessHeap(), HEAP_GENERATE_EXCEPTIONS, sizeof(**link));
    **link = (struct queued){.dpc = dpc, .copy = *dpc};
    dispatcher_wake();
    return TRUE;
}

BOOLEAN WINAPI KeInsertQueueDpc(KDPC *dpc, void *argument1, void *argument2)
{
    BOOLEAN inserted;

    AcquireSRWLockExclusive(&dispatcher_lock);
    inserted = dpc_insert(dpc, argument1, argument2);
    ReleaseSRWLockExclusive(&dispatcher_lock);
    return inserted;
}

BOOLEAN WINAPI KeRemoveQueueDpc(KDPC *dpc)
{
    struct queued **link;
    BOOLEAN removed;

    AcquireSRWLockExclusive(&dispatcher_lock);
    link = find(dpc);
    removed = *link != NULL;
    if (removed) forget(link);
    ReleaseSRWLockExclusive(&dispatcher_lock);
    return removed;
}

static void WINAPI flushed(KDPC *dpc, void *event, void *argument1, void *argument2)
{
    (void)dpc;
    (void)argument1;
    (void)argument2;
    SetEvent(event);
}

/* Queues a DPC: when it runs, every earlier one has run. */
void WINAPI KeFlushQueuedDpcs(void)
{
    int irql = thread_get().irql;
    KDPC last = {.routine = flushed};

    if (irql != PASSIVE_LEVEL) violation(CALLER, "%s at IRQL %d", __func__, irql);
    if (irql >= DISPATCH_LEVEL) return; /* a DPC routine would wait for itself */
    last.context = CreateEventA(NULL, FALSE, FALSE, NULL);
    KeInsertQueueDpc(&last, NULL, NULL);
    WaitForSingleObject(last.context, INFINITE);
    CloseHandle(last.context);
}

void dpcs_close_unloaded_image(const char *driver)
{
    struct queued **link = &queue;

    AcquireSRWLockExclusive(&dispatcher_lock);
    while (*link)
        if (image_is_loaded((*link)->copy.routine))
            link = &(*link)->next;
        else
        {
            report("error: driver %s left a DPC queued", driver);
            forget(link);
        }
    ReleaseSRWLockExclusive(&dispatcher_lock);
}
