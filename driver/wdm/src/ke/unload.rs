//! What has to end before the driver's code is freed.

use core::{sync::atomic::Ordering, time::Duration};

use nt::atomic::AtomicUsize;

use crate::{
    PassiveLevel,
    ke::{dpc, wait},
};

/// The number of DPCs and threads of all devices, plus [`WORK`] for each piece of work that is or will be deferred to a work item.
///
/// One word: a DPC can queue the work item that drops it. With a word for each, a read of the first and then of the second could find
/// neither the work item, which is queued after the first read, nor the DPC, which is dropped before the second.
static LEFT: AtomicUsize = AtomicUsize::new(0);

const WORK: usize = 1 << 32;

/// Part of an object that runs the driver's code, which must not exist when the driver is unloaded.
pub(crate) struct Live(());

impl Live {
    pub(crate) fn new() -> Self {
        LEFT.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LEFT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Announces a piece of work.
pub(crate) fn begin_work() {
    // A relaxed increment is enough: whatever keeps the driver loaded during this call ends after it. If that is another work item or
    // a DPC, its own decrement follows.
    LEFT.fetch_add(WORK, Ordering::Relaxed);
}

/// Ends the work that [`begin_work`] announced.
pub(crate) fn end_work() {
    // Release, so that the thread that waits observes the effects of the work.
    LEFT.fetch_sub(WORK, Ordering::Release);
}

/// Waits for the driver's work items and DPCs when it is unloaded or its `DriverEntry` fails. Stops the system if a DPC or a thread still exists
/// then: the kernel could call its routine after the driver's code is freed.
///
/// The removal of a device waits for the device's own work items. A device object that was removed before, or whose
/// AddDevice failed, can have more of them, since a value may be dropped at any time.
///
/// It does nothing in a program that contains several drivers, since the count includes all of them; there the model kernel finds the
/// DPCs that are left.
pub(crate) fn check_unload(irql: &mut PassiveLevel) {
    let mut attempts = 0;
    while nt::IS_DRIVER {
        // A DPC whose routine drops its own last owner is not leaked.
        dpc::flush(irql);
        // Acquire pairs with the Release in `end_work`.
        let left = LEFT.load(Ordering::Acquire);
        if left == 0 {
            return;
        }
        // Work that ended after the DPCs were waited for can have queued one whose routine drops it; so they have at least 0.1 seconds to end.
        attempts = if left < WORK { attempts + 1 } else { 0 };
        if attempts > 100 {
            let code = nt::DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS;
            // SAFETY: KeBugCheckEx may be called at any IRQL, with any parameters.
            unsafe { nt::KeBugCheckEx(code, left as u64, 0, 0, 0) }
        }
        wait::delay(Duration::from_millis(1), irql);
    }
}
