//! DPCs, which run on the processor that lowers its IRQL next, and timers, which expire when a test requests it.

use core::{ffi::c_void, ptr::null_mut};
use std::sync::{Condvar, Mutex, PoisonError};

use nt::{DISPATCH_LEVEL, KDPC, KTIMER, PKDEFERRED_ROUTINE};

use super::{
    Sent,
    irql::{assert_passive, at_dispatch, current},
    lock, routines,
};

/// The queued DPCs in order, and the number of running ones.
struct Queue {
    queued: Vec<Sent<Dpc>>,
    running: usize,
}

/// Locked after [`TIMERS`].
static DPCS: Mutex<Queue> = Mutex::new(Queue {
    queued: Vec::new(),
    running: 0,
});

/// Notified when a DPC has run.
static DONE: Condvar = Condvar::new();

/// The set timers.
static TIMERS: Mutex<Vec<(Sent<KTIMER>, Sent<KDPC>)>> = Mutex::new(Vec::new());

/// The contents of a `KDPC`.
#[repr(C)]
struct Dpc {
    reserved: [u64; 3],
    routine: PKDEFERRED_ROUTINE,
    context: *mut c_void,
    arguments: [*mut c_void; 2],
    queued: bool,
}

const _: () = assert!(size_of::<Dpc>() == size_of::<KDPC>());

/// Returns whether no DPC is queued and no timer is set.
pub fn is_idle() -> bool {
    let no_timer = lock(&TIMERS).is_empty();
    no_timer && lock(&DPCS).queued.is_empty()
}

/// Runs the queued DPCs, if the IRQL is below `DISPATCH_LEVEL`.
pub fn run_queued() {
    let mut dpcs = lock(&DPCS);
    while !dpcs.queued.is_empty() {
        let dpc = dpcs.queued.remove(0).get();
        // SAFETY: a queued DPC stays valid, and its contents are changed under the mutex.
        unsafe { (*dpc).queued = false };
        // SAFETY: as above.
        let Dpc {
            routine, context, ..
        } = unsafe { dpc.read() };
        dpcs.running += 1;
        drop(dpcs);
        if let Some(routine) = routine {
            // SAFETY: the DPC was initialised with this routine and context.
            at_dispatch(|| unsafe { routine(dpc.cast(), context, null_mut(), null_mut()) });
        }
        dpcs = lock(&DPCS);
        dpcs.running -= 1;
        DONE.notify_all();
    }
}

/// Queues a DPC unless it is queued; returns whether it did.
///
/// # Safety
/// The DPC was initialised.
unsafe fn queue(dpc: *mut Dpc) -> bool {
    let mut dpcs = lock(&DPCS);
    // SAFETY: guaranteed by the caller; the mutex is held.
    let queued = unsafe { core::mem::replace(&mut (*dpc).queued, true) };
    if !queued {
        dpcs.queued.push(Sent(dpc));
    }
    !queued
}

/// Lets every set timer expire.
pub fn expire_timers() {
    let mut timers = lock(&TIMERS);
    for (_, dpc) in timers.drain(..) {
        // SAFETY: a set timer has an initialised DPC. Only a timer on the list can be cancelled, and the list's
        // mutex is held.
        unsafe { queue(dpc.get().cast()) };
    }
    drop(timers);
    if current() < DISPATCH_LEVEL {
        run_queued();
    }
}

/// Removes a timer from the list; returns whether it was set.
fn cancel(timers: &mut Vec<(Sent<KTIMER>, Sent<KDPC>)>, timer: *mut KTIMER) -> u8 {
    let before = timers.len();
    timers.retain(|(set, _)| set.get() != timer);
    u8::from(timers.len() != before)
}

routines! {
    fn KeSetImportanceDpc(_dpc: *mut KDPC, _importance: i32) {}

    fn KeInitializeDpc(dpc: *mut KDPC, routine: PKDEFERRED_ROUTINE, context: *mut c_void) {
        let new = Dpc {
            reserved: [0; 3],
            routine,
            context,
            arguments: [null_mut(); 2],
            queued: false,
        };
        // SAFETY: the caller passes valid memory for the DPC.
        unsafe { dpc.cast::<Dpc>().write(new) };
    }

    fn KeInsertQueueDpc(dpc: *mut KDPC, _first: *mut c_void, _second: *mut c_void) -> u8 {
        // SAFETY: guaranteed by the caller.
        let inserted = unsafe { queue(dpc.cast()) };
        if current() < DISPATCH_LEVEL {
            run_queued();
        }
        u8::from(inserted)
    }

    fn KeRemoveQueueDpc(dpc: *mut KDPC) -> u8 {
        let dpc = dpc.cast::<Dpc>();
        let mut dpcs = lock(&DPCS);
        // SAFETY: the caller passes an initialised DPC; the mutex is held.
        let queued = unsafe { core::mem::replace(&mut (*dpc).queued, false) };
        dpcs.queued.retain(|queued| queued.get() != dpc);
        u8::from(queued)
    }

    fn KeFlushQueuedDpcs() {
        assert_passive("KeFlushQueuedDpcs");
        run_queued();
        let mut dpcs = lock(&DPCS);
        while dpcs.running != 0 {
            dpcs = DONE.wait(dpcs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn KeInitializeTimer(timer: *mut KTIMER) {
        // SAFETY: the caller passes valid memory for the timer.
        unsafe { timer.write(KTIMER { Reserved: [0; 8] }) };
    }

    fn KeSetTimer(timer: *mut KTIMER, _due_time: i64, dpc: *mut KDPC) -> u8 {
        let mut timers = lock(&TIMERS);
        let was_set = cancel(&mut timers, timer);
        timers.push((Sent(timer), Sent(dpc)));
        was_set
    }

    fn KeCancelTimer(timer: *mut KTIMER) -> u8 {
        cancel(&mut lock(&TIMERS), timer)
    }
}
