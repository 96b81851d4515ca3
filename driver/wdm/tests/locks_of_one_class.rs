//! Two threads hold two locks of one class, which they name in opposite orders; a DPC acquires a queued spin lock that threads acquire.

mod common;

use std::sync::Arc;

use common::with_file;
use ntmodel::{Kernel, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Device, Dpc, DpcRoutine, Error, Guid, Handled, Irp, NewDevice, NtStatus, PassiveLevel,
    QueuedSpinLock, Shared, SpinLock, irql::DispatchLevel,
};

/// Transfer 1 from the first account to the second, or back.
const TO: u32 = 0x22_2000;
const BACK: u32 = 0x22_2004;
/// Returns the balances, and how many transfers the DPC has observed.
const READ: u32 = 0x22_2008;

/// Counts the calls of a DPC that is queued after each transfer.
struct Observer(Shared<QueuedSpinLock<u64>>);

impl DpcRoutine for Observer {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        dpc.0.with_at_dpc(irql, |observed, _| *observed += 1);
    }
}

#[pin_data]
struct Bank {
    #[pin]
    first: SpinLock<u64>,
    #[pin]
    second: SpinLock<u64>,
    observed: Shared<QueuedSpinLock<u64>>,
    #[pin]
    observer: Dpc<Observer>,
}

impl Device for Bank {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let observed: Shared<QueuedSpinLock<u64>> =
            Shared::new(QueuedSpinLock::new(0), device, irql)?;
        let routine = Observer(observed.clone());
        Ok(try_pin_init!(Self {
            first <- SpinLock::new(10),
            second <- SpinLock::new(10),
            observed,
            observer <- Dpc::new(Ok::<_, Error>(routine)),
        }? Error))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let (from, to) = match irp.code() {
            TO => (&self.first, &self.second),
            BACK => (&self.second, &self.first),
            _ => {
                let first = self.first.with(irql, |balance, _| *balance);
                let second = self.second.with(irql, |balance, _| *balance);
                let observed = self.observed.with(irql, |observed, _| *observed);
                return irp.complete_with(&[first, second, observed], irql);
            }
        };
        let moved = SpinLock::with_both(from, to, irql, |from, to, _| {
            *from -= 1;
            *to += 1;
        });
        assert_eq!(moved, Some(()));
        self.observer.queue();
        irp.complete(NtStatus::SUCCESS, irql)
    }
}

fn transfer_both_ways(kernel: &Arc<Kernel>) {
    with_file::<Bank>(kernel, |_, file| {
        let file_clone = Arc::clone(file);
        let other = kernel.actor("other", move || {
            file_clone.device_control(BACK, &[], Vec::new()).answer()
        });
        let status = file.device_control(TO, &[], Vec::new()).answer();
        assert_eq!((status, other.join()), (0, 0));
        let read = file.device_control(READ, &[], vec![0; 24]);
        let output = read.ended().expect("it ends without waiting").output;
        let value = |at: usize| u64::from_ne_bytes(output[at..at + 8].try_into().expect("8 bytes"));
        // A DPC that is queued already is not queued again.
        assert_eq!([value(0), value(8)], [10, 10]);
        assert!([1, 2].contains(&value(16)), "{}", value(16));
    });
}

#[test]
fn two_locks_of_a_class_are_held_without_a_deadlock() {
    explore::check(1_000, transfer_both_ways);
}
