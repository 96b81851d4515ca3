//! Closures that panic, which unwinds in user mode: every lock is released, and the IRQL is restored.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use common::Loaded;
use pinned_init::PinInit;
use wdm::{
    CancelSpinLock, Device, Error, Guid, Handled, Irp, NewDevice, NtStatus, PassiveLevel,
    QueuedSpinLock, RwSpinLock, Shared, SpinLock, irql::raise_to_dispatch,
};

const PANIC: u32 = 0x22_2000;

struct Locks {
    spin: Shared<SpinLock<u32>>,
    queued: Shared<QueuedSpinLock<u32>>,
    shared: RwSpinLock<u32>,
}

impl Device for Locks {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let spin = Shared::new(SpinLock::new(0), device, irql)?;
        let queued = Shared::new(QueuedSpinLock::new(0), device, irql)?;
        let shared = RwSpinLock::new(0);
        Ok(Ok::<_, Error>(Self {
            spin,
            queued,
            shared,
        }))
    }

    /// Each acquisition is made twice: the second one would not return if the first lock were still held, and the model
    /// stops at a call that is made above its IRQL.
    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        for _ in 0..2 {
            caught(|| self.spin.with(irql, |_, _| stop()));
            caught(|| {
                let _guard = self.spin.lock(irql);
                stop::<()>();
            });
            caught(|| self.queued.with(irql, |_, _| stop()));
            caught(|| self.shared.read(irql, |_, _| stop()));
            caught(|| self.shared.write(irql, |_, _| stop()));
            caught(|| CancelSpinLock::with(irql, |_| stop()));
            caught(|| raise_to_dispatch(irql, |_| stop()));
            raise_to_dispatch(irql, |irql| {
                caught(|| *self.spin.lock_at_dpc(irql) = stop());
                caught(|| self.queued.with_at_dpc(irql, |_, _| stop()));
            });
            wdm::thread::delay(core::time::Duration::from_millis(1), irql);
        }
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

fn stop<T>() -> T {
    // Without the message of a panic, which allocates memory that is not freed.
    resume_unwind(Box::new(()))
}

fn caught(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

#[test]
fn panic_under_a_lock_releases_it() {
    let loaded = Loaded::new::<Locks>();
    let end = loaded.send(PANIC, 0).ended().expect("it does not pend");
    assert_eq!(end.status, nt::STATUS_SUCCESS);
    loaded.close(0);
    loaded.unload();
}
