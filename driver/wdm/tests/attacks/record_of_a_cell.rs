//! Threads share a record that is not `Sync`.

use core::cell::Cell;
use wdm::{Irp, Shared};

fn attach(irp: Irp<'_>, record: Shared<Cell<u32>>) {
    let _ = irp.with_record(record); //~ E0277
}
