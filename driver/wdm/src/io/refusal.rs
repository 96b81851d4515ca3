//! Whether a queue rejects further IRPs.

use crate::NtStatus;

/// The status with which a queue completes further IRPs, if it rejects them.
pub(crate) struct Refusal {
    status: Option<NtStatus>,
    device_is_gone: bool,
}

impl Refusal {
    pub(crate) const NONE: Self = Self {
        status: None,
        device_is_gone: false,
    };

    pub(crate) const fn is_device_gone(&self) -> bool {
        self.device_is_gone
    }

    pub(crate) const fn status(&self) -> Option<NtStatus> {
        self.status
    }

    /// Rejects further IRPs, or accepts them again. The queue of a removed device keeps rejecting them.
    pub(crate) fn set(&mut self, status: Option<NtStatus>) {
        if !self.device_is_gone {
            self.status = status;
        }
    }

    /// Rejects all further IRPs, since the device was removed.
    pub(crate) fn set_device_removed(&mut self) {
        self.status = Some(NtStatus::DELETE_PENDING);
        self.device_is_gone = true;
    }
}
