//! A filter takes the owner out of an IRP that closes a file by a pattern.

use wdm::{FileIrp, Irp};

fn take<'irp>(irp: FileIrp<'irp>) -> Irp<'irp> {
    let FileIrp(irp) = irp; //~ E0532
    irp
}
