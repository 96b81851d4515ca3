/* Spin locks, for the other files. `caller` is the place in the driver, and `routine` is the
 * routine that it called. */

#ifndef SPINLOCK_H
#define SPINLOCK_H

#include "irql.h"

typedef unsigned long long spin_lock; /* a KSPIN_LOCK */

/* The lock without the IRQL, for the duration of a routine. */
void spin_lock_enter(spin_lock *lock, const void *caller);
void spin_lock_leave(spin_lock *lock);

/* The lock with the IRQL: KeAcquireSpinLock and KeReleaseSpinLock. */
KIRQL spin_lock_acquire(spin_lock *lock, const char *routine, const void *caller);
void spin_lock_release(spin_lock *lock, KIRQL irql, const char *routine, const void *caller);

#endif
