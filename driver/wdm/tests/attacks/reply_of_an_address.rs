//! A reply discloses a kernel address to user mode.

use wdm::{Irp, PassiveLevel};

fn leak(irp: Irp<'_>, reply: &'static u32, irql: &mut PassiveLevel) {
    let _ = irp.complete_with(&reply, irql); //~ E0277
}
