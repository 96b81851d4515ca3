//! The options of the kernel's code integrity.

use std::ptr;

use windows_sys::Wdk::System::SystemInformation::{
    NtQuerySystemInformation, SystemCodeIntegrityInformation,
};
use windows_sys::Win32::System::WindowsProgramming::{
    CODEINTEGRITY_OPTION_ENABLED, CODEINTEGRITY_OPTION_HVCI_KMCI_ENABLED,
    CODEINTEGRITY_OPTION_TESTSIGN, SYSTEM_CODEINTEGRITY_INFORMATION,
};

use super::size;
use crate::doctor::CodeIntegrity;
use crate::error::{Error, Result};
use crate::status::Status;

/// Queries the options.
pub fn code_integrity() -> Result<CodeIntegrity> {
    let mut information = SYSTEM_CODEINTEGRITY_INFORMATION {
        Length: size::<SYSTEM_CODEINTEGRITY_INFORMATION>(),
        CodeIntegrityOptions: 0,
    };
    // SAFETY: the buffer is the structure of this class of information, with its size; the pointer to the written length may be
    // null.
    let status = unsafe {
        NtQuerySystemInformation(
            SystemCodeIntegrityInformation,
            (&raw mut information).cast(),
            size::<SYSTEM_CODEINTEGRITY_INFORMATION>(),
            ptr::null_mut(),
        )
    };
    if status < 0 {
        return Err(Error::failed(format!(
            "NtQuerySystemInformation: {}",
            Status(status.cast_unsigned())
        )));
    }
    let has = |option| information.CodeIntegrityOptions & option != 0;
    Ok(CodeIntegrity {
        enabled: has(CODEINTEGRITY_OPTION_ENABLED),
        test_signing: has(CODEINTEGRITY_OPTION_TESTSIGN),
        memory_integrity: has(CODEINTEGRITY_OPTION_HVCI_KMCI_ENABLED),
    })
}
