//! MarkingInterlockedQueuedIrps: an IRP is put on an interlocked list only once it is marked pending.

use wdm::{InterlockedList, Irp, PendedIrp};

fn link(list: &InterlockedList<PendedIrp>, irp: Irp<'_>) {
    list.insert_tail(irp); //~ E0308
    //~| PendedIrp
}

fn main() {}
