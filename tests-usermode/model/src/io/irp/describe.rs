//! The description of an IRP in messages.

use std::{fmt, sync::atomic::Ordering};

use crate::{
    io::irp::{IrpRecord, Origin},
    mutex::locked,
    verifier::Rule,
};

impl IrpRecord {
    /// Returns the reason why the IRP is never completed.
    pub(crate) fn diagnose(&self) -> (Rule, String) {
        if self.is_cancelled() && self.has_cancel_routine() {
            let what = format!(
                "{self} was cancelled before its Cancel routine was set, and Irp->Cancel was not tested after that; \
                 so the routine is never called"
            );
            return (Rule::IrpCancelField, what);
        }
        if self.is_on_device_queue() {
            let what = format!(
                "{self} is on a device queue that is busy, but no request is being served that would start it"
            );
            return (Rule::DeviceQueueBusy, what);
        }
        if self.is_cancelled() {
            let had = if self.had_cancel_routine.load(Ordering::Relaxed) {
                "no longer has a Cancel routine"
            } else {
                "never had a Cancel routine"
            };
            let what = format!("{self} was cancelled, {had}, and is never completed");
            return (Rule::IrpProcessingComplete, what);
        }
        let kept = self.kept();
        (
            Rule::IrpProcessingComplete,
            format!("{self} is pending and is never completed{kept}"),
        )
    }
}

impl fmt::Display for IrpRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters = self.parameters();
        if self.origin != Origin::IoManager && locked(&self.state).round == 0 {
            return write!(f, "IRP {} ({:#x}, not sent)", self.number, self.address());
        }
        let major = match parameters.major {
            nt::IRP_MJ_CREATE => "IRP_MJ_CREATE",
            nt::IRP_MJ_CLOSE => "IRP_MJ_CLOSE",
            nt::IRP_MJ_CLEANUP => "IRP_MJ_CLEANUP",
            nt::IRP_MJ_PNP => "IRP_MJ_PNP",
            nt::IRP_MJ_POWER => "IRP_MJ_POWER",
            nt::IRP_MJ_SYSTEM_CONTROL => "IRP_MJ_SYSTEM_CONTROL",
            nt::IRP_MJ_SHUTDOWN => "IRP_MJ_SHUTDOWN",
            nt::IRP_MJ_READ => "IRP_MJ_READ",
            nt::IRP_MJ_WRITE => "IRP_MJ_WRITE",
            nt::IRP_MJ_FLUSH_BUFFERS => "IRP_MJ_FLUSH_BUFFERS",
            nt::IRP_MJ_QUERY_INFORMATION => "IRP_MJ_QUERY_INFORMATION",
            nt::IRP_MJ_SET_INFORMATION => "IRP_MJ_SET_INFORMATION",
            nt::IRP_MJ_INTERNAL_DEVICE_CONTROL => "IRP_MJ_INTERNAL_DEVICE_CONTROL",
            _ => "IRP_MJ_DEVICE_CONTROL",
        };
        write!(f, "IRP {} ({:#x}, {major}", self.number, self.address())?;
        match parameters.major {
            nt::IRP_MJ_DEVICE_CONTROL | nt::IRP_MJ_INTERNAL_DEVICE_CONTROL => {
                write!(f, " {:#x})", parameters.code)
            }
            nt::IRP_MJ_PNP | nt::IRP_MJ_POWER | nt::IRP_MJ_SYSTEM_CONTROL => {
                write!(f, " {:#x})", parameters.minor)
            }
            _ => f.write_str(")"),
        }
    }
}
