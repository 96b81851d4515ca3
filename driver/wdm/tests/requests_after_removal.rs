//! A device sends requests to the lower driver while it is removed. After `IRP_MN_REMOVE_DEVICE` was passed down, none arrives there: the
//! lower driver has freed what it would use for them.

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{Stack, kernel, load, status};
use nt::{IRP, NTSTATUS};
use pinned_init::{PinInit, pin_data, try_pin_init};
use raw::Control;
use wdm::{
    ControlCode, Device, Error, Handled, Irp, Lower, NewDevice, PassiveLevel, PendedIrp, SpinLock,
    irql::CallerLevel,
};

const CODE: u32 = 0x22_2000;

/// How many requests the lower driver has received.
static RECEIVED: AtomicU32 = AtomicU32::new(0);
/// What the upper driver's own requests have returned, one in each call of `remove`.
static RETURNED: Mutex<[Option<Result<usize, Error>>; 2]> = Mutex::new([None; 2]);

/// The lower driver: completes each request.
struct Counts;

impl Control for Counts {
    fn control(irp: *mut IRP) -> NTSTATUS {
        RECEIVED.fetch_add(1, SeqCst);
        raw::complete(irp, nt::STATUS_SUCCESS)
    }
}

/// The upper driver's device: in each call of `remove` it sends a request of its own, and in the second it forwards the one that it has kept.
#[pin_data]
struct SwitchesOff {
    below: Lower,
    #[pin]
    kept: SpinLock<Option<PendedIrp>>,
}

impl Device for SwitchesOff {
    type File = ();

    fn add(
        device: &mut NewDevice,
        _: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let below = Lower::new(device);
        Ok(try_pin_init!(Self { below, kept <- SpinLock::new(None) }? Error))
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
        // SAFETY: the lower driver accesses no memory by what is in the buffers.
        let code = unsafe { ControlCode::new(CODE) };
        let timeout = Some(Duration::from_secs(1));
        let returned = self
            .below
            .internal_device_control(code, &[], &mut [], timeout, irql);
        let mut all = RETURNED.lock().expect("no test has failed");
        if all[0].is_none() {
            all[0] = Some(returned);
        } else {
            all[1] = Some(returned);
            if let Some(irp) = self.kept.with(irql, |kept, _| kept.take()) {
                irp.forward(irql);
            }
        }
    }
}

#[test]
fn nothing_is_sent_to_the_lower_driver_after_the_removal_was_passed_down() {
    let kernel = kernel();
    let (below, above) = (raw::load::<Counts>(&kernel), load::<SwitchesOff>(&kernel));
    let stack = Stack::new(below).function(above).started();
    let device = &stack.device;
    let kept = device.internal_device_control(CODE, &[], Vec::new());
    device.remove().expect("no file is open");
    assert_eq!(status(&kept), nt::STATUS_DELETE_PENDING);
    let returned = RETURNED.lock().expect("no test has failed");
    assert_eq!(*returned, [Some(Ok(0)), Some(Err(Error::DELETE_PENDING))]);
    assert_eq!(RECEIVED.load(SeqCst), 1);
    stack.unload();
}
