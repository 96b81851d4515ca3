//! Timers expire: by the host's time, in a thread of their own; by a virtual one, while others wait.

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

/// Starts a thread that waits for timers, where time goes on by itself.
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

/// Lets the next timer expire, if it is due by then: queues its DPC on a processor, and runs that. Whoever cancels the
/// timer finds it set, or finds the DPC queued.
pub(crate) fn expire(kernel: &Arc<Kernel>, until: u64) -> bool {
    let call = Call::enter_noted("a timer expires");
    let old_irql = call.raise_irql(DISPATCH_LEVEL);
    let mut woken = None;
    footprint::touch(kernel.clock.key(), Access::Exclusive);
    let expired = kernel.clock.take_next(until, |timer| {
        // SAFETY: a timer that is set is alive: its memory is the driver's until it is cancelled.
        let object = unsafe { &*std::ptr::with_exposed_provenance::<Timer>(timer) };
        let dpc = object.dpc.get();
        call.acquire_from(timer);
        footprint::touch(timer, Access::Exclusive);
        // Whoever waits for it may free it from here on.
        let again = next_period(kernel, object);
        object.header.signal.store(1, Ordering::Release);
        woken = Some(Wait::Object(timer));
        if !dpc.is_null() {
            let now = kernel.clock.now();
            let [low, high] = [now & 0xffff_ffff, now >> 32].map(|half| {
                std::ptr::without_provenance_mut(usize::try_from(half).unwrap_or_default())
            });
            call.queue_dpc(dpc, low, high);
        }
        again
    });
    if let Some(wait) = woken {
        kernel.sleepers.wake(wait);
    }
    call.lower_irql(old_irql);
    expired
}

/// When a timer expires again, if it is a periodic one. In an exploration it does so a few times, and then stays set: else there
/// would be no end to the orders.
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

/// Lets a time pass by a virtual clock, with whatever expires in it.
pub(crate) fn advance(kernel: &Arc<Kernel>, time: Duration) {
    let until = kernel.clock.now().saturating_add(units(time));
    kernel.settle();
    while expire(kernel, until) {
        kernel.settle();
    }
    kernel.clock.put_forward(until);
}

/// Starts the thread of an exploration that lets timers expire, with the first timer: there is one thread less to run in
/// turn where there is none.
pub(crate) fn start_exploring(kernel: &Arc<Kernel>) {
    let explores = kernel.engine == Engine::Shuttle;
    if explores && !kernel.clock.is_exploring() {
        Thread::new_of_timers(kernel).start(let_expire);
    }
}

/// Lets each timer expire whenever the scheduler likes, but in the order in which they are due, until the kernel is shut down
/// and none is set.
fn let_expire(kernel: &Arc<Kernel>) {
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

/// Ends that thread.
pub(crate) fn end_exploring(kernel: &Kernel) {
    kernel.clock.shut_down();
    kernel.sleepers.wake(Wait::Timer(kernel.clock.key()));
}

impl Call {
    /// Stops the system if a timer is still set, whose memory or driver goes.
    pub(crate) fn require_no_timer(&self) {
        self.require(!self.kernel.clock.any_set(), Rule::Dpc, || {
            let what = "the driver is unloaded while a timer of its is set";
            (BugCheck(0xce, [0; 4]), what.into())
        });
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryPerformanceCounter(frequency: *mut i64) -> i64 {
    let call = Call::enter("KeQueryPerformanceCounter");
    if !frequency.is_null() {
        call.require_room(frequency);
        // SAFETY: the caller gives NULL or room for the frequency.
        unsafe { frequency.write(10_000_000) };
    }
    call.kernel.clock.look().cast_signed()
}
