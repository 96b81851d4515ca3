//! Whether there is memory at an address.

use std::ffi::c_void;

use nt::DISPATCH_LEVEL;

use crate::host::{Call, fault};

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-mmisaddressvalid)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmIsAddressValid(address: *mut c_void) -> u8 {
    let _call = Call::enter("MmIsAddressValid").at_most(DISPATCH_LEVEL);
    // The word of the address, which is in its page.
    u8::from(fault::read_word(address.addr() & !(size_of::<usize>() - 1)).is_some())
}
