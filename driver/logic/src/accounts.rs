//! What the device has done, in numbers.

use interlock_abi::Counters;
use pinned_init::{PinInit, pin_data, pin_init};
use wdm::{
    IrpView, NtStatus, QueueCallbacks, SpinLock,
    irql::{AtMostDispatch, Dispatch, NoSpinLockHeld},
};

/// The device's counters, together under one spin lock. `pending` is left at zero: the queue knows it.
#[pin_data]
pub struct Accounts {
    #[pin]
    counts: SpinLock<Counters>,
}

impl Accounts {
    /// Counters that have counted nothing yet.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self { counts <- SpinLock::new(Counters::default()) })
    }

    /// Changes the counters.
    pub fn update<L: AtMostDispatch, R>(
        &self,
        irql: &mut L,
        change: impl FnOnce(&mut Counters) -> R,
    ) -> R {
        self.counts.with(irql, |counts, _| change(counts))
    }

    /// Reads the counters where the IRQL already is `DISPATCH_LEVEL`.
    pub fn read_at_dpc<D: Dispatch>(&self, irql: &mut D) -> Counters {
        *self.counts.lock_at_dpc(irql)
    }
}

impl QueueCallbacks for Accounts {
    fn before_completion<L: NoSpinLockHeld>(&self, _irp: &IrpView, status: NtStatus, irql: &mut L) {
        self.update(irql, |counts| {
            if status == NtStatus::CANCELLED {
                counts.cancelled += 1;
            } else {
                counts.aborted += 1;
            }
        });
    }
}
