//! An error is made of a success by hand.

#![forbid(unsafe_code)]

use wdm::{Error, NtStatus};

fn main() {
    let _ = Error(NtStatus::SUCCESS); //~ E0423
}
