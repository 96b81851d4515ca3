//! `DriverEntry` fails with a success status, so that NT would use a driver that is not initialised.

use wdm::{Error, NtStatus};

fn driver_entry() -> Result<(), Error> {
    Err(NtStatus::SUCCESS) //~ E0308
}
