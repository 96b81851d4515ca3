//! Looks up functions at run time, for those that some systems lack.

use std::ffi::CStr;

use windows_sys::Win32::Foundation::FARPROC;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};

use super::wide;

/// Returns a function of a library that this program imports, if the library has it.
pub fn function(library: &str, name: &CStr) -> FARPROC {
    let library = wide(library);
    // SAFETY: the name ends with a NUL.
    let library = unsafe { GetModuleHandleW(library.as_ptr()) };
    if library.is_null() {
        return None;
    }
    // SAFETY: the library stays loaded, since this program imports it; the name ends with a NUL.
    unsafe { GetProcAddress(library, name.as_ptr().cast()) }
}
