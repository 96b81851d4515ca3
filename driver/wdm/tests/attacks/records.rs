//! Attacks on the record of an IRP.

use core::cell::Cell;
use std::rc::Rc;

use wdm::{Irp, NtStatus, PassiveLevel, PendedIrp, Record, Shared, ZoneBox};

/// A second record replaces the first one, which would never be dropped.
fn record_given_twice(irp: Irp<'_, Shared<u32>>, record: Shared<u32>) {
    let _ = irp.with_record(record); //~ E0599
}

/// The owner of a record is made twice from its pointer.
fn record_made_twice_from_its_pointer(record: Shared<u32>) -> Shared<u32> {
    let raw = record.into_raw();
    Shared::from_raw(raw) //~ E0133
}

/// Threads share a record that is not `Sync`.
fn record_of_a_cell(irp: Irp<'_>, record: Shared<Cell<u32>>) {
    let _ = irp.with_record(record); //~ E0277
}

/// An owner that is not `Send` is attached to an IRP.
fn record_of_a_foreign_owner(irp: Irp<'_>) {
    let _ = irp.with_record(Rc::new(1)); //~ E0277
}

/// A reference to a record is kept after the completion.
fn record_reference_kept(irp: PendedIrp<Shared<u32>>, irql: &mut PassiveLevel) -> u32 {
    let record = irp.record();
    irp.complete(NtStatus::SUCCESS, irql); //~ E0505
    *record
}

/// A reference to a record is kept after the record was taken.
fn record_reference_kept_past_taking(irp: PendedIrp<Shared<u32>>) -> u32 {
    let record = irp.record();
    let _ = irp.take_record(); //~ E0505
    *record
}

/// A record that borrows from the dispatch routine's stack frame outlives it.
fn record_that_borrows<'a>(irp: Irp<'_>, record: ZoneBox<&'a u32>) {
    let _ = irp.with_record(record); //~ E0521
}
