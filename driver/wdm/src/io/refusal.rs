//! Whether a queue refuses further IRPs.

use crate::NtStatus;

/// The status that a queue ends further IRPs with, if it refuses them.
pub(crate) struct Refusal {
    status: Option<NtStatus>,
    device_is_gone: bool,
}

impl Refusal {
    pub(crate) const NONE: Self = Self {
        status: None,
        device_is_gone: false,
    };

    pub(crate) const fn status(&self) -> Option<NtStatus> {
        self.status
    }

    /// Refuses IRPs from now on, or accepts them again. The queue of a device that is gone keeps its refusal.
    pub(crate) fn set(&mut self, status: Option<NtStatus>) {
        if !self.device_is_gone {
            self.status = status;
        }
    }

    /// Refuses IRPs for good, since the device is gone.
    pub(crate) fn set_device_gone(&mut self) {
        self.status = Some(NtStatus::DELETE_PENDING);
        self.device_is_gone = true;
    }
}
