//! The expiration of timers: under the host's time in a thread of its own, under a virtual clock while threads wait.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use nt::DISPATCH_LEVEL;

use crate::{
    host::{
        Call, Kernel,
        clock::{NEVER, units},
        footprint::{self, Access},
        layout::Timer,
        thread::{Attached, Thread},
        wait::{Engine, Wait},
    },
    verifier::{BugCheck, Rule},
};

/// Starts the thread that waits for timers, if the clock is the host's.
pub(crate) fn start(kernel: &Arc<Kernel>) {
    if kernel.clock.is_virtual() {
        return;
    }
    let timers = kernel.clock.timers();
    let kernel = Arc::downgrade(kernel);
    std::thread::spawn(move || {
        while let Some(due) = timers.wait_for_due() {
            let Some(kernel) = kernel.upgrade() else {
                return;
            };
            let _attached = Attached::as_thread(Thread::new_of_timers(&kernel));
            expire(&kernel, due);
        }
    });
}

/// Expires the next timer if it is due at a time: queues its DPC on a processor and runs the DPC. A thread that cancels
/// the timer finds either the timer set or the DPC queued.
pub(crate) fn expire(kernel: &Arc<Kernel>, until: u64) -> bool {
    let call = Call::enter_noted("a timer expires");
    let old_irql = call.raise_irql(DISPATCH_LEVEL);
    let mut woken = None;
    footprint::touch(kernel.clock.key(), Access::Exclusive);
    let overlaps = kernel.engine == Engine::Shuttle && dpcs_of_timers(kernel) > 1;
    let processor = if overlaps {
        call.next_processor()
    } else {
        call.processor()
    };
    // The thread of the other processor starts when the clock is no longer locked.
    let mut interrupt = None;
    let expired = kernel.clock.take_next(until, |timer| {
        // SAFETY: a timer that is set is valid: the driver keeps its memory until it is cancelled.
        let object = unsafe { &*std::ptr::with_exposed_provenance::<Timer>(timer) };
        let dpc = object.dpc.get();
        call.acquire_from(timer);
        footprint::touch(timer, Access::Exclusive);
        // A thread that waits for the timer can free it from here on.
        let again = next_period(kernel, object);
        object.header.signal.store(1, Ordering::Release);
        woken = Some(Wait::Object(timer));
        if !dpc.is_null() {
            let now = kernel.clock.now();
            let [low, high] = [now & 0xffff_ffff, now >> 32].map(|half| {
                std::ptr::without_provenance_mut(usize::try_from(half).unwrap_or_default())
            });
            (_, interrupt) = call.insert_dpc(processor, dpc, low, high);
        }
        again
    });
    if let Some(wait) = woken {
        kernel.sleepers.wake(wait);
    }
    if let Some(processor) = interrupt {
        call.interrupt(processor);
    }
    call.lower_irql(old_irql);
    expired
}

/// Returns the number of timers with a DPC that can expire. The DPC of one can run while that of another one runs.
fn dpcs_of_timers(kernel: &Kernel) -> usize {
    let timers = kernel.clock.expiring();
    let has_dpc = |timer: &&usize| {
        // SAFETY: as in `expire`.
        let object = unsafe { &*std::ptr::with_exposed_provenance::<Timer>(**timer) };
        !object.dpc.get().is_null()
    };
    timers.iter().filter(has_dpc).count()
}

/// Returns the next due time of a periodic timer. In an exploration a timer expires a few times and then stays set,
/// since the number of orders would otherwise be infinite.
fn next_period(kernel: &Kernel, timer: &Timer) -> Option<u64> {
    const TIMES: u32 = 3;
    let period = u64::from(timer.period.get());
    if period == 0 {
        return None;
    }
    let count = timer.processor.get() + 1;
    timer.processor.set(count);
    if kernel.engine == Engine::Shuttle && count == TIMES {
        return Some(NEVER);
    }
    let due = timer.due.get() + period * 10_000;
    timer.due.set(due);
    Some(due)
}

/// Advances a virtual clock, and expires the timers that are due.
pub(crate) fn advance(kernel: &Arc<Kernel>, time: Duration) {
    let until = kernel.clock.now().saturating_add(units(time));
    kernel.settle();
    while expire(kernel, until) {
        kernel.settle();
    }
    kernel.clock.put_forward(until);
}

/// Starts the thread that expires the timers of an exploration, with the first timer: a scenario without timers has one
/// thread less.
pub(crate) fn start_exploring(kernel: &Arc<Kernel>) {
    let explores = kernel.engine == Engine::Shuttle;
    if explores && !kernel.clock.is_exploring() {
        Thread::new_of_timers(kernel).start(expire_each);
    }
}

/// Expires each timer when the scheduler selects this thread, in the order of the due times, until the kernel is shut
/// down and no timer is set.
fn expire_each(kernel: &Arc<Kernel>) {
    loop {
        let call = Call::enter_noted("a timer expires");
        let clock = &kernel.clock;
        let more = call.wait_for(Wait::Timer(clock.key()), || {
            (clock.any_expires() || clock.ends()).then_some(clock.any_expires())
        });
        if !more {
            return;
        }
        call.switch_point("a timer expires", clock.key());
        drop(call);
        expire(kernel, u64::MAX);
    }
}

/// Ends the thread that expires timers.
pub(crate) fn end_exploring(kernel: &Kernel) {
    kernel.clock.shut_down();
    kernel.sleepers.wake(Wait::Timer(kernel.clock.key()));
}

impl Call {
    /// Stops the system if a timer is still set when the driver is unloaded.
    pub(crate) fn require_no_timer(&self) {
        self.require(!self.kernel.clock.any_set(), Rule::Dpc, || {
            let what = "the driver is unloaded while one of its timers is set";
            (BugCheck(0xce, [0; 4]), what)
        });
    }
}
