//! The owner of a power policy, whose work item requests states of the device and notifies it that a request has failed.

use nt::{STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};
use pinned_init::PinInit;
use wdm::{
    Device, Error, Handled, InterlockedLong, Irp, NewDevice, NtStatus, PassiveLevel, PowerPolicy,
    irql::CallerLevel,
};

use crate::{
    THREADS, TIMES,
    kernel::{Kernel, io::Loaded},
};

struct Lamp {
    policy: PowerPolicy,
    failures: InterlockedLong,
}

impl Device for Lamp {
    type File = ();

    fn add(
        device: &mut NewDevice,
        _: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self {
            policy: PowerPolicy::new(device),
            failures: InterlockedLong::new(0),
        }))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match self.policy.power_up(irql) {
            Ok(reference) => {
                drop(reference);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            Err(error) => irp.complete(error, irql),
        }
    }

    fn power_up_failed(&self, error: Error, _: &mut CallerLevel) {
        assert_eq!(error, Error::INSUFFICIENT_RESOURCES);
        self.failures.increment();
    }
}

/// The power manager of this kernel has no memory for a request.
#[test]
fn references_are_made_and_dropped_while_a_work_item_requests_states_of_the_device() {
    let _kernel = Kernel::start();
    let loaded = Loaded::new::<Lamp>();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let file = loaded.open().expect("the device opens");
                for _ in 0..TIMES {
                    let status = file.ioctl(0x22_2000, &[], 0).wait();
                    assert!([STATUS_SUCCESS, STATUS_INSUFFICIENT_RESOURCES].contains(&status));
                }
                file.cleanup();
            });
        }
    });
    loaded.unload();
}
