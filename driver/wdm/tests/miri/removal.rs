//! A device is removed while a work item drops the last owner of a thread, which then ends: at each step of the removal.

use std::{
    cell::Cell,
    ffi::c_void,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread::sleep,
    time::Duration,
};

use nt::{STATUS_SUCCESS, model::Inline};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{Device, Error, NewDevice, PassiveLevel, Shared, SpinLock, Thread, ThreadRoutine};

use crate::kernel::{Kernel, io::Loaded};

/// More accesses to atomic variables than the removal makes after it has freed the device's state.
const STEPS: u32 = 8;

thread_local! {
    /// The step of the removal before which the work item runs.
    static STEP: Cell<u32> = const { Cell::new(0) };
    /// The accesses that this thread makes before that, if it has freed the device's state.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Whether the work item may go on.
static GOES_ON: AtomicBool = AtomicBool::new(false);
/// Whether the thread's routine has ended.
static HAS_ENDED: AtomicBool = AtomicBool::new(false);

fn before(inline: Inline, _: *const c_void) {
    if inline != Inline::Atomic {
        return;
    }
    let Some(left) = LEFT.get() else {
        return;
    };
    LEFT.set(left.checked_sub(1));
    if left == 0 {
        GOES_ON.store(true, SeqCst);
        // Enough time for the work item to end. The thread still runs.
        sleep(Duration::from_millis(20));
    }
}

/// A thread that ends some time after it was requested to stop.
struct Slow;

impl ThreadRoutine for Slow {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        while thread.wait(irql) {}
        sleep(Duration::from_millis(100));
        HAS_ENDED.store(true, SeqCst);
    }
}

/// An owner of the thread, which a work item drops.
struct Owner(#[expect(dead_code, reason = "it is dropped")] Thread<Slow>);

impl Drop for Owner {
    fn drop(&mut self) {
        // The removal may wait for this work item before it reaches the step.
        for _ in 0..50 {
            if GOES_ON.load(SeqCst) {
                break;
            }
            sleep(Duration::from_millis(1));
        }
    }
}

#[pin_data(PinnedDrop)]
struct State {
    #[pin]
    owner: SpinLock<Option<Shared<Owner>>>,
}

impl Device for State {
    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let thread = Thread::new(Ok::<_, Error>(Slow), device, irql)?;
        thread.start(irql)?;
        let owner: Shared<Owner> = Shared::new(Owner(thread), device, irql)?;
        Ok(try_pin_init!(Self { owner <- SpinLock::new(Some(owner)) }? Error))
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        // At `DISPATCH_LEVEL`, so a work item drops the value.
        self.owner.with(irql, |owner, _| drop(owner.take()));
    }
}

#[pinned_init::pinned_drop]
impl PinnedDrop for State {
    fn drop(self: std::pin::Pin<&mut Self>) {
        LEFT.set(Some(STEP.get()));
    }
}

#[test]
fn a_removal_waits_for_a_thread_that_a_work_item_drops() {
    let _kernel = Kernel::start();
    nt::model::watch(before);
    for step in 0..STEPS {
        STEP.set(step);
        GOES_ON.store(false, SeqCst);
        HAS_ENDED.store(false, SeqCst);
        let loaded = Loaded::new::<State>();
        assert_eq!(loaded.pnp(nt::IRP_MN_REMOVE_DEVICE), STATUS_SUCCESS);
        LEFT.set(None);
        assert!(HAS_ENDED.load(SeqCst), "the thread runs, at step {step}");
        loaded.unload_removed();
    }
}
