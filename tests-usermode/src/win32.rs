//! The installed device, through Win32 and `SetupAPI`: the only `unsafe` code of the harness.

mod certificate;
mod code_integrity;
mod device;
mod devices;
mod event;
mod examine;
mod install;
mod library;
mod machine;
mod privilege;
mod registry;
mod request;
mod service;
mod surprise_remove;

use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt;

use windows_sys::core::GUID;

use crate::error::Error;

pub use device::Device;
pub use devices::path_of;
pub use event::Event;
pub use examine::examine;
pub use install::{devnodes, install, remove};
pub use request::Request;
pub use service::service_state;
pub use surprise_remove::{restore, surprise_remove};

/// The device interface's GUID.
static INTERFACE: GUID = {
    let (data1, data2, data3, data4) = interlock_abi::INTERFACE_GUID;
    GUID {
        data1,
        data2,
        data3,
        data4,
    }
};

/// Converts a string to UTF-16 with a terminating NUL, as Win32 takes it.
fn wide(string: impl AsRef<OsStr>) -> Vec<u16> {
    string.as_ref().encode_wide().chain([0]).collect()
}

/// Converts UTF-16 up to its NUL to a string.
fn from_wide(wide: &[u16]) -> String {
    let end = wide.iter().position(|unit| *unit == 0);
    String::from_utf16_lossy(&wide[..end.unwrap_or(wide.len())])
}

/// Returns `size_of::<T>()`, for the `cbSize` of a Win32 structure.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a Win32 structure is small"
)]
const fn size<T>() -> u32 {
    size_of::<T>() as u32
}

/// Returns the calling thread's last Win32 error, as a failure of `what`.
fn last_error(what: &str) -> Error {
    Error::failed(format!("{what}: {}", io::Error::last_os_error()))
}

/// Returns the result of a Win32 function that returned a `BOOL`.
fn succeeded(answer: windows_sys::core::BOOL, what: &str) -> crate::error::Result {
    if answer == 0 {
        return Err(last_error(what));
    }
    Ok(())
}
