//! Attacks on devices that are notified of a shutdown while they are made, on the model kernel.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use ntmodel::{Driver, explore};
use pinned_init::PinInit;
use wdm::{ControlDevice, Device, Error, Guid, InterlockedLong, NewDevice, PassiveLevel};

/// A control device that counts the shutdowns of which it is notified.
struct Notified;

static SHUTDOWNS: AtomicU32 = AtomicU32::new(0);

impl ControlDevice for Notified {
    const NAME: &str = "Notified";
}

impl Device for Notified {
    const NOTIFIED_OF_SHUTDOWN: bool = true;

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn shutdown(&self, _: &mut PassiveLevel) {
        SHUTDOWNS.fetch_add(1, SeqCst);
    }
}

/// Each step of `DriverEntry` fails once. Registering for a shutdown is the last one, so no notification can use a state that a
/// failed step has freed.
#[test]
fn a_control_device_that_cannot_be_made_is_not_notified_of_a_shutdown() {
    let (faults, kernel) = common::kernel_with_faults();
    loop {
        faults.arm();
        // SAFETY: the entry point is that of a driver on wdm.
        let loaded = unsafe { Driver::load(&kernel, wdm::control_entry::<Notified>) };
        let failed = faults.disarm();
        kernel.notify_shutdown();
        assert_eq!(SHUTDOWNS.swap(0, SeqCst), u32::from(!failed));
        match loaded {
            Ok(driver) => driver.unload(),
            Err(_) => assert!(failed),
        }
        if !failed {
            break;
        }
    }
    let steps = faults.failed();
    let last = steps.last().expect("steps that can fail");
    assert!(last.contains("register_shutdown"), "{steps:#?}");
}

/// A PnP device whose state is used by a notification.
struct Counted(InterlockedLong);

impl Device for Counted {
    const INTERFACE: Guid = Guid::new(0x51c9_27d4, 0x6a3e, 0x4f17, [0x9b, 0x22, 0, 0, 0, 0, 0, 3]);

    const NOTIFIED_OF_SHUTDOWN: bool = true;

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(InterlockedLong::new(0))))
    }

    fn shutdown(&self, _: &mut PassiveLevel) {
        assert_eq!(self.0.increment(), 1);
    }
}

/// The device cannot be attached, since the lower device is still being initialised. A notification that has begun before does not
/// use the state that AddDevice frees.
#[test]
fn a_device_that_cannot_be_attached_does_not_use_its_state_at_a_shutdown() {
    explore::check(1_000, |kernel| {
        let driver = common::load::<Counted>(kernel);
        let notifier = {
            let kernel = Arc::clone(kernel);
            kernel
                .clone()
                .actor("shutdown", move || kernel.notify_shutdown())
        };
        let added = driver.add_device_with(nt::DO_DEVICE_INITIALIZING);
        assert_eq!(added.err(), Some(nt::STATUS_NO_SUCH_DEVICE));
        notifier.join();
        driver.unload();
    });
}
