//! Registry keys.

use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_SUCCESS};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_LOCAL_MACHINE, RRF_RT_REG_DWORD, RegCloseKey, RegGetValueW, RegQueryValueExW,
};

use super::{from_wide, size, wide};
use crate::error::{Error, Result};

/// The maximum length of a string value, in UTF-16 units.
const LENGTH: u32 = 512;

/// An open registry key.
pub struct Key(HKEY);

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the key is open and not used again. A failure cannot be reported.
        unsafe { RegCloseKey(self.0) };
    }
}

impl Key {
    /// Takes ownership of an open key.
    ///
    /// # Safety
    ///
    /// The key is open, and nothing else closes it.
    pub const unsafe fn from_raw(key: HKEY) -> Self {
        Self(key)
    }

    /// Returns a string value.
    pub fn string(&self, name: &str) -> Option<String> {
        let name = wide(name);
        let mut value = vec![0_u16; LENGTH as usize];
        let mut length = LENGTH * 2;
        // SAFETY: the key is open and the name ends with a NUL; the buffer is writable for `length` bytes, as is `length`; the
        // pointer to the type may be null.
        let read = unsafe {
            RegQueryValueExW(
                self.0,
                name.as_ptr(),
                ptr::null(),
                ptr::null_mut(),
                value.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let value = (read == ERROR_SUCCESS).then(|| from_wide(&value));
        value.filter(|value| !value.is_empty())
    }
}

/// Returns a number in a key below `HKEY_LOCAL_MACHINE`; `None` if the key or the value does not exist.
pub fn machine_number(key: &str, name: &str) -> Result<Option<u32>> {
    let (key_wide, name_wide) = (wide(key), wide(name));
    let (mut value, mut length) = (0_u32, size::<u32>());
    // SAFETY: the key is predefined and both names end with a NUL; the value is writable for `length` bytes, as is `length`; the
    // pointer to the type may be null.
    let read = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            key_wide.as_ptr(),
            name_wide.as_ptr(),
            RRF_RT_REG_DWORD,
            ptr::null_mut(),
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    match read {
        ERROR_SUCCESS => Ok(Some(value)),
        ERROR_FILE_NOT_FOUND => Ok(None),
        other => Err(Error::failed(format!(
            "HKLM\\{key}, {name}: {}",
            io::Error::from_raw_os_error(other.cast_signed())
        ))),
    }
}
