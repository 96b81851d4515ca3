//! The driver makes an error from a success itself.

#![forbid(unsafe_code)]

use wdm::{Error, NtStatus};

fn main() {
    let _ = Error(NtStatus::SUCCESS); //~ E0423
}
