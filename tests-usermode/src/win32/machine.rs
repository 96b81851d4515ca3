//! The machine's architecture and its operating system.

use std::ffi::{CStr, c_char};
use std::mem;

use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::System::SystemInformation::OSVERSIONINFOW;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, IsWow64Process2};

use super::{library, size, succeeded};
use crate::doctor::{Machine, System};
use crate::error::{Error, Result};
use crate::status::Status;

/// Returns the machine's own architecture, even if it emulates this program.
pub fn native_machine() -> Result<Machine> {
    // SAFETY: the function has no obligations; it returns a pseudo handle, which is not closed.
    let process = unsafe { GetCurrentProcess() };
    let (mut emulated, mut native) = (0, 0);
    // SAFETY: the process handle is valid, and both numbers are writable.
    let answer = unsafe { IsWow64Process2(process, &raw mut emulated, &raw mut native) };
    succeeded(answer, "IsWow64Process2")?;
    Ok(Machine(native))
}

/// Returns the system: Wine if ntdll.dll has a Wine version, otherwise Windows.
pub fn system() -> Result<System> {
    if let Some(version) = wine_version() {
        return Ok(System::Wine(version));
    }
    let mut version = OSVERSIONINFOW {
        dwOSVersionInfoSize: size::<OSVERSIONINFOW>(),
        ..OSVERSIONINFOW::default()
    };
    // SAFETY: the structure is writable and contains its size.
    let status = unsafe { RtlGetVersion(&raw mut version) };
    if status < 0 {
        let status = Status(status.cast_unsigned());
        return Err(Error::failed(format!("RtlGetVersion: {status}")));
    }
    Ok(System::Windows([
        version.dwMajorVersion,
        version.dwMinorVersion,
        version.dwBuildNumber,
    ]))
}

/// Returns Wine's version; `None` on another system.
pub(super) fn wine_version() -> Option<String> {
    type GetVersion = unsafe extern "C" fn() -> *const c_char;
    let function = library::function("ntdll.dll", c"wine_get_version")?;
    // SAFETY: Wine declares the function with this type, and no other system exports it.
    let get_version =
        unsafe { mem::transmute::<unsafe extern "system" fn() -> isize, GetVersion>(function) };
    // SAFETY: the function has no obligations.
    let version = unsafe { get_version() };
    // SAFETY: it returns a constant string that ends with a NUL.
    let version = unsafe { CStr::from_ptr(version) };
    Some(version.to_string_lossy().into_owned())
}
