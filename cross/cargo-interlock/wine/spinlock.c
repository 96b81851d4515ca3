/*
 * A KSPIN_LOCK is 0 when it is free, as in Wine. When it is held, it contains the thread that holds
 * it and the kind of the acquisition. Wine's own routines store 1.
 */

#include "spinlock.h"
#include "host.h"

#define QUEUED 2ull /* acquired by KeAcquireInStackQueuedSpinLock or a variant of it */
#define OWNER (~15ull)

/* KLOCK_QUEUE_HANDLE */
struct queue_handle {
    void *next;
    spin_lock *lock; /* NULL if it is not held */
    KIRQL irql;
};

static int try_to_hold(spin_lock *lock, spin_lock kind)
{
    return __sync_bool_compare_and_swap(lock, 0, thread_self() | kind);
}

static int is_held_by_this_thread(spin_lock *lock)
{
    return (__atomic_load_n(lock, __ATOMIC_RELAXED) & OWNER) == thread_self();
}

static void hold(spin_lock *lock, spin_lock kind, const void *caller)
{
    unsigned tests = 0;

    if (try_to_hold(lock, kind)) return;
    if (is_held_by_this_thread(lock))
        violation(caller, "a deadlock: this thread holds the spin lock that it acquires");
    do
        while (__atomic_load_n(lock, __ATOMIC_RELAXED)) thread_pause(++tests);
    while (!try_to_hold(lock, kind));
}

void spin_lock_enter(spin_lock *lock, const void *caller)
{
    hold(lock, 0, caller);
}

void spin_lock_leave(spin_lock *lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

/* Raises the IRQL for one more lock, and returns the old one. */
static KIRQL raise(const char *routine, const void *caller)
{
    union thread thread = thread_get();
    KIRQL old = thread.irql;

    if (old > DISPATCH_LEVEL) violation(caller, "%s at IRQL %u", routine, old);
    if (old < DISPATCH_LEVEL) thread.processor = 0;
    thread.irql = DISPATCH_LEVEL;
    thread.locks++;
    thread_set(thread);
    return old;
}

static KIRQL acquire(spin_lock *lock, spin_lock kind, const char *routine, const void *caller)
{
    KIRQL old = raise(routine, caller);

    hold(lock, kind, caller);
    return old;
}

static union thread at_dpc_level(const char *routine, const void *caller)
{
    union thread thread = thread_get();

    if (thread.irql < DISPATCH_LEVEL) violation(caller, "%s at IRQL %d", routine, thread.irql);
    return thread;
}

static void acquire_at_dpc_level(spin_lock *lock, spin_lock kind, const char *routine, const void *caller)
{
    union thread thread = at_dpc_level(routine, caller);

    thread.locks++;
    thread_set(thread);
    hold(lock, kind, caller);
}

static void let_go(spin_lock *lock, spin_lock kind, union thread thread, const char *routine, const void *caller)
{
    spin_lock held = __atomic_load_n(lock, __ATOMIC_RELAXED), owner = held & OWNER;

    if (!held)
    {
        violation(caller, "%s on a spin lock that is not held", routine);
        return;
    }
    if (owner && owner != thread_self()) violation(caller, "%s on a spin lock that another thread holds", routine);
    if (owner && (held & QUEUED) != kind) violation(caller, "%s on a spin lock acquired in the other way", routine);
    if (owner == thread_self())
    {
        thread.locks--;
        thread_set(thread);
    }
    spin_lock_leave(lock);
}

static void release(spin_lock *lock, spin_lock kind, KIRQL irql, const char *routine, const void *caller)
{
    union thread thread = thread_get();

    if (thread.irql != DISPATCH_LEVEL) violation(caller, "%s at IRQL %d", routine, thread.irql);
    let_go(lock, kind, thread, routine, caller);
    irql_lower(irql, routine, caller);
}

KIRQL spin_lock_acquire(spin_lock *lock, const char *routine, const void *caller)
{
    return acquire(lock, 0, routine, caller);
}

void spin_lock_release(spin_lock *lock, KIRQL irql, const char *routine, const void *caller)
{
    release(lock, 0, irql, routine, caller);
}

KIRQL KeAcquireSpinLockRaiseToDpc(spin_lock *lock)
{
    return acquire(lock, 0, __func__, CALLER);
}

void KeReleaseSpinLock(spin_lock *lock, KIRQL irql)
{
    release(lock, 0, irql, __func__, CALLER);
}

void KeAcquireSpinLockAtDpcLevel(spin_lock *lock)
{
    acquire_at_dpc_level(lock, 0, __func__, CALLER);
}

unsigned char KeTryToAcquireSpinLockAtDpcLevel(spin_lock *lock)
{
    union thread thread = at_dpc_level(__func__, CALLER);

    if (!try_to_hold(lock, 0))
    {
        if (is_held_by_this_thread(lock)) violation(CALLER, "%s on a spin lock that this thread holds", __func__);
        return 0;
    }
    thread.locks++;
    thread_set(thread);
    return 1;
}

void KeReleaseSpinLockFromDpcLevel(spin_lock *lock)
{
    let_go(lock, 0, at_dpc_level(__func__, CALLER), __func__, CALLER);
}

/* Queued spin locks have no queue here: the next thread in the queue could be preempted, and all
 * others would wait for it. */

void KeAcquireInStackQueuedSpinLock(spin_lock *lock, struct queue_handle *handle)
{
    KIRQL old = acquire(lock, QUEUED, __func__, CALLER);

    *handle = (struct queue_handle){.lock = lock, .irql = old};
}

void KeAcquireInStackQueuedSpinLockAtDpcLevel(spin_lock *lock, struct queue_handle *handle)
{
    acquire_at_dpc_level(lock, QUEUED, __func__, CALLER);
    *handle = (struct queue_handle){.lock = lock};
}

/* Returns the lock of a handle. The handle no longer has the lock when it is used again. */
static spin_lock *lock_of(struct queue_handle *handle, const char *routine, const void *caller)
{
    spin_lock *lock = handle->lock;

    if (!lock) violation(caller, "%s on a handle that holds no spin lock", routine);
    handle->lock = 0;
    return lock;
}

void KeReleaseInStackQueuedSpinLock(struct queue_handle *handle)
{
    spin_lock *lock = lock_of(handle, __func__, CALLER);

    if (lock) release(lock, QUEUED, handle->irql, __func__, CALLER);
}

void KeReleaseInStackQueuedSpinLockFromDpcLevel(struct queue_handle *handle)
{
    spin_lock *lock = lock_of(handle, __func__, CALLER);

    if (lock) let_go(lock, QUEUED, at_dpc_level(__func__, CALLER), __func__, CALLER);
}

/* An EX_SPIN_LOCK contains the number of threads that hold it shared, or -1 when one holds it
 * exclusively. A thread that waits for it exclusively does not stop new readers. */

KIRQL ExAcquireSpinLockShared(int *lock)
{
    KIRQL old = raise(__func__, CALLER);
    unsigned tests = 0;

    for (;;)
    {
        int held = __atomic_load_n(lock, __ATOMIC_RELAXED);

        if (held >= 0 && __sync_bool_compare_and_swap(lock, held, held + 1)) return old;
        thread_pause(++tests);
    }
}

KIRQL ExAcquireSpinLockExclusive(int *lock)
{
    KIRQL old = raise(__func__, CALLER);
    unsigned tests = 0;

    while (!__sync_bool_compare_and_swap(lock, 0, -1)) thread_pause(++tests);
    return old;
}

/* `is_held` says whether the lock is held in the way in which it is released. */
static void release_shared_or_exclusive(int *lock, int by, int is_held, KIRQL irql, const char *routine, const void *caller)
{
    union thread thread = thread_get();

    if (thread.irql != DISPATCH_LEVEL) violation(caller, "%s at IRQL %d", routine, thread.irql);
    if (!is_held)
    {
        violation(caller, "%s on a lock that is not held so", routine);
        return;
    }
    thread.locks--;
    thread_set(thread);
    __atomic_add_fetch(lock, by, __ATOMIC_RELEASE);
    irql_lower(irql, routine, caller);
}

void ExReleaseSpinLockShared(int *lock, KIRQL irql)
{
    release_shared_or_exclusive(lock, -1, __atomic_load_n(lock, __ATOMIC_RELAXED) > 0, irql, __func__, CALLER);
}

void ExReleaseSpinLockExclusive(int *lock, KIRQL irql)
{
    release_shared_or_exclusive(lock, 1, __atomic_load_n(lock, __ATOMIC_RELAXED) == -1, irql, __func__, CALLER);
}
