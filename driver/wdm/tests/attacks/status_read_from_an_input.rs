//! A status is read from a request, and may be `STATUS_PENDING`.

use wdm::{IrpView, NtStatus};

fn forge(irp: &IrpView) -> Option<NtStatus> {
    irp.input().ok() //~ E0277
}
