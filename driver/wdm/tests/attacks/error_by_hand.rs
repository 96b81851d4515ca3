//! The driver makes an error from a success itself.

use wdm::{Error, NtStatus};

fn attack() {
    let _ = Error(NtStatus::SUCCESS); //~ E0423
}
