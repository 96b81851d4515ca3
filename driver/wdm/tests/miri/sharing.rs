//! Shared values, DPCs and timers, and the deferred drop of their last owner.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Dpc, DpcRoutine, Error, InterlockedLong, NewDevice, PassiveLevel, Shared, SpinLock, Timer,
    TimerRoutine,
    irql::{DispatchLevel, raise_to_dispatch},
    thread,
};

use crate::{
    THREADS, TIMES,
    kernel::{Kernel, expire_timers, io::at_add_device},
};

/// The number of values that this file's tests have dropped.
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// A value that owns memory and counts its drop.
struct Counted(Box<u32>);

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(*self.0, Relaxed);
    }
}

/// Drops one owner in each thread.
fn share<T: Send + Sync + 'static>(
    first: Shared<T>,
    irql: &mut PassiveLevel,
    end: impl Fn(Shared<T>, &mut PassiveLevel) + Sync,
) {
    let owners: Vec<_> = (0..THREADS)
        .map(|_| Mutex::new(Some(first.clone())))
        .collect();
    drop(first);
    let drop_one = |number: u32, irql: &mut PassiveLevel| {
        let owner = owners[number as usize].lock().expect("no panic").take();
        end(owner.expect("an owner"), irql);
    };
    thread::run(THREADS, irql, &drop_one).expect("threads");
}

#[test]
fn the_last_owner_drops_a_shared_value_at_any_irql_and_under_a_lock() {
    let _kernel = Kernel::start();
    DROPPED.store(0, Relaxed);
    at_add_device(|device: &mut NewDevice, irql| {
        for _ in 0..TIMES {
            let new = || Counted(Box::new(1));
            let passive = Shared::<Counted>::new(new(), device, irql).expect("memory");
            share(passive, irql, |owner, _| drop(owner));
            let dispatch = Shared::<Counted>::new(new(), device, irql).expect("memory");
            share(dispatch, irql, |owner, irql| {
                raise_to_dispatch(irql, |_| drop(owner));
            });
            let locked = Shared::<Counted>::new(new(), device, irql).expect("memory");
            let slot =
                Shared::<SpinLock<_>>::new(SpinLock::new(None), device, irql).expect("memory");
            share(locked, irql, |owner, irql| {
                // The assignment drops the previous owner.
                slot.with(irql, |slot, _| *slot = Some(owner));
            });
        }
    });
    // The driver is unloaded after its work items have run.
    assert_eq!(DROPPED.load(Relaxed), 3 * TIMES);
}

/// A DPC that counts and queues itself again.
#[pin_data]
struct Again {
    runs: InterlockedLong,
    #[pin]
    value: SpinLock<Option<Counted>>,
}

fn again() -> impl PinInit<Again, Error> {
    try_pin_init!(Again {
        runs: InterlockedLong::new(0),
        value <- SpinLock::new(Some(Counted(Box::new(1)))),
    }? Error)
}

impl DpcRoutine for Again {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        assert!(dpc.value.lock_at_dpc(irql).is_some());
        if dpc.runs.increment() < 3 {
            dpc.queue();
        }
    }
}

impl TimerRoutine for Again {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        assert!(timer.value.lock_at_dpc(irql).is_some());
        if timer.runs.increment() < 3 {
            timer.set(core::time::Duration::from_millis(1), irql);
        }
    }
}

#[test]
fn a_dpc_is_dropped_while_it_is_queued_and_runs() {
    let _kernel = Kernel::start();
    DROPPED.store(0, Relaxed);
    at_add_device(|device: &mut NewDevice, irql| {
        for _ in 0..TIMES {
            let dpc = Shared::new(Dpc::new(again()), device, irql).expect("memory");
            share(dpc, irql, |dpc, irql| {
                raise_to_dispatch(irql, |_| {
                    dpc.queue();
                });
                dpc.queue();
                drop(dpc);
            });
        }
    });
    assert_eq!(DROPPED.load(Relaxed), TIMES);
}

#[test]
fn a_timer_is_dropped_while_it_expires() {
    let _kernel = Kernel::start();
    DROPPED.store(0, Relaxed);
    at_add_device(|device: &mut NewDevice, irql| {
        for _ in 0..TIMES {
            let timer = Shared::new(Timer::new(again()), device, irql).expect("memory");
            share(timer, irql, |timer, irql| {
                timer.set(core::time::Duration::from_millis(1), irql);
                expire_timers();
                timer.set(core::time::Duration::from_millis(1), irql);
                if timer.runs.read() == 2 {
                    timer.cancel(irql);
                }
                drop(timer);
                expire_timers();
            });
        }
    });
    assert_eq!(DROPPED.load(Relaxed), TIMES);
}

/// A DPC that drops an owner of itself, which may be the last one.
struct Last(SlotOf<Last>);

/// A slot for an owner of a DPC, in the DPC.
type SlotOf<T> = Mutex<Option<Shared<Dpc<T>>>>;

impl DpcRoutine for Last {
    fn run(dpc: &Dpc<Self>, _: &mut DispatchLevel) {
        let owner = dpc.0.lock().expect("no panic").take();
        drop(owner);
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_dpc_drops_its_own_last_owner() {
    let _kernel = Kernel::start();
    DROPPED.store(0, Relaxed);
    at_add_device(|device: &mut NewDevice, irql| {
        for _ in 0..TIMES {
            let new = Dpc::new(Ok::<Last, Error>(Last(Mutex::new(None))));
            let dpc = Shared::new(new, device, irql).expect("memory");
            *dpc.0.lock().expect("no panic") = Some(dpc.clone());
            raise_to_dispatch(irql, |_| {
                dpc.queue();
                // From here on the only owner is the one in the DPC.
                drop(dpc);
            });
        }
    });
    assert_eq!(DROPPED.load(Relaxed), TIMES);
}
