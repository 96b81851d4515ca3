//! The stack locations of an IRP that a driver passes down, and which driver has the IRP.

use std::ptr::null_mut;

use nt::{
    IO_STACK_LOCATION, IRP_MJ_PNP, IRP_MJ_POWER, IRP_MN_CANCEL_REMOVE_DEVICE,
    IRP_MN_CANCEL_STOP_DEVICE, IRP_MN_QUERY_CAPABILITIES, IRP_MN_QUERY_REMOVE_DEVICE,
    IRP_MN_QUERY_STOP_DEVICE, IRP_MN_REMOVE_DEVICE, IRP_MN_START_DEVICE, IRP_MN_STOP_DEVICE,
    IRP_MN_SURPRISE_REMOVAL, NTSTATUS, STATUS_NOT_SUPPORTED,
};

use crate::{
    host::{Call, layout::DeviceIoControl},
    io::irp::IrpRecord,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The PnP requests that drivers must not send, by the page of each.
const RESERVED: [u8; 8] = [
    IRP_MN_START_DEVICE,
    IRP_MN_QUERY_REMOVE_DEVICE,
    IRP_MN_REMOVE_DEVICE,
    IRP_MN_CANCEL_REMOVE_DEVICE,
    IRP_MN_STOP_DEVICE,
    IRP_MN_QUERY_STOP_DEVICE,
    IRP_MN_CANCEL_STOP_DEVICE,
    IRP_MN_SURPRISE_REMOVAL,
];

impl IrpRecord {
    /// Returns a clause that states whether a completion routine has kept the IRP.
    pub(in crate::io) fn kept(&self) -> &'static str {
        if locked(&self.state).is_kept {
            ". Its completion routine has returned STATUS_MORE_PROCESSING_REQUIRED, and the driver has not completed it since"
        } else {
            ""
        }
    }

    /// Returns the completion routine of a stack location and its context.
    pub(in crate::io) fn completion_routine(&self, location: i8) -> (usize, usize) {
        // SAFETY: the stack location is inside the memory of the IRP.
        let location = unsafe { &*self.location(location) };
        let routine = location
            .CompletionRoutine
            .map_or(0, |routine| routine as usize);
        (routine, location.Context.addr())
    }

    /// Clears a stack location after the completion has processed it: the fields that its driver was called with, except the major
    /// function and the device object.
    pub(in crate::io) fn clear_location(&self, location: i8) {
        // SAFETY: the stack location is inside the memory of the IRP, and the caller that completes it owns it.
        let location = unsafe { &mut *self.location(location) };
        (location.MinorFunction, location.Flags, location.Control) = (0, 0, 0);
        location.FileObject = null_mut();
        let parameters = (&raw mut location.Parameters).cast::<DeviceIoControl>();
        // SAFETY: zero is valid for every field, and the layouts are asserted to be the same.
        unsafe { parameters.write_bytes(0, 1) };
    }

    /// Returns whether a driver that was called with a stack location now leaves it to the lower driver. If a driver has copied its
    /// own location to the next one instead, that one has no device object yet, or that of the driver.
    fn is_skipped(&self, location: i8) -> bool {
        let device = |number| {
            // SAFETY: the stack location is inside the memory of the IRP.
            unsafe { (*self.location(number)).DeviceObject }
        };
        !device(location).is_null() && device(location) != device(location + 1)
    }

    /// Returns whether a stack location is zero up to the completion routine, as it is before a driver sets it.
    fn is_unset(&self, location: i8) -> bool {
        let length = std::mem::offset_of!(IO_STACK_LOCATION, DeviceObject);
        let start = self.location(location).cast::<u8>();
        // SAFETY: the stack location is inside the memory of the IRP.
        let bytes = unsafe { std::slice::from_raw_parts(start, length) };
        bytes.iter().all(|byte| *byte == 0)
    }
}

impl Call {
    fn wrong_location(&self, record: &IrpRecord, code: u64, what: &str) -> ! {
        let bug_check = BugCheck::io(code, [0, record.address() as u64, 0]);
        self.stop(bug_check, Rule::StackLocation, format!("{record} {what}"))
    }

    /// Stops the system if the current dispatch routine has passed its IRP down and has not got it back. The bug check is
    /// Driver Verifier's for the operation on the IRP.
    pub(in crate::io) fn require_owned(&self, record: &IrpRecord, code: u64) {
        let (passed, serving) = (self.passed.get(), self.serving.get());
        let (Some(passed), Some(serving)) = (passed, serving) else {
            return;
        };
        if [passed.irp, serving.irp] != [record.address(); 2] || record.is_completed() {
            return;
        }
        // The lower driver has completed the IRP, and a completion routine that returns STATUS_MORE_PROCESSING_REQUIRED leaves it at this
        // driver's location, which the driver skips to pass the IRP on again.
        let (left, _) = IrpRecord::visit(&locked(&record.state), passed.location);
        let skipped = i8::from(code == 0x205);
        let is_here = (serving.location..=serving.location + skipped).contains(&record.current());
        let is_back = is_here && passed.location < serving.location && left.is_some();
        self.require(is_back, Rule::PassedIrp, || {
            let what = format!(
                "{record} was passed to the lower driver, which still has it. A driver gets an IRP back if its completion \
                 routine returns STATUS_MORE_PROCESSING_REQUIRED"
            );
            (BugCheck::io(code, [0, record.address() as u64, 0]), what)
        });
    }

    /// Stops the system if a driver sends a PnP request that it has made and may not send, or the capabilities that it queries are not
    /// initialised.
    fn require_permitted(&self, record: &IrpRecord, next: i8) {
        // SAFETY: the location is inside the memory, and the caller owns the IRP.
        let minor = unsafe { (*record.location(next)).MinorFunction };
        let irp = record.address() as u64;
        self.require(!RESERVED.contains(&minor), Rule::ReservedRequest, || {
            let what = format!(
                "a driver sends an IRP_MJ_PNP that it has made, whose minor function {minor:#x} is reserved for the system"
            );
            (BugCheck::io(0x237, [0, irp, 0]), what)
        });
        let wrong = (minor == IRP_MN_QUERY_CAPABILITIES)
            .then(|| record.uninitialised_capabilities(self, next));
        if let Some((code, what)) = wrong.flatten() {
            let what = format!("a driver queries capabilities, and has not set {what}");
            let bug_check = BugCheck::io(code, [0, irp, 0]);
            self.stop(bug_check, Rule::QueryCapabilities, what);
        }
    }

    /// Stops the system if a driver sends a PnP or power request that it has made, and its status is not the initial one.
    fn require_initial_status(&self, record: &IrpRecord, status: NTSTATUS) {
        let next = record.current() - 1;
        if record.is_down() || next < 1 {
            return;
        }
        // SAFETY: the location is inside the memory, and the caller owns the IRP.
        let major = usize::from(unsafe { (*record.location(next)).MajorFunction });
        let code = match major {
            IRP_MJ_PNP => 0x20e,
            IRP_MJ_POWER => 0x20f,
            _ => return,
        };
        self.require(status == STATUS_NOT_SUPPORTED, Rule::PnpIrpCompletion, || {
            let what = format!(
                "{record} is sent with the status {status:#x}: the driver that makes it sets STATUS_NOT_SUPPORTED"
            );
            (BugCheck::io(code, [0, record.address() as u64, 0]), what)
        });
        if major == IRP_MJ_PNP {
            self.require_permitted(record, next);
        }
    }

    /// Checks the stack location that the current dispatch routine has set for the lower driver.
    pub(in crate::io) fn verify_next_location(&self, record: &IrpRecord) {
        // SAFETY: the caller owns the IRP.
        let status = unsafe { nt::irp::status(record.raw()) };
        let code = match record.parameters().major {
            // A driver that made the request sends it.
            _ if !record.is_down() => 0,
            IRP_MJ_PNP => 0x215,
            IRP_MJ_POWER => 0x219,
            _ => 0,
        };
        let fails = code != 0 && status < 0 && status != STATUS_NOT_SUPPORTED;
        self.require(!fails, Rule::PnpIrpCompletion, || {
            let what = format!(
                "{record} is passed down with the status {status:#x}: a driver that fails the request completes it"
            );
            (BugCheck::io(code, [0, record.address() as u64, 0]), what)
        });
        self.require_initial_status(record, status);
        let next = record.current() - 1;
        if next >= 1 && record.is_marked(next) && !record.is_skipped(next) {
            let what = "is passed down with a stack location that is marked pending, since its control field was copied: call \
                 IoCopyCurrentIrpStackLocationToNext";
            self.wrong_location(record, 0x206, what);
        }
        let serving = self.serving.get();
        let Some(serving) = serving.filter(|serving| serving.irp == record.address()) else {
            return;
        };
        if next == serving.location {
            if record.completion_routine(next) != serving.completion {
                let what = "is passed down with the stack location of its own driver, in which \
                     IoSetCompletionRoutine has replaced the upper driver's routine: call \
                     IoCopyCurrentIrpStackLocationToNext, not IoSkipCurrentIrpStackLocation";
                self.wrong_location(record, 0x212, what);
            }
        } else if next > serving.location {
            self.wrong_location(
                record,
                0x212,
                "is passed down with the upper driver's stack location: it was skipped twice",
            );
        } else if next >= 1 && next + 1 == serving.location {
            if record.is_unset(next) && !record.is_unset(serving.location) {
                let what = "is passed down, but the lower driver's stack location was not set: call \
                     IoCopyCurrentIrpStackLocationToNext or IoSkipCurrentIrpStackLocation";
                self.wrong_location(record, 0x212, what);
            }
            let completion = record.completion_routine(next);
            if completion.0 != 0 && completion.1 != 0 && completion == serving.completion {
                let what = "is passed down with the upper driver's completion routine, which is then called twice: \
                     IoCopyCurrentIrpStackLocationToNext does not copy it";
                self.wrong_location(record, 0x207, what);
            }
        }
    }
}
