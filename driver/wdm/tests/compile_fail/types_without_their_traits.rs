//! A type that does not implement the trait that a wrapper requires: the error names the trait.

use wdm::{Dpc, InterlockedList, Irp, IrpQueue, Timer};

struct Mine;

fn callbacks(_: &IrpQueue<Mine>) {} //~ E0277
//~| is not the callbacks of an IRP queue

fn record(_: Irp<'_, Mine>) {} //~ E0277
//~| cannot be kept with an IRP

fn item(_: &InterlockedList<Mine>) {} //~ E0277
//~| cannot be linked into an interlocked list

fn dpc(_: &Dpc<Mine>) {} //~ E0277
//~| has no DPC routine

fn timer(_: &Timer<Mine>) {} //~ E0277
//~| has no timer routine

fn mistake() {
    let _ = wdm::entry::<Mine>; //~ E0277
    //~| is not a device
}
