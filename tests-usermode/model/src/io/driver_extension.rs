//! Driver object extensions: memory that the I/O manager keeps for a driver, by an address that the driver chooses.

use std::{cell::UnsafeCell, ffi::c_void, ptr::null_mut, sync::Mutex};

use nt::{
    DISPATCH_LEVEL, DRIVER_OBJECT, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_OBJECT_NAME_COLLISION, STATUS_SUCCESS,
};

use crate::{host::Call, io::irp::zeroed, mutex::locked};

struct Extension {
    /// The addresses of the driver object and of the client.
    key: (usize, usize),
    memory: Box<UnsafeCell<[u128]>>,
}

// SAFETY: the driver orders its accesses to the memory, as NT requires; the model has none.
unsafe impl Send for Extension {}

/// The extensions of all driver objects.
#[derive(Default)]
pub(crate) struct DriverExtensions(Mutex<Vec<Extension>>);

impl DriverExtensions {
    /// Frees those of a driver that is unloaded.
    pub(in crate::io) fn free(&self, driver: *mut DRIVER_OBJECT) {
        locked(&self.0).retain(|extension| extension.key.0 != driver.addr());
    }

    fn find(&self, key: (usize, usize)) -> Option<*mut c_void> {
        let extensions = locked(&self.0);
        let found = extensions.iter().find(|extension| extension.key == key);
        found.map(|extension| extension.memory.get().cast())
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioallocatedriverobjectextension)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoAllocateDriverObjectExtension(
    driver: *mut DRIVER_OBJECT,
    client: *mut c_void,
    size: u32,
    extension: *mut *mut c_void,
) -> NTSTATUS {
    let call = Call::enter("IoAllocateDriverObjectExtension").at_most(DISPATCH_LEVEL);
    call.require_room(extension);
    // SAFETY: the caller passes memory for a pointer; so below.
    unsafe { extension.write(null_mut()) };
    let key = (driver.addr(), client.addr());
    let extensions = &call.kernel.io().driver_extensions;
    if extensions.find(key).is_some() {
        return STATUS_OBJECT_NAME_COLLISION;
    }
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let memory = zeroed(size as usize);
    // SAFETY: as above.
    unsafe { extension.write(memory.get().cast()) };
    locked(&extensions.0).push(Extension { key, memory });
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iogetdriverobjectextension)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoGetDriverObjectExtension(
    driver: *mut DRIVER_OBJECT,
    client: *mut c_void,
) -> *mut c_void {
    let call = Call::enter_noted("IoGetDriverObjectExtension").at_most(DISPATCH_LEVEL);
    let extensions = &call.kernel.io().driver_extensions;
    extensions
        .find((driver.addr(), client.addr()))
        .unwrap_or_default()
}
