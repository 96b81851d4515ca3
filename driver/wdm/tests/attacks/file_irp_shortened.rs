//! The lifetime of an IRP that opens a file is shortened to that of an inner stack frame.

use wdm::FileIrp;

fn coerce<'a>(it: FileIrp<'static>) -> FileIrp<'a> {
    it //~ lifetime
}
