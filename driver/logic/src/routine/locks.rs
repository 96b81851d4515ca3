//! Spin locks: that they are taken, that they exclude, and that the IRQL comes back.

use core::{
    hint,
    sync::atomic::{
        AtomicBool, AtomicU8, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};

use interlock_abi::{Call, Returned, Routine, ThreadsRan};
use pinned_init::stack_pin_init;
use wdm::{
    CancelSpinLock, Error, PassiveLevel, SpinLock,
    irql::{DispatchLevel, raise_to_dispatch},
    lock_order,
    lock_order::Unlocked,
    thread,
};

use super::{leave, returned, threads::Run};

const PASSIVE_LEVEL: u8 = 0;

/// The class of a lock that others are taken under.
struct Outer;
/// The class of a lock that is taken under an outer one.
struct Inner;

lock_order!(Unlocked => Outer);
lock_order!(Outer => Inner);
lock_order!(Outer => existing CancelSpinLock);

/// Runs a lock's routine once, for a call that has been checked.
pub fn run(routine: Routine, call: &Call, irql: &mut PassiveLevel) -> Result<Returned, Error> {
    match routine {
        Routine::IoAcquireCancelSpinLock => acquire_cancel(irql),
        Routine::IoReleaseCancelSpinLock => Ok(release_cancel(call.argument, irql)),
        Routine::KeInitializeSpinLock => Ok(initialize(irql)),
        Routine::KeAcquireSpinLock => acquire(irql),
        Routine::KeReleaseSpinLock => Ok(release(call.argument, irql)),
        Routine::KeAcquireSpinLockAtDpcLevel => acquire_at_dpc(irql),
        Routine::KeReleaseSpinLockFromDpcLevel => Ok(release_from_dpc(irql)),
        _ => Err(Error::INVALID_DEVICE_REQUEST),
    }
}

fn acquire_cancel(irql: &mut PassiveLevel) -> Result<Returned, Error> {
    stack_pin_init!(let outer = SpinLock::<(), Outer>::new(()));
    let first = CancelSpinLock::lock(irql).old_irql();
    let second = outer.with(irql, |(), held| CancelSpinLock::lock(held).old_irql());
    let mut returned = returned(first.into());
    leave(&mut returned, second.into())?;
    Ok(returned)
}

fn release_cancel(times: u64, irql: &mut PassiveLevel) -> Returned {
    let last = (0..times).fold(0, |_, _| CancelSpinLock::lock(irql).old_irql());
    returned(last.into())
}

fn initialize(irql: &mut PassiveLevel) -> Returned {
    stack_pin_init!(let lock = SpinLock::<()>::new(()));
    returned(is_free(&lock, irql).into())
}

fn acquire(irql: &mut PassiveLevel) -> Result<Returned, Error> {
    stack_pin_init!(let outer = SpinLock::<(), Outer>::new(()));
    stack_pin_init!(let inner = SpinLock::<(), Inner>::new(()));
    let mut guard = outer.lock(irql);
    let mut returned = returned(guard.old_irql().into());
    let ((), held) = guard.split();
    leave(&mut returned, inner.lock(held).old_irql().into())?;
    Ok(returned)
}

fn release(times: u64, irql: &mut PassiveLevel) -> Returned {
    stack_pin_init!(let lock = SpinLock::<()>::new(()));
    let last = (0..times).fold(0, |_, _| lock.lock(irql).old_irql());
    Returned {
        found: is_free(&lock, irql).into(),
        ..returned(last.into())
    }
}

// What is kept of the threads is not to be added to the stack that the other routines take.
#[inline(never)]
fn acquire_at_dpc(irql: &mut PassiveLevel) -> Result<Returned, Error> {
    stack_pin_init!(let lock = SpinLock::<()>::new(()));
    let lock = lock.as_ref();
    let meeting = Meeting::default();
    thread::run(2, irql, &|number, irql: &mut PassiveLevel| {
        let meet = |irql: &mut DispatchLevel| {
            if number == 0 {
                meeting.hold(&lock, irql)
            } else {
                meeting.ask(&lock, irql)
            }
        };
        let _ = (0..Meeting::TRIES).any(|_| raise_to_dispatch(irql, meet));
    })?;
    Ok(returned(meeting.taken.load(Relaxed).into()))
}

/// Two threads: one holds a lock, and the other tries to take it at the same time. With one processor they do not meet, since
/// both are at `DISPATCH_LEVEL`.
#[derive(Default)]
struct Meeting {
    state: AtomicU8,
    /// The lock was taken while the other thread held it.
    taken: AtomicBool,
}

impl Meeting {
    /// How often they try to meet.
    const TRIES: u32 = 1000;
    /// How often each looks for the other in one try, which takes a few microseconds.
    const LOOKS: u32 = 200;

    const FREE: u8 = 0;
    const HELD: u8 = 1;
    const ASKED: u8 = 2;

    /// Holds the lock for a few microseconds at the most; says whether the other thread has tried to take it.
    fn hold(&self, lock: &SpinLock<()>, irql: &mut DispatchLevel) -> bool {
        let _held = lock.lock_at_dpc(irql);
        self.state.store(Self::HELD, SeqCst);
        self.comes_to(Self::ASKED);
        // Before the release, so that who sees HELD with the lock taken has taken what was held.
        self.state.swap(Self::FREE, SeqCst) == Self::ASKED
    }

    /// Tries to take the lock while the other thread holds it; says whether it did hold it.
    fn ask(&self, lock: &SpinLock<()>, irql: &mut DispatchLevel) -> bool {
        if !self.comes_to(Self::HELD) {
            return false;
        }
        let taken = lock.try_lock_at_dpc(irql);
        if taken.is_some_and(|_| self.state.load(SeqCst) == Self::HELD) {
            self.taken.store(true, Relaxed);
        }
        let asked = (Self::HELD, Self::ASKED);
        let still_held = self
            .state
            .compare_exchange(asked.0, asked.1, SeqCst, SeqCst);
        still_held.is_ok()
    }

    fn comes_to(&self, state: u8) -> bool {
        (0..Self::LOOKS).any(|_| {
            hint::spin_loop();
            self.state.load(SeqCst) == state
        })
    }
}

fn release_from_dpc(irql: &mut PassiveLevel) -> Returned {
    stack_pin_init!(let lock = SpinLock::<()>::new(()));
    let taken_again = raise_to_dispatch(irql, |irql| {
        drop(lock.lock_at_dpc(irql));
        lock.try_lock_at_dpc(irql).is_some()
    });
    returned(taken_again.into())
}

/// Whether a lock can be taken.
fn is_free(lock: &SpinLock<()>, irql: &mut PassiveLevel) -> bool {
    raise_to_dispatch(irql, |irql| lock.try_lock_at_dpc(irql).is_some())
}

/// Takes one lock in every thread, to count under it.
pub fn in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<ThreadsRan, Error> {
    match run.routine {
        Routine::IoAcquireCancelSpinLock | Routine::IoReleaseCancelSpinLock => {
            cancel_in_threads(run, irql)?;
        }
        Routine::KeAcquireSpinLock | Routine::KeReleaseSpinLock => raising_in_threads(run, irql)?,
        _ => at_dpc_in_threads(run, irql)?,
    }
    Ok(run.ran(run.total()))
}

/// A count that the cancel spin lock guards, which owns no data. It is kept twice and is not added to in one
/// step; so turns are lost, or the two differ, if two threads take one at a time.
#[derive(Default)]
struct Turns {
    first: AtomicU64,
    second: AtomicU64,
}

impl Turns {
    /// Takes a turn, and says whether the two were the same.
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
        run.must(turns.take());
        run.must(guard.old_irql() == PASSIVE_LEVEL);
    })?;
    run.came(turns.first.load(Relaxed));
    Ok(())
}

fn raising_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<(), Error> {
    stack_pin_init!(let turns = SpinLock::<u64>::new(0));
    let turns = turns.as_ref();
    run.each_round(irql, &|_, irql: &mut PassiveLevel| {
        let mut guard = turns.lock(irql);
        *guard = guard.wrapping_add(1);
        run.must(guard.old_irql() == PASSIVE_LEVEL);
    })?;
    run.came(turns.with(irql, |turns, _| *turns));
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
    run.came(turns.with(irql, |turns, _| *turns));
    Ok(())
}
