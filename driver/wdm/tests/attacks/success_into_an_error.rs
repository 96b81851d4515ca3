//! A success converts into an error by `?`.

use wdm::{Error, NtStatus};

fn add() -> Result<(), Error> {
    Err::<(), NtStatus>(NtStatus::SUCCESS)?; //~ E0277
    Ok(())
}
