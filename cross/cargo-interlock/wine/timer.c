/*
 * Timers. As with DPCs, the set timers are not stored in the KTIMERs. The header of a KTIMER is
 * that of Wine's events too, so a thread that waits for a timer is woken as for an event.
 */

#include "dpc.h"
#include "host.h"

#define SECOND 10000000 /* in units of 100 ns */
#define MILLISECOND 10000

/* As in wdm.h, which cannot be included together with windows.h. */
typedef struct ktimer {
    LONG type;
    LONG signalled;
    LIST_ENTRY waiters;
    ULONGLONG due;
    LIST_ENTRY entry;
    KDPC *dpc;
    ULONG processor, period;
} KTIMER;
_Static_assert(sizeof(KTIMER) == 64, "wdm.h");

/* Routines of Wine, under the names that build.sh gives them in the import library. */
LONG WINAPI wine_KeResetEvent(KTIMER *timer);
LONG WINAPI wine_KeSetEvent(KTIMER *timer, LONG increment, BOOLEAN wait);

/* A timer in the timer queue. */
struct set {
    struct set *next;
    KTIMER *timer;
    KDPC *dpc;
    void *routine; /* its DPC's */
    LONGLONG due, period;
};

static struct set *timers; /* the next that is due first */

static LONGLONG now(void)
{
    LARGE_INTEGER counter, frequency;

    QueryPerformanceCounter(&counter);
    QueryPerformanceFrequency(&frequency);
    return counter.QuadPart / frequency.QuadPart * SECOND +
           counter.QuadPart % frequency.QuadPart * SECOND / frequency.QuadPart;
}

/* Converts a time since 1601 to one of now(). Setting the clock later has no effect. */
static LONGLONG from_system_time(LONGLONG time)
{
    FILETIME system;
    LONGLONG left;

    GetSystemTimePreciseAsFileTime(&system);
    left = time - ((LONGLONG)system.dwHighDateTime << 32 | system.dwLowDateTime);
    return now() + (left > 0 ? left : 0);
}

static struct set **find(const KTIMER *timer)
{
    struct set **link = &timers;

    while (*link && (*link)->timer != timer) link = &(*link)->next;
    return link;
}

static void insert(struct set *set)
{
    struct set **link = &timers;

    while (*link && (*link)->due <= set->due) link = &(*link)->next;
    set->next = *link;
    *link = set;
}

static BOOLEAN forget(struct set **link)
{
    struct set *set = *link;

    if (!set) return FALSE;
    *link = set->next;
    HeapFree(GetProcessHeap(), 0, set);
    return TRUE;
}

DWORD timers_expire(void)
{
    LONGLONG time = now();
    struct set *set;

    while ((set = timers) && set->due <= time)
    {
        timers = set->next;
        wine_KeSetEvent(set->timer, 0, FALSE);
        if (set->dpc) dpc_insert(set->dpc, NULL, NULL);
        if (set->period)
        {
            set->due += set->period;
            if (set->due <= time) set->due = time + set->period; /* missed periods are skipped */
            insert(set);
        }
        else
            HeapFree(GetProcessHeap(), 0, set);
    }
    return set ? (set->due - time + MILLISECOND - 1) / MILLISECOND : INFINITE;
}

BOOLEAN WINAPI KeSetTimerEx(KTIMER *timer, LONGLONG due, LONG period, KDPC *dpc)
{
    struct set *set = HeapAlloc(GetProcessHeap(), HEAP_GENERATE_EXCEPTIONS, sizeof(*set));
    BOOLEAN was_set;

    *set = (struct set){.timer = timer, .dpc = dpc, .period = (LONGLONG)period * MILLISECOND};
    set->due = due < 0 ? now() - due : from_system_time(due);
    if (dpc) set->routine = dpc->routine;
    AcquireSRWLockExclusive(&dispatcher_lock);
    was_set = forget(find(timer));
    wine_KeResetEvent(timer);
    insert(set);
    dispatcher_wake();
    ReleaseSRWLockExclusive(&dispatcher_lock);
    return was_set;
}

BOOLEAN WINAPI KeSetTimer(KTIMER *timer, LONGLONG due, KDPC *dpc)
{
    return KeSetTimerEx(timer, due, 0, dpc);
}

BOOLEAN WINAPI KeCancelTimer(KTIMER *timer)
{
    BOOLEAN was_set;

    AcquireSRWLockExclusive(&dispatcher_lock);
    was_set = forget(find(timer));
    ReleaseSRWLockExclusive(&dispatcher_lock);
    return was_set;
}

BOOLEAN WINAPI KeReadStateTimer(KTIMER *timer)
{
    return *(volatile LONG *)&timer->signalled != 0;
}

void timers_close_unloaded_image(const char *driver)
{
    struct set **link = &timers;

    AcquireSRWLockExclusive(&dispatcher_lock);
    while (*link)
        if (!(*link)->dpc || image_is_loaded((*link)->routine))
            link = &(*link)->next;
        else
        {
            report("error: driver %s left a timer set", driver);
            forget(link);
        }
    ReleaseSRWLockExclusive(&dispatcher_lock);
}
