//! Reader/writer spin locks on the model: the values that a reader observes, in every order of two threads with up to three preemptions.

mod common;

use std::sync::Arc;

use common::with_file;
use ntmodel::{
    Kernel,
    explore::{Search, explore},
};
use pinned_init::PinInit;
use wdm::{
    Device, Error, Guid, Handled, InterlockedLong, Irp, NewDevice, NtStatus, PassiveLevel,
    RwSpinLock, Shared,
};

const READ: u32 = 0x22_2000;
const WRITE: u32 = 0x22_2004;

/// A device with two numbers, which are equal while no writer has the lock. Another thread can run before each increment.
struct Pair(Shared<RwSpinLock<[InterlockedLong; 2]>>);

impl Device for Pair {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let zeroes = [const { InterlockedLong::new(0) }; 2];
        let pair = Shared::new(Ok::<_, Error>(RwSpinLock::new(zeroes)), device, irql)?;
        Ok(Ok::<_, Error>(Self(pair)))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let is_equal = if irp.code() == WRITE {
            self.0.write(irql, |[first, second], _| {
                first.increment() == second.increment()
            })
        } else {
            self.0.read(irql, |[first, second], _| {
                first.exchange_add(0) == second.exchange_add(0)
            })
        };
        let status = if is_equal {
            NtStatus::SUCCESS
        } else {
            NtStatus::DATA_ERROR
        };
        irp.complete(status, irql)
    }
}

fn read_against_write(kernel: &Arc<Kernel>) {
    with_file::<Pair>(kernel, |_, file| {
        let file_clone = Arc::clone(file);
        let write = move || file_clone.device_control(WRITE, &[], Vec::new()).answer();
        let writer = kernel.actor("writer", write);
        let reader = file.device_control(READ, &[], Vec::new()).answer();
        assert_eq!(
            (reader, writer.join()),
            (nt::STATUS_SUCCESS, nt::STATUS_SUCCESS)
        );
    });
}

#[test]
fn reader_observes_no_partial_write() {
    explore(Search::preempting(3), read_against_write).unwrap_or_else(|found| panic!("{found}"));
}
