//! Registry keys.

use std::ptr;

use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::Registry::{HKEY, RegCloseKey, RegQueryValueExW};

use super::{from_wide, wide};

/// How many UTF-16 units a value that is read here may have.
const LENGTH: u32 = 512;

/// An open registry key.
pub struct Key(HKEY);

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the key is open and not used again. There is nobody to tell of a failure.
        unsafe { RegCloseKey(self.0) };
    }
}

impl Key {
    /// Takes over an open key.
    ///
    /// # Safety
    ///
    /// The key is open, and nobody else closes it.
    pub const unsafe fn from_raw(key: HKEY) -> Self {
        Self(key)
    }

    /// A string value.
    pub fn string(&self, name: &str) -> Option<String> {
        let name = wide(name);
        let mut value = vec![0_u16; LENGTH as usize];
        let mut length = LENGTH * 2;
        // SAFETY: the key is open and the name ends with a NUL; the buffer may be written to as far as
        // `length` says, which may be written to as well; the value's type is not asked for.
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
