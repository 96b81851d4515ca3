//! Spin locks: checks acquisition, mutual exclusion, and that the IRQL is restored.

use core::{
    hint,
    sync::atomic::{
        AtomicBool, AtomicU8, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};

use interlock_abi::{Call, CallResult, Routine};
use pinned_init::stack_pin_init;
use wdm::{
    CancelSpinLock, Error, PassiveLevel, SpinLock,
    irql::{DispatchLevel, raise_to_dispatch},
    lock_order,
    lock_order::Unlocked,
    thread,
};

use super::{push_remaining, threads::Run};

const PASSIVE_LEVEL: u8 = 0;

/// The class of a lock under which others are acquired.
struct Outer;
/// The class of a lock that is acquired under an outer one.
struct Inner;

lock_order!(Unlocked => Outer);
lock_order!(Outer => Inner);
lock_order!(Outer => existing CancelSpinLock);

/// Runs a routine of a lock once, for a checked call.
pub fn run(
    routine: Routine,
    call: &Call,
    result: &mut CallResult,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    match routine {
        Routine::IoAcquireCancelSpinLock => return acquire_cancel(result, irql),
        Routine::IoReleaseCancelSpinLock => release_cancel(call.argument, result, irql),
        Routine::KeInitializeSpinLock => initialize(result, irql),
        Routine::KeAcquireSpinLock => return acquire(result, irql),
        Routine::KeReleaseSpinLock => release(call.argument, result, irql),
        Routine::KeAcquireSpinLockAtDpcLevel => return acquire_at_dpc(result, irql),
        Routine::KeReleaseSpinLockFromDpcLevel => release_from_dpc(result, irql),
        _ => return Err(Error::INVALID_DEVICE_REQUEST),
    }
    Ok(())
}

fn acquire_cancel(result: &mut CallResult, irql: &mut PassiveLevel) -> Result<(), Error> {
    stack_pin_init!(let outer = SpinLock::<(), Outer>::new(()));
    let first = CancelSpinLock::lock(irql).old_irql();
    let second = outer.with(irql, |(), held| CancelSpinLock::lock(held).old_irql());
    result.value = first.into();
    push_remaining(result, second.into())
}

fn release_cancel(times: u64, result: &mut CallResult, irql: &mut PassiveLevel) {
    let last = (0..times).fold(0, |_, _| CancelSpinLock::lock(irql).old_irql());
    result.value = last.into();
}

fn initialize(result: &mut CallResult, irql: &mut PassiveLevel) {
    stack_pin_init!(let lock = SpinLock::<()>::new(()));
    result.value = is_free(&lock, irql).into();
}

fn acquire(result: &mut CallResult, irql: &mut PassiveLevel) -> Result<(), Error> {
    stack_pin_init!(let outer = SpinLock::<(), Outer>::new(()));
    stack_pin_init!(let inner = SpinLock::<(), Inner>::new(()));
    let mut guard = outer.lock(irql);
    result.value = guard.old_irql().into();
    let ((), held) = guard.split();
    push_remaining(result, inner.lock(held).old_irql().into())
}

fn release(times: u64, result: &mut CallResult, irql: &mut PassiveLevel) {
    stack_pin_init!(let lock = SpinLock::<()>::new(()));
    let last = (0..times).fold(0, |_, _| lock.lock(irql).old_irql());
    result.value = last.into();
    result.found = is_free(&lock, irql).into();
}

// Without inlining, the stack space for the threads is not part of the other routines' frames.
#[inline(never)]
fn acquire_at_dpc(result: &mut CallResult, irql: &mut PassiveLevel) -> Result<(), Error> {
    stack_pin_init!(let lock = SpinLock::<()>::new(()));
    let lock = lock.as_ref();
    let meeting = Meeting::default();
    thread::run(2, irql, &|number, irql: &mut PassiveLevel| {
        let meet = |irql: &mut DispatchLevel| {
            if number == 0 {
                meeting.hold(&lock, irql)
            } else {
                meeting.try_acquire(&lock, irql)
            }
        };
        let _ = (0..Meeting::TRIES).any(|_| raise_to_dispatch(irql, meet));
    })?;
    result.value = meeting.taken.load(Relaxed).into();
    Ok(())
}

/// Two threads: one holds a lock while the other tries to acquire it. On one processor this cannot happen, since both
/// run at `DISPATCH_LEVEL`.
#[derive(Default)]
struct Meeting {
    state: AtomicU8,
    /// Set if the lock was acquired while the other thread held it.
    taken: AtomicBool,
}

impl Meeting {
    /// The number of attempts in which the two threads try to meet.
    const TRIES: u32 = 1000;
    /// The number of times that each thread polls the state in one attempt, which takes a few microseconds.
    const POLLS: u32 = 200;

    const FREE: u8 = 0;
    const HELD: u8 = 1;
    const TRIED: u8 = 2;

    /// Holds the lock for a few microseconds at most; returns whether the other thread tried to acquire it.
    fn hold(&self, lock: &SpinLock<()>, irql: &mut DispatchLevel) -> bool {
        let _held = lock.lock_at_dpc(irql);
        self.state.store(Self::HELD, SeqCst);
        self.wait_for(Self::TRIED);
        // Before the release, so that a thread that has acquired the lock and reads HELD has acquired a held lock.
        self.state.swap(Self::FREE, SeqCst) == Self::TRIED
    }

    /// Tries to acquire the lock while the other thread holds it; returns whether the other thread held it
    /// throughout.
    fn try_acquire(&self, lock: &SpinLock<()>, irql: &mut DispatchLevel) -> bool {
        if !self.wait_for(Self::HELD) {
            return false;
        }
        let taken = lock.try_lock_at_dpc(irql);
        if taken.is_some_and(|_| self.state.load(SeqCst) == Self::HELD) {
            self.taken.store(true, Relaxed);
        }
        let tried = (Self::HELD, Self::TRIED);
        let still_held = self
            .state
            .compare_exchange(tried.0, tried.1, SeqCst, SeqCst);
        still_held.is_ok()
    }

    fn wait_for(&self, state: u8) -> bool {
        (0..Self::POLLS).any(|_| {
            hint::spin_loop();
            self.state.load(SeqCst) == state
        })
    }
}

fn release_from_dpc(result: &mut CallResult, irql: &mut PassiveLevel) {
    stack_pin_init!(let lock = SpinLock::<()>::new(()));
    let taken_again = raise_to_dispatch(irql, |irql| {
        drop(lock.lock_at_dpc(irql));
        lock.try_lock_at_dpc(irql).is_some()
    });
    result.value = taken_again.into();
}

/// Returns whether a lock can be acquired.
fn is_free(lock: &SpinLock<()>, irql: &mut PassiveLevel) -> bool {
    raise_to_dispatch(irql, |irql| lock.try_lock_at_dpc(irql).is_some())
}

/// Acquires one shared lock in every round of every thread and counts under it. Returns the expected result.
pub fn in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<u64, Error> {
    match run.routine {
        Routine::IoAcquireCancelSpinLock | Routine::IoReleaseCancelSpinLock => {
            cancel_in_threads(run, irql)?;
        }
        Routine::KeAcquireSpinLock | Routine::KeReleaseSpinLock => raising_in_threads(run, irql)?,
        _ => at_dpc_in_threads(run, irql)?,
    }
    Ok(run.total())
}

/// A count that the cancel spin lock protects, since that lock owns no data. It is kept twice and incremented in
/// separate steps; if two threads increment it at the same time, increments are lost or the two values differ.
#[derive(Default)]
struct Turns {
    first: AtomicU64,
    second: AtomicU64,
}

impl Turns {
    /// Increments the count; returns whether the two values were equal.
    fn take(&self) -> bool {
        let (first, second) = (self.first.load(Relaxed), self.second.load(Relaxed));
        self.first.store(first.wrapping_add(1), Relaxed);
        self.second.store(second.wrapping_add(1), Relaxed);
        first == second
    }
}

fn cancel_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<(), Error> {
    let turns = Turns::default();
    run.each_round(irql, &|_, irql: &mut PassiveLevel| {
        let guard = CancelSpinLock::lock(irql);
        run.check(turns.take());
        run.check(guard.old_irql() == PASSIVE_LEVEL);
    })?;
    run.add_actual(turns.first.load(Relaxed));
    Ok(())
}

fn raising_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<(), Error> {
    stack_pin_init!(let turns = SpinLock::<u64>::new(0));
    let turns = turns.as_ref();
    run.each_round(irql, &|_, irql: &mut PassiveLevel| {
        let mut guard = turns.lock(irql);
        *guard = guard.wrapping_add(1);
        run.check(guard.old_irql() == PASSIVE_LEVEL);
    })?;
    run.add_actual(turns.with(irql, |turns, _| *turns));
    Ok(())
}

fn at_dpc_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<(), Error> {
    stack_pin_init!(let turns = SpinLock::<u64>::new(0));
    let turns = turns.as_ref();
    run.each_round(irql, &|_, irql: &mut PassiveLevel| {
        raise_to_dispatch(irql, |irql| {
            let mut guard = turns.lock_at_dpc(irql);
            *guard = guard.wrapping_add(1);
        });
    })?;
    run.add_actual(turns.with(irql, |turns, _| *turns));
    Ok(())
}
