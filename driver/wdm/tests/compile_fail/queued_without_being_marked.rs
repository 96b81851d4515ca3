//! MarkingQueuedIrps, MarkIrpPending2: an IRP is linked only by what marks it pending first: a raw one has no entry.

use wdm::{InterlockedList, Irp, PendedIrp};

fn link(list: &InterlockedList<PendedIrp>, irp: Irp<'_>) {
    list.insert_tail(irp);
}

fn main() {}
