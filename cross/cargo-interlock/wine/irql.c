/*
 * A raised IRQL does not prevent preemption here, since these are user-mode threads. But each thread
 * has an IRQL, so that a routine called at the wrong IRQL is detected.
 */

#include "irql.h"
#include "host.h"

/* Routines of Wine, under the names that build.sh gives them in the import library. */
unsigned wine_KeGetCurrentProcessorNumberEx(void *number);
int wine_KeDelayExecutionThread(char mode, unsigned char alertable, const long long *interval);
int wine_KeWaitForMultipleObjects(unsigned count, void **objects, int type, int reason, char mode,
                                  unsigned char alertable, const long long *timeout, void *blocks);
int wine_KeWaitForSingleObject(void *object, int reason, char mode, unsigned char alertable,
                               const long long *timeout);

KIRQL irql_raise(KIRQL irql, const char *routine, const void *caller)
{
    union thread thread = thread_get();
    KIRQL old = thread.irql;

    if (irql < old) violation(caller, "%s raises the IRQL from %u to %u", routine, old, irql);
    if (old < DISPATCH_LEVEL) thread.processor = 0;
    thread.irql = irql;
    thread_set(thread);
    return old;
}

void irql_lower(KIRQL irql, const char *routine, const void *caller)
{
    union thread thread = thread_get();

    if (irql > thread.irql)
        violation(caller, "%s lowers the IRQL from %d to %u", routine, thread.irql, irql);
    else if (irql < DISPATCH_LEVEL && thread.locks)
        violation(caller, "%s lowers the IRQL to %u with %d spin locks held", routine, irql, thread.locks);
    thread.irql = irql;
    thread_set(thread);
}

KIRQL KeGetCurrentIrql(void)
{
    return thread_get().irql;
}

KIRQL KfRaiseIrql(KIRQL irql)
{
    return irql_raise(irql, __func__, CALLER);
}

void KeLowerIrql(KIRQL irql)
{
    irql_lower(irql, __func__, CALLER);
}

/* At DISPATCH_LEVEL a thread stays on its processor. Here it can be moved, but gets the same number
 * until the IRQL is lowered. */
unsigned KeGetCurrentProcessorNumberEx(void *number)
{
    unsigned current = wine_KeGetCurrentProcessorNumberEx(number);
    union thread thread = thread_get();

    if (thread.irql < DISPATCH_LEVEL || number) return current;
    if (!thread.processor)
    {
        thread.processor = (int)current + 1;
        thread_set(thread);
    }
    return (unsigned)thread.processor - 1;
}

void irql_check(KIRQL highest, const char *routine, const void *caller)
{
    int irql = thread_get().irql;

    if (irql > highest) violation(caller, "%s at IRQL %d", routine, irql);
}

/* A wait with a timeout of zero is allowed at DISPATCH_LEVEL. */
static void check_wait(const long long *timeout, const char *routine, const void *caller)
{
    int irql = thread_get().irql;

    if (irql > DISPATCH_LEVEL || (irql == DISPATCH_LEVEL && (!timeout || *timeout)))
        violation(caller, "%s waits at IRQL %d", routine, irql);
}

int KeDelayExecutionThread(char mode, unsigned char alertable, const long long *interval)
{
    irql_check(APC_LEVEL, __func__, CALLER);
    return wine_KeDelayExecutionThread(mode, alertable, interval);
}

int KeWaitForMultipleObjects(unsigned count, void **objects, int type, int reason, char mode, unsigned char alertable,
                             const long long *timeout, void *blocks)
{
    check_wait(timeout, __func__, CALLER);
    return wine_KeWaitForMultipleObjects(count, objects, type, reason, mode, alertable, timeout, blocks);
}

int KeWaitForSingleObject(void *object, int reason, char mode, unsigned char alertable, const long long *timeout)
{
    check_wait(timeout, __func__, CALLER);
    return wine_KeWaitForSingleObject(object, reason, mode, alertable, timeout);
}
