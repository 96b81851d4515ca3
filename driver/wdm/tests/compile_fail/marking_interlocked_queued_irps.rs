//! MarkingInterlockedQueuedIrps: an IRP is inserted into an interlocked list only after it was marked pending.

use wdm::{InterlockedList, Irp, PendedIrp};

fn link(list: &InterlockedList<PendedIrp>, irp: Irp<'_>) {
    list.insert_tail(irp); //~ E0308
    //~| PendedIrp
}
