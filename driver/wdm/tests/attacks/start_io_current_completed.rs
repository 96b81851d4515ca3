//! The IRP that a queue serves is completed without starting the next.

#![forbid(unsafe_code)]

use wdm::{CurrentIrp, NtStatus, PassiveLevel, QueueCallbacks};

fn complete<C: QueueCallbacks>(current: CurrentIrp<C>, irql: &mut PassiveLevel) {
    current.complete(NtStatus::SUCCESS, irql); //~ E0599
}

fn main() {}
