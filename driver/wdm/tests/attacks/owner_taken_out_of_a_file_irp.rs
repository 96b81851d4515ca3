//! A filter uses a pattern to extract the `Irp` from a `FileIrp`.

use wdm::{FileIrp, Irp};

fn take<'irp>(irp: FileIrp<'irp>) -> Irp<'irp> {
    let FileIrp(irp) = irp; //~ E0532
    irp
}
