//! References to objects. This kernel counts references to device objects, callback objects and user-mode events.
//!
//! A device object that is deleted while it is referenced is freed when the last reference is released, as
//! [IoDeleteDevice](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iodeletedevice) says.

use std::ffi::c_void;

use nt::{DISPATCH_LEVEL, NTSTATUS, STATUS_OBJECT_TYPE_MISMATCH, STATUS_SUCCESS};

use crate::{
    ex::object_types,
    host::Call,
    verifier::{BugCheck, Rule},
};

/// `REFERENCE_BY_POINTER`
const REFERENCE_BY_POINTER: u32 = 0x18;

impl Call {
    fn bad_reference(&self, object: *mut c_void, what: String) -> ! {
        let bug_check = BugCheck(REFERENCE_BY_POINTER, [0, object.addr() as u64, 0, 0]);
        self.stop(bug_check, Rule::Reference, what)
    }

    /// Stops the system if the driver is unloaded and still has a reference to an event, or to a device object that it has
    /// deleted and that the reference keeps.
    pub(in crate::io) fn require_no_reference(&self) {
        self.require_no_file_reference(|_| true);
        let events = self.kernel.event_references();
        self.require(events == 0, Rule::Reference, || {
            format!(
                "the driver is unloaded with {events} references to user-mode events or to threads"
            )
        });
        if let Some((address, references)) = self.kernel.io().devices.still_referenced() {
            let what = format!(
                "the driver is unloaded, and its device object {address:#x} was deleted with {references} references \
                 that were never released"
            );
            self.stop(BugCheck::NONE, Rule::Reference, what);
        }
    }
}

/// Returns the reference count, which drivers must ignore.
fn returned(count: usize) -> isize {
    isize::try_from(count).unwrap_or(isize::MAX)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-obreferenceobject)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ObfReferenceObject(object: *mut c_void) -> isize {
    let call = Call::enter_visible("ObReferenceObject", object).at_most(DISPATCH_LEVEL);
    returned(call.reference(object))
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-obreferenceobjectbypointer)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ObReferenceObjectByPointer(
    object: *mut c_void,
    _access: u32,
    kind: *mut c_void,
    _mode: i8,
) -> NTSTATUS {
    let call = Call::enter_visible("ObReferenceObjectByPointer", object).at_most(DISPATCH_LEVEL);
    let kernel = &call.kernel;
    let is_device = kernel.io().devices.is_known(object.cast());
    let of_device = is_device.then_some(object_types::DEVICE);
    let its_type = kernel.type_of_event(object.addr()).or(of_device);
    // An object that is neither is a file, or no object.
    if !its_type.unwrap_or(object_types::FILE).suits(kind) {
        return STATUS_OBJECT_TYPE_MISMATCH;
    }
    call.reference(object);
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-obdereferenceobject)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ObfDereferenceObject(object: *mut c_void) -> isize {
    let call = Call::enter_visible("ObDereferenceObject", object).at_most(DISPATCH_LEVEL);
    let count = call.dereference(object);
    call.switch_after(call.routine(), object);
    returned(count)
}

impl Call {
    /// Removes a reference of the driver to an object; returns the new count.
    fn dereference(&self, object: *mut c_void) -> usize {
        if let Some(Ok(count)) = self.kernel.dereference_event(object.addr()) {
            self.event_dereferenced(object.addr());
            return count;
        }
        let of_file = self.dereference_file(object.addr());
        let of_callback = || self.kernel.dereference_callback(object.addr());
        let count = of_file.or_else(of_callback);
        count.unwrap_or_else(|| self.dereference_device(object))
    }

    /// Adds a reference of the driver to an object; returns the new count.
    fn reference(&self, object: *mut c_void) -> usize {
        let count = self.kernel.reference_event(object.addr());
        let count = count.or_else(|| self.reference_file(object.addr()));
        let count = count.or_else(|| self.kernel.reference_callback(object.addr()));
        let count = count.or_else(|| self.kernel.io().devices.reference(object.addr()));
        count.unwrap_or_else(|| {
            self.bad_reference(
                object,
                format!("{object:?} is not an object to which the driver has a reference"),
            )
        })
    }

    /// Releases a driver's reference to a device object; returns the new count.
    pub(in crate::io) fn dereference_device(&self, object: *mut c_void) -> usize {
        let Some(count) = self.kernel.io().devices.dereference(object.addr()) else {
            self.bad_reference(
                object,
                format!("{object:?} is dereferenced, but the driver has no reference to it"),
            )
        };
        self.verify_extension_is_unused(object.cast());
        count
    }
}
