//! Whether a driver's pointer to a device object is valid.

use nt::DEVICE_OBJECT;

use crate::{
    host::Call,
    verifier::{BugCheck, Rule},
};

impl Call {
    /// Stops the system if a pointer never pointed to a device object.
    pub(in crate::io) fn require_device(&self, device: *mut DEVICE_OBJECT) {
        let known = self.kernel.io().devices.is_known(device);
        self.require(known, Rule::Pointer, || {
            let bug_check = BugCheck(0x50, [device.addr() as u64, 0, 0, 0]);
            let what = format!(
                "{device:?} is not a device object{}",
                self.once(device.addr())
            );
            (bug_check, what)
        });
    }

    /// Stops the system if a pointer does not point to a device object that exists.
    pub(in crate::io) fn require_live_device(&self, device: *mut DEVICE_OBJECT) {
        self.require_device(device);
        let is_freed = self.kernel.io().devices.is_freed(device);
        self.require(!is_freed, Rule::FreedMemory, || {
            let bug_check = BugCheck(0xd5, [device.addr() as u64, 0, 0, 0]);
            (bug_check, format!("the device object {device:?} was freed"))
        });
    }

    /// Stops the system if a device object was freed and its extension contains a timer that is set or a DPC that is
    /// queued.
    pub(in crate::io) fn verify_extension_is_unused(&self, device: *mut DEVICE_OBJECT) {
        let devices = &self.kernel.io().devices;
        if !devices.is_freed(device) {
            return;
        }
        if let Some(extension) = devices.extension_of(device.addr()) {
            self.require_no_lookaside_in(&extension);
            self.require_no_queued_item_in(extension.clone());
            self.verify_memory_is_unused(extension.start, extension.len());
        }
    }
}
