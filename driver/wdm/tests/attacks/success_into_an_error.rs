//! A success converts into an error by `?`.

#![forbid(unsafe_code)]

use wdm::{Error, NtStatus};

fn add() -> Result<(), Error> {
    Err::<(), NtStatus>(NtStatus::SUCCESS)?; //~ E0277
    Ok(())
}

fn main() {}
