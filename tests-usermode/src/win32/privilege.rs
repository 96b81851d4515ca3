//! Whether this process is elevated.

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Security::{
    GetTokenInformation, TOKEN_ELEVATION, TOKEN_QUERY, TokenElevation,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::{size, succeeded};
use crate::error::{Error, Result};

/// Fails unless the process runs elevated, as an administrator.
pub fn require_administrator() -> Result {
    if is_elevated()? {
        return Ok(());
    }
    Err(Error::could_not_run(
        "this requires an administrator: run it from an elevated command prompt",
    ))
}

/// Returns whether the process runs elevated, as an administrator.
pub fn is_elevated() -> Result<bool> {
    // SAFETY: the function has no obligations; it returns a pseudo handle, which is not closed.
    let process = unsafe { GetCurrentProcess() };
    let mut token = ptr::null_mut();
    // SAFETY: the process handle is valid, and `token` is writable.
    let opened = unsafe { OpenProcessToken(process, TOKEN_QUERY, &raw mut token) };
    succeeded(opened, "OpenProcessToken")?;
    // SAFETY: the handle was just opened, and nothing else uses it.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    let mut elevation = TOKEN_ELEVATION::default();
    let mut written = 0;
    // SAFETY: the token is open, and the buffer is the structure of this class of information, with its size.
    let answer = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenElevation,
            (&raw mut elevation).cast(),
            size::<TOKEN_ELEVATION>(),
            &raw mut written,
        )
    };
    succeeded(answer, "GetTokenInformation")?;
    Ok(elevation.TokenIsElevated != 0)
}
