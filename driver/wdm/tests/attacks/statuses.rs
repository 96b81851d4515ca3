//! Attacks on `Error`: a success, or a status that is pending.

use wdm::{Error, NtStatus};

/// The driver makes an error from a success itself.
fn error_by_hand() {
    let _ = Error(NtStatus::SUCCESS); //~ E0423
}

/// `DriverEntry` fails with a success status, so that NT would use a driver that is not initialised.
fn success_as_an_error() -> Result<(), Error> {
    Err(NtStatus::SUCCESS) //~ E0308
}

/// The constant `Error::SUCCESS` is used.
fn success_constant_of_error() {
    let _ = wdm::Error::SUCCESS; //~ E0599
}

/// A success converts into an error by `?`.
fn success_into_an_error() -> Result<(), Error> {
    Err::<(), NtStatus>(NtStatus::SUCCESS)?; //~ E0277
    Ok(())
}
