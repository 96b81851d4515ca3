//! A reply discloses its padding bytes to user mode.

use wdm::{Irp, PassiveLevel};

#[repr(C)]
struct Padded {
    byte: u8,
    word: u32,
}
fn leak(irp: Irp<'_>, reply: &Padded, irql: &mut PassiveLevel) {
    let _ = irp.complete_with(reply, irql); //~ E0277
    //~^ E0277
}
