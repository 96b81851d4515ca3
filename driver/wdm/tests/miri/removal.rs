//! A device is removed while other threads drop values of it: between any two accesses to atomic variables.

use std::{
    cell::Cell,
    ffi::c_void,
    sync::atomic::{
        AtomicBool, AtomicU32,
        Ordering::{Relaxed, SeqCst},
    },
    thread::{self, sleep},
    time::Duration,
};

use nt::{STATUS_SUCCESS, model::Inline};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Device, Error, InterlockedOwner, NewDevice, PassiveLevel, Shared, SpinLock, Thread,
    ThreadRoutine,
};

use crate::kernel::{
    Kernel,
    io::{Loaded, at_passive},
};

/// More accesses to atomic variables than a removal makes after it has freed the device's state, or a thread that drops a value.
const STEPS: u32 = 12;

/// The access before which a thread stops for a moment.
static STEP: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The number of accesses that this thread makes before the access `STEP`.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Whether the thread has stopped, so that the others may continue.
static GOES_ON: AtomicBool = AtomicBool::new(false);
/// Whether the work has ended that the removal waits for.
static HAS_ENDED: AtomicBool = AtomicBool::new(false);
/// Whether the device was removed.
static IS_REMOVED: AtomicBool = AtomicBool::new(false);

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
        // Enough time for the other threads.
        wait_for(&IS_REMOVED, 20);
    }
}

/// Waits until a flag is set, at most for a number of milliseconds.
fn wait_for(flag: &AtomicBool, milliseconds: u32) {
    for _ in 0..milliseconds {
        if flag.load(SeqCst) {
            break;
        }
        sleep(Duration::from_millis(1));
    }
}

/// Runs a test with each step.
fn at_each_step(test: impl Fn(u32)) {
    let _kernel = Kernel::start();
    nt::model::watch(before);
    for step in 0..STEPS {
        STEP.store(step, Relaxed);
        GOES_ON.store(false, SeqCst);
        HAS_ENDED.store(false, SeqCst);
        IS_REMOVED.store(false, SeqCst);
        test(step);
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
        wait_for(&GOES_ON, 50);
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
        LEFT.set(Some(STEP.load(Relaxed)));
    }
}

#[test]
fn a_removal_waits_for_a_thread_that_a_work_item_drops() {
    at_each_step(|step| {
        let loaded = Loaded::new::<State>();
        assert_eq!(loaded.pnp(nt::IRP_MN_REMOVE_DEVICE), STATUS_SUCCESS);
        LEFT.set(None);
        assert!(HAS_ENDED.load(SeqCst), "the thread runs, at step {step}");
        loaded.unload_removed();
    });
}

/// A value whose drop sets the flag, if it is the device's.
struct Value {
    is_of_device: bool,
}

impl Drop for Value {
    fn drop(&mut self) {
        if self.is_of_device {
            HAS_ENDED.store(true, SeqCst);
        }
    }
}

/// A value that was made for the device, and that another thread drops.
static OTHER: InterlockedOwner<Shared<Value>> = InterlockedOwner::new();
/// Held when the value is dropped.
static LOCK: SpinLock<()> = SpinLock::new_static(());

#[pin_data]
struct Owning {
    #[pin]
    value: SpinLock<Option<Shared<Value>>>,
}

impl Device for Owning {
    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let mut value = |is_of_device| -> Result<Shared<Value>, Error> {
            Shared::new(Value { is_of_device }, device, irql)
        };
        drop(OTHER.exchange(Some(value(false)?)));
        let own = value(true)?;
        Ok(try_pin_init!(Self { value <- SpinLock::new(Some(own)) }? Error))
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        self.value.with(irql, |value, _| drop(value.take()));
    }
}

/// Drops the other value at `DISPATCH_LEVEL`, and stops before the step.
fn drop_other(irql: &mut PassiveLevel) {
    LOCK.with(irql, |(), _| {
        LEFT.set(Some(STEP.load(Relaxed)));
        drop(OTHER.take());
        LEFT.set(None);
    });
    GOES_ON.store(true, SeqCst);
}

#[test]
fn a_removal_waits_for_its_values_if_another_thread_queues_the_work_item() {
    at_each_step(|step| {
        let loaded = Loaded::new::<Owning>();
        let other = thread::spawn(|| at_passive(drop_other));
        while !GOES_ON.load(SeqCst) {
            sleep(Duration::from_millis(1));
        }
        assert_eq!(loaded.pnp(nt::IRP_MN_REMOVE_DEVICE), STATUS_SUCCESS);
        IS_REMOVED.store(true, SeqCst);
        assert!(HAS_ENDED.load(SeqCst), "the value exists, at step {step}");
        other.join().expect("the other thread");
        loaded.unload_removed();
    });
}

/// Whether [`Thread::start`] has returned.
static IS_STARTED: AtomicBool = AtomicBool::new(false);

/// A thread that requests itself to stop.
struct Stops;

impl ThreadRoutine for Stops {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        wait_for(&IS_STARTED, 50);
        LEFT.set(Some(STEP.load(Relaxed)));
        thread.stop(irql);
        LEFT.set(None);
        GOES_ON.store(true, SeqCst);
        sleep(Duration::from_millis(50));
        HAS_ENDED.store(true, SeqCst);
    }
}

struct Stopped(#[expect(dead_code, reason = "it is dropped")] Thread<Stops>);

impl Device for Stopped {
    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let thread = Thread::new(Ok::<_, Error>(Stops), device, irql)?;
        thread.start(irql)?;
        IS_STARTED.store(true, SeqCst);
        Ok(Ok::<_, Error>(Self(thread)))
    }

    fn remove(&self, _: &mut PassiveLevel) {
        wait_for(&GOES_ON, 50);
    }
}

#[test]
fn a_removal_waits_for_a_thread_that_requests_itself_to_stop() {
    at_each_step(|step| {
        IS_STARTED.store(false, SeqCst);
        let loaded = Loaded::new::<Stopped>();
        assert_eq!(loaded.pnp(nt::IRP_MN_REMOVE_DEVICE), STATUS_SUCCESS);
        IS_REMOVED.store(true, SeqCst);
        assert!(HAS_ENDED.load(SeqCst), "the thread runs, at step {step}");
        loaded.unload_removed();
    });
}

/// Whether the thread was requested to stop.
static IS_REQUESTED: AtomicBool = AtomicBool::new(false);

/// The place of a thread's own `Thread`, from which the routine takes it.
#[pin_data]
struct Owned {
    #[pin]
    place: SpinLock<Option<Shared<Thread<Owned>>>>,
}

impl ThreadRoutine for Owned {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        let own = thread.place.with(irql, |place, _| place.take());
        thread.stop(irql);
        IS_REQUESTED.store(true, SeqCst);
        sleep(Duration::from_millis(50));
        HAS_ENDED.store(true, SeqCst);
        drop(own);
    }
}

struct Starting(#[expect(dead_code, reason = "it is dropped")] Shared<Thread<Owned>>);

impl Device for Starting {
    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let owned = try_pin_init!(Owned { place <- SpinLock::new(None) }? Error);
        let thread = Thread::new(owned, device, irql)?;
        let thread = Shared::new(thread, device, irql)?;
        let own = thread.clone();
        thread.place.with(irql, |place, _| *place = Some(own));
        LEFT.set(Some(STEP.load(Relaxed)));
        let started = thread.start(irql);
        LEFT.set(None);
        started?;
        Ok(Ok::<_, Error>(Self(thread)))
    }

    fn remove(&self, _: &mut PassiveLevel) {
        wait_for(&IS_REQUESTED, 100);
    }
}

#[test]
fn a_removal_waits_for_a_thread_that_was_requested_to_stop_while_it_was_started() {
    at_each_step(|step| {
        IS_REQUESTED.store(false, SeqCst);
        let loaded = Loaded::new::<Starting>();
        assert_eq!(loaded.pnp(nt::IRP_MN_REMOVE_DEVICE), STATUS_SUCCESS);
        assert!(HAS_ENDED.load(SeqCst), "the thread runs, at step {step}");
        loaded.unload_removed();
    });
}
