//! The addresses of the model's routines, by name. A driver that is linked with the model gets those that an image calls too.

use std::{
    ffi::c_void,
    ptr::{null_mut, with_exposed_provenance_mut},
};

use nt::UNICODE_STRING;

use crate::{host::Call, image::Image};

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmgetsystemroutineaddress)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmGetSystemRoutineAddress(name: *const UNICODE_STRING) -> *mut c_void {
    let call = Call::enter_noted("MmGetSystemRoutineAddress").at_most(0);
    // SAFETY: the caller passes a string.
    let name = unsafe { call.text(name) };
    Image::routine(&name).map_or(null_mut(), with_exposed_provenance_mut)
}
