//! What is kept for each open of the device: its own stack, and how many records it has.

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{Error, FileState, InterlockedLong, InterlockedStack, PassiveLevel, Shared};

use crate::{
    Interlock,
    ledger::{Entry, Ledger},
};

/// An open of the device.
#[pin_data]
pub struct Opened {
    #[pin]
    stack: InterlockedStack<Entry>,
    /// How many records the open has, on all queues and on its stack.
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
    /// Pushes a record, which is on the device's account of stacked ones until it is dropped or popped.
    pub fn push(&self, mut entry: Entry, ledger: &Shared<Ledger>) {
        entry.stacked = Some(Stacked::new(ledger.clone()));
        self.stack.push(entry);
    }

    /// Takes the record that was pushed last.
    pub fn pop(&self) -> Option<Entry> {
        let mut entry = self.stack.pop()?;
        entry.stacked = None;
        Some(entry)
    }
}

/// A record's place in the quota of its open; dropping it gives the place back.
pub struct Charge(Shared<InterlockedLong>);

impl Charge {
    /// Takes a place.
    ///
    /// # Errors
    /// `STATUS_QUOTA_EXCEEDED` if the open has none left.
    pub fn new(records: &Shared<InterlockedLong>) -> Result<Self, Error> {
        // Given back by the drop if it was one too many.
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

/// A record's place on the device's account of those on a stack.
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
