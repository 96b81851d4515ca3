//! A reference to a record is kept after the record was taken.

use wdm::{PendedIrp, Shared};

fn keep(irp: PendedIrp<Shared<u32>>) -> u32 {
    let record = irp.record();
    let _ = irp.take_record(); //~ E0505
    *record
}
