//! A device keeps a request after its removal and its last call of `remove`: in a dispatch routine at `DISPATCH_LEVEL`, in a completion
//! routine after the lower driver was removed, in an observer, when a request is cancelled, when its power changes, when a file is opened or
//! closed, and when the system shuts down. `remove` is called again, so the removal ends.

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::{
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use common::{Place, Stack, kernel, load_filter, place, start, status};
use nt::{IRP, NTSTATUS, irp};
use ntmodel::{Access, Kernel, PowerState as State, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use raw::Control;
use wdm::{
    CompletionObserver, CompletionRoutine, Device, Error, FileState, Filter, Guid, Handled, Irp,
    IrpQueue, IrpView, NewDevice, NewFilter, NtStatus, PassiveLevel, PendedIrp, PowerState,
    QueueCallbacks, Returned, Shared, SpinLock,
    irql::{AtMostDispatch, CallerLevel, NoSpinLockHeld, ObjectHeld},
    lock_order::Unlocked,
};

const CODE: u32 = 0x22_2000;
const TIMEOUT: Duration = Duration::from_secs(5);
const D0: State = State::Device(1);

/// A device that keeps a request in its state.
#[pin_data]
struct Keeper {
    #[pin]
    kept: SpinLock<Option<PendedIrp>>,
}

impl Device for Keeper {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(try_pin_init!(Self { kept <- SpinLock::new(None) }? Error))
    }

    fn internal_device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut CallerLevel,
    ) -> Handled<'irp> {
        let (irp, handled) = irp.pend_not_cancelable(irql);
        self.kept.with(irql, |kept, _| *kept = Some(irp));
        handled
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        if let Some(irp) = self.kept.with(irql, |kept, _| kept.take()) {
            irp.complete(Error::DELETE_PENDING, irql);
        }
    }
}

#[test]
fn a_request_that_is_kept_at_dispatch_level_is_completed() {
    // Without the second call, the request is lost in about the 6,000th order.
    explore::check(8000, |kernel| {
        let stack = start::<Keeper>(kernel);
        let device = &stack.device;
        let object = std::ptr::with_exposed_provenance_mut(device.object());
        // The sender's reference, so that the device object stays.
        // SAFETY: the device is not removed yet.
        unsafe { nt::ObfReferenceObject(object) };
        let device_clone = device.clone();
        let sender = kernel.actor("sender", move || {
            // SAFETY: the IRQL is lowered below.
            let old = unsafe { nt::KeRaiseIrqlToDpcLevel() };
            let sent = device_clone.internal_device_control(CODE, &[], Vec::new());
            // SAFETY: the IRQL was raised above.
            unsafe { nt::KeLowerIrql(old) };
            sent
        });
        device.surprise_remove();
        let end = sender.join().wait(TIMEOUT).map(|end| end.status);
        kernel.verify(end == Some(nt::STATUS_DELETE_PENDING), || {
            format!("{end:x?}")
        });
        // SAFETY: the reference was made above.
        unsafe { nt::ObfDereferenceObject(object) };
        stack.unload();
    });
}

/// The request that the lower driver of a test has.
static LOWER: [AtomicPtr<IRP>; 2] = [const { AtomicPtr::new(null_mut()) }; 2];

/// Pends the request of the test with this number.
struct Pends<const TEST: usize>;

impl<const TEST: usize> Control for Pends<TEST> {
    fn control(irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the dispatch routine owns the IRP.
        unsafe { irp::IoMarkIrpPending(irp) };
        LOWER[TEST].store(irp, SeqCst);
        nt::STATUS_PENDING
    }
}

type Kept = Place<PendedIrp>;

/// Keeps the request.
struct Keeps;

impl CompletionRoutine for Keeps {
    type Record = Kept;

    fn run(irp: Returned<PendedIrp<Kept>>, irql: &mut CallerLevel) {
        if let Ok(irp) = irp.into_irp() {
            let (kept, irp) = irp.take_record();
            kept.with(irql, |kept, _| *kept = Some(irp));
        }
    }
}

struct UpperDriver(Kept);

impl Filter for UpperDriver {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(place(device, irql)?)))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        irp.with_record(self.0.clone())
            .forward_with_routine::<Keeps>(irql)
    }

    fn remove(&self, irql: &mut CallerLevel) {
        if let Some(irp) = self.0.with(irql, |kept, _| kept.take()) {
            irp.complete(Error::DELETE_PENDING, irql);
        }
    }
}

#[test]
fn a_request_returned_after_the_lower_driver_was_removed_is_completed() {
    let kernel = kernel();
    let stack = Stack::new(raw::load::<Pends<0>>(&kernel));
    let stack = stack.filter(load_filter::<UpperDriver>(&kernel)).started();
    let sent = stack.device.internal_device_control(CODE, &[], Vec::new());
    complete_during_removal::<0>(&kernel, &stack);
    assert_eq!(status(&sent), nt::STATUS_DELETE_PENDING);
    stack.unload();
}

/// Removes the device, whose lower driver completes its request when the removal waits for it.
fn complete_during_removal<const TEST: usize>(kernel: &Arc<Kernel>, stack: &Stack) {
    let device_clone = stack.device.clone();
    let remover = kernel.actor("remover", move || device_clone.surprise_remove());
    // Usually, the removal waits for the request by then. Otherwise the test covers less.
    thread::sleep(Duration::from_millis(200));
    let lower = kernel.actor("lower driver", || {
        let irp = LOWER[TEST].swap(null_mut(), SeqCst);
        raw::complete(irp, nt::STATUS_SUCCESS);
    });
    lower.join();
    remover.join();
}

/// The request that waits, and the one that is being served.
#[pin_data]
struct Requests {
    #[pin]
    waiting: SpinLock<Option<PendedIrp>>,
    #[pin]
    current: SpinLock<Option<PendedIrp>>,
}

impl Requests {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            waiting <- SpinLock::new(None),
            current <- SpinLock::new(None),
        }? Error)
    }

    fn begin(&self, irql: &mut impl AtMostDispatch<Held = Unlocked>) {
        if let Some(irp) = self.waiting.with(irql, |waiting, _| waiting.take()) {
            self.current.with(irql, |current, _| *current = Some(irp));
        }
    }

    fn end(&self, irql: &mut impl NoSpinLockHeld) {
        for place in [&self.waiting, &self.current] {
            if let Some(irp) = place.with(irql, |place, _| place.take()) {
                irp.complete(Error::DELETE_PENDING, irql);
            }
        }
    }
}

/// Begins to serve a request when another one on the queue is cancelled.
struct Cancels(Shared<Requests>);

impl QueueCallbacks for Cancels {
    type Record = ();

    fn before_completion(&self, _: &IrpView, _: NtStatus, irql: &mut ObjectHeld) {
        self.0.begin(irql);
    }
}

/// A device that begins to serve a request when its methods without a request of their own are called.
struct Begins {
    requests: Shared<Requests>,
    queue: Shared<IrpQueue<Cancels>>,
}

/// An open file of the device.
struct Opened;

impl FileState<Begins> for Opened {
    fn open(device: &Begins, irql: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        device.requests.begin(irql);
        Ok(Ok::<_, Error>(Self))
    }
}

impl Device for Begins {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    const NOTIFIED_OF_SHUTDOWN: bool = true;

    type File = Opened;

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let requests = Shared::new(Requests::new(), device, irql)?;
        let queue = IrpQueue::new(Cancels(requests.clone()), device, irql)?;
        Ok(Ok::<_, Error>(Self { requests, queue }))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        _: &Opened,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        self.queue.insert(irp, irql)
    }

    fn internal_device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut CallerLevel,
    ) -> Handled<'irp> {
        let (irp, handled) = irp.pend_not_cancelable(irql);
        let waiting = &self.requests.waiting;
        waiting.with(irql, |waiting, _| *waiting = Some(irp));
        handled
    }

    fn set_power(&self, _: PowerState, irql: &mut CallerLevel) {
        self.requests.begin(irql);
    }

    fn cleanup(&self, _: &Opened, irql: &mut PassiveLevel) {
        self.requests.begin(irql);
    }

    fn shutdown(&self, irql: &mut PassiveLevel) {
        self.requests.begin(irql);
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        assert_eq!(self.queue.length(irql), 0);
        self.requests.end(irql);
    }
}

#[test]
fn a_request_that_is_kept_during_a_change_of_power_is_completed() {
    explore::check(8000, |kernel| {
        let stack = start::<Begins>(kernel);
        let object = std::ptr::with_exposed_provenance_mut(stack.device.object());
        // The power manager's reference, so that the device object stays.
        // SAFETY: the device is not removed yet.
        unsafe { nt::ObfReferenceObject(object) };
        let sent = stack.device.internal_device_control(CODE, &[], Vec::new());
        let device_clone = stack.device.clone();
        let power_manager = kernel.actor("power manager", move || device_clone.set_power(D0));
        stack.device.remove().expect("no file is open");
        power_manager.join();
        // SAFETY: the reference was made above.
        unsafe { nt::ObfDereferenceObject(object) };
        let end = sent.wait(TIMEOUT).map(|end| end.status);
        kernel.verify(end == Some(nt::STATUS_DELETE_PENDING), || {
            format!("{end:x?}")
        });
        stack.unload();
    });
}

/// Removes a device by surprise while another thread makes it begin to serve a request. An open file keeps it from its last removal.
fn removed_while<T: 'static>(
    kernel: &Arc<Kernel>,
    act: fn(&Arc<Kernel>, &ntmodel::Device, &ntmodel::File) -> T,
) {
    let stack = start::<Begins>(kernel);
    let (open, other) = (stack.open(), Arc::new(stack.open()));
    let sent = stack.device.internal_device_control(CODE, &[], Vec::new());
    let (kernel_clone, device, file) = (Arc::clone(kernel), stack.device.clone(), other.clone());
    let actor = kernel.actor("actor", move || drop(act(&kernel_clone, &device, &file)));
    stack.device.surprise_remove();
    actor.join();
    let end = sent.wait(TIMEOUT).map(|end| end.status);
    kernel.verify(end == Some(nt::STATUS_DELETE_PENDING), || {
        format!("{end:x?}")
    });
    drop((open, other));
    stack.unload();
}

#[test]
fn a_request_that_is_kept_during_an_open_is_completed() {
    explore::check(1000, |kernel| {
        removed_while(kernel, |_, device, _| device.open_anyway(Access::ReadWrite));
    });
}

#[test]
fn a_request_that_is_kept_during_a_cleanup_is_completed() {
    explore::check(1000, |kernel| {
        removed_while(kernel, |_, _, file| file.close_handle());
    });
}

#[test]
fn remove_is_called_after_the_requests_on_the_queues_were_completed() {
    explore::check(1000, |kernel| {
        removed_while(kernel, |_, _, file| {
            file.device_control(CODE, &[], Vec::new())
        });
    });
}

#[test]
fn a_request_that_is_kept_during_a_cancellation_is_completed() {
    explore::check(1000, |kernel| {
        removed_while(kernel, |_, _, file| {
            let sent = file.device_control(CODE, &[], Vec::new());
            file.cancel_all();
            sent
        });
    });
}

#[test]
fn a_request_that_is_kept_during_a_shutdown_is_completed() {
    explore::check(1000, |kernel| {
        removed_while(kernel, |kernel, _, _| kernel.notify_shutdown());
    });
}

/// A filter that forwards its second request, and serves its first one after that.
struct Observed(Shared<Requests>);

/// The observer.
struct Observes;

impl CompletionObserver for Observes {
    type Record = Shared<Requests>;

    fn run(irp: &Returned<PendedIrp<Shared<Requests>>>, irql: &mut CallerLevel) {
        irp.record().begin(irql);
    }
}

impl Filter for Observed {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let requests = Shared::new(Requests::new(), device, irql)?;
        Ok(Ok::<_, Error>(Self(requests)))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        let waiting = &self.0.waiting;
        if waiting.with(irql, |waiting, _| waiting.is_some()) {
            return irp
                .with_record(self.0.clone())
                .forward_with_observer::<Observes>(irql);
        }
        let (irp, handled) = irp.pend_not_cancelable(irql);
        waiting.with(irql, |waiting, _| *waiting = Some(irp));
        handled
    }

    /// The request that waits becomes the current one when the other one is completed.
    fn remove(&self, irql: &mut CallerLevel) {
        if let Some(irp) = self.0.current.with(irql, |current, _| current.take()) {
            irp.complete(Error::DELETE_PENDING, irql);
        }
    }
}

#[test]
fn a_request_that_is_kept_by_an_observer_is_completed() {
    let kernel = kernel();
    let stack = Stack::new(raw::load::<Pends<1>>(&kernel));
    let stack = stack.filter(load_filter::<Observed>(&kernel)).started();
    let sent = stack.device.internal_device_control(CODE, &[], Vec::new());
    let observed = stack.device.internal_device_control(CODE, &[], Vec::new());
    complete_during_removal::<1>(&kernel, &stack);
    assert_eq!(status(&observed), nt::STATUS_SUCCESS);
    assert_eq!(status(&sent), nt::STATUS_DELETE_PENDING);
    stack.unload();
}
