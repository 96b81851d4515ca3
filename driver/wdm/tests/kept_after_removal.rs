//! A device keeps a request after its removal and its last call of `remove`: in a dispatch routine at `DISPATCH_LEVEL`, in a completion
//! routine after the lower driver was removed, and when its power changes. `remove` is called again, so the removal ends.

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::{
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering::SeqCst},
    thread,
    time::Duration,
};

use common::{Place, Stack, kernel, load_filter, place, start, status};
use nt::{IRP, NTSTATUS, irp};
use ntmodel::{PowerState as State, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use raw::Control;
use wdm::{
    CompletionRoutine, Device, Error, Filter, Guid, Handled, Irp, NewDevice, NewFilter,
    PassiveLevel, PendedIrp, PowerState, Returned, SpinLock, irql::CallerLevel,
};

const CODE: u32 = 0x22_2000;
const LONG: Duration = Duration::from_secs(5);
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
        let theirs = device.clone();
        let sender = kernel.actor("sender", move || {
            // SAFETY: the IRQL is lowered below.
            let old = unsafe { nt::KeRaiseIrqlToDpcLevel() };
            let sent = theirs.internal_device_control(CODE, &[], Vec::new());
            // SAFETY: the IRQL was raised above.
            unsafe { nt::KeLowerIrql(old) };
            sent
        });
        device.surprise_remove();
        let end = sender.join().wait(LONG).map(|end| end.status);
        kernel.verify(end == Some(nt::STATUS_DELETE_PENDING), || {
            format!("{end:x?}")
        });
        // SAFETY: the reference was made above.
        unsafe { nt::ObfDereferenceObject(object) };
        stack.unload();
    });
}

/// The request that the lower driver has.
static LOWER: AtomicPtr<IRP> = AtomicPtr::new(null_mut());

/// Pends the request.
struct Pends;

impl Control for Pends {
    fn control(irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the dispatch routine owns the IRP.
        unsafe { irp::IoMarkIrpPending(irp) };
        LOWER.store(irp, SeqCst);
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

struct Above(Kept);

impl Filter for Above {
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
    let stack = Stack::new(raw::load::<Pends>(&kernel));
    let stack = stack.filter(load_filter::<Above>(&kernel)).started();
    let sent = stack.device.internal_device_control(CODE, &[], Vec::new());
    let theirs = stack.device.clone();
    let remover = kernel.actor("remover", move || theirs.surprise_remove());
    // The removal waits for the request by then, otherwise the test proves less.
    thread::sleep(Duration::from_millis(200));
    let lower = kernel.actor("lower driver", || {
        let irp = LOWER.swap(null_mut(), SeqCst);
        raw::complete(irp, nt::STATUS_SUCCESS);
    });
    lower.join();
    assert_eq!(status(&sent), nt::STATUS_DELETE_PENDING);
    remover.join();
    stack.unload();
}

/// A device that begins to serve a request when it enters D0.
#[pin_data]
struct Begins {
    #[pin]
    waiting: SpinLock<Option<PendedIrp>>,
    #[pin]
    current: SpinLock<Option<PendedIrp>>,
}

impl Device for Begins {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(try_pin_init!(Self {
            waiting <- SpinLock::new(None),
            current <- SpinLock::new(None),
        }? Error))
    }

    fn internal_device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut CallerLevel,
    ) -> Handled<'irp> {
        let (irp, handled) = irp.pend_not_cancelable(irql);
        self.waiting.with(irql, |waiting, _| *waiting = Some(irp));
        handled
    }

    fn set_power(&self, _: PowerState, irql: &mut CallerLevel) {
        if let Some(irp) = self.waiting.with(irql, |waiting, _| waiting.take()) {
            self.current.with(irql, |current, _| *current = Some(irp));
        }
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        for place in [&self.waiting, &self.current] {
            if let Some(irp) = place.with(irql, |place, _| place.take()) {
                irp.complete(Error::DELETE_PENDING, irql);
            }
        }
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
        let theirs = stack.device.clone();
        let power_manager = kernel.actor("power manager", move || theirs.set_power(D0));
        stack.device.remove().expect("no file is open");
        power_manager.join();
        // SAFETY: the reference was made above.
        unsafe { nt::ObfDereferenceObject(object) };
        let end = sent.wait(LONG).map(|end| end.status);
        kernel.verify(end == Some(nt::STATUS_DELETE_PENDING), || {
            format!("{end:x?}")
        });
        stack.unload();
    });
}
