//! DPCs, which run on whatever processor lowers its IRQL next, and timers, which expire when a test says so.

use core::{ffi::c_void, ptr::null_mut};
use std::sync::{Condvar, Mutex, PoisonError};

use nt::{DISPATCH_LEVEL, KDPC, KTIMER, PKDEFERRED_ROUTINE};

use super::{
    Sent,
    irql::{assert_passive, at_dispatch, current},
    lock, routines,
};

/// The DPCs that are queued, in order, and how many run.
struct Queue {
    queued: Vec<Sent<Dpc>>,
    running: usize,
}

/// Taken after [`TIMERS`].
static DPCS: Mutex<Queue> = Mutex::new(Queue {
    queued: Vec::new(),
    running: 0,
});

/// Notified when a DPC has run.
static DONE: Condvar = Condvar::new();

/// The timers that are set.
static TIMERS: Mutex<Vec<(Sent<KTIMER>, Sent<KDPC>)>> = Mutex::new(Vec::new());

/// What is in a `KDPC`.
#[repr(C)]
struct Dpc {
    reserved: [u64; 3],
    routine: PKDEFERRED_ROUTINE,
    context: *mut c_void,
    arguments: [*mut c_void; 2],
    queued: bool,
}

const _: () = assert!(size_of::<Dpc>() == size_of::<KDPC>());

/// Whether no DPC is queued and no timer set.
pub fn is_idle() -> bool {
    let no_timer = lock(&TIMERS).is_empty();
    no_timer && lock(&DPCS).queued.is_empty()
}

/// Runs what is queued, below `DISPATCH_LEVEL`.
pub fn run_queued() {
    let mut dpcs = lock(&DPCS);
    while !dpcs.queued.is_empty() {
        let dpc = dpcs.queued.remove(0).get();
        // SAFETY: a queued DPC stays, and what is in it is changed under the mutex.
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

/// Queues a DPC, and says whether it was not queued yet.
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

/// Has every timer that is set expire.
pub fn expire_timers() {
    let mut timers = lock(&TIMERS);
    for (_, dpc) in timers.drain(..) {
        // SAFETY: a timer that is set has an initialised DPC. Cancelled is only what is on the list, whose mutex is held.
        unsafe { queue(dpc.get().cast()) };
    }
    drop(timers);
    if current() < DISPATCH_LEVEL {
        run_queued();
    }
}

/// Takes a timer off the list, and says whether it was set.
fn cancel(timers: &mut Vec<(Sent<KTIMER>, Sent<KDPC>)>, timer: *mut KTIMER) -> u8 {
    let before = timers.len();
    timers.retain(|(set, _)| set.get() != timer);
    u8::from(timers.len() != before)
}

routines! {
    fn KeInitializeDpc(dpc: *mut KDPC, routine: PKDEFERRED_ROUTINE, context: *mut c_void) {
        let new = Dpc {
            reserved: [0; 3],
            routine,
            context,
            arguments: [null_mut(); 2],
            queued: false,
        };
        // SAFETY: the caller gives a place for the DPC.
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
        // SAFETY: the caller gives an initialised DPC; the mutex is held.
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
        // SAFETY: the caller gives a place for the timer.
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
