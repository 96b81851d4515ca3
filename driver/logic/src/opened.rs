//! The state of each open file: its stack and its number of records.

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{Error, FileState, InterlockedLong, InterlockedStack, PassiveLevel, Shared};

use crate::{
    Interlock,
    ledger::{Entry, Ledger},
};

/// The state of an open file.
#[pin_data]
pub struct Opened {
    #[pin]
    stack: InterlockedStack<Entry>,
    /// The number of the file's records, on all queues and on its stack.
    pub records: Shared<InterlockedLong>,
}

impl FileState<Interlock> for Opened {
    fn open(
        device: &Interlock,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let records = Shared::new(InterlockedLong::new(0), &device.object, irql)?;
        Ok(try_pin_init!(Self {
            stack <- InterlockedStack::new(),
            records,
        }? Error))
    }
}

impl Opened {
    /// Pushes a record, which counts as stacked until it is popped or dropped.
    pub fn push(&self, mut entry: Entry, ledger: &Shared<Ledger>) {
        entry.stacked = Some(Stacked::new(ledger.clone()));
        self.stack.push(entry);
    }

    /// Pops the record that was pushed last.
    pub fn pop(&self) -> Option<Entry> {
        let mut entry = self.stack.pop()?;
        entry.stacked = None;
        Some(entry)
    }
}

/// A record's charge against the quota of its open file; dropping it releases the charge.
pub struct Charge(Shared<InterlockedLong>);

impl Charge {
    /// Charges one record.
    ///
    /// # Errors
    /// `STATUS_QUOTA_EXCEEDED` if the quota is used up.
    pub fn new(records: &Shared<InterlockedLong>) -> Result<Self, Error> {
        // If the quota is exceeded, the drop of `charge` releases it again.
        let charge = Self(records.clone());
        if charge.0.increment() > interlock_abi::RECORDS_PER_OPEN.cast_signed() {
            return Err(Error::QUOTA_EXCEEDED);
        }
        Ok(charge)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.decrement();
    }
}

/// Counts a record as stacked, in the device's counters, until it is dropped.
pub struct Stacked(Shared<Ledger>);

impl Stacked {
    fn new(ledger: Shared<Ledger>) -> Self {
        ledger.stacked.increment();
        Self(ledger)
    }
}

impl Drop for Stacked {
    fn drop(&mut self) {
        self.0.stacked.decrement();
    }
}
