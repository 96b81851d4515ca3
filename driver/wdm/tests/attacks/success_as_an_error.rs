//! `DriverEntry` fails with a success, after which NT would go on with a driver that is not prepared.

#![forbid(unsafe_code)]

use wdm::{Error, NtStatus};

fn driver_entry() -> Result<(), Error> {
    Err(NtStatus::SUCCESS) //~ E0308
}

fn main() {}
