//! Device stacks: the attachments of device objects, and the order in which a removal undoes them.

use std::{
    ptr::null_mut,
    sync::{Arc, atomic::Ordering},
};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, DO_BUFFERED_IO, DO_DEVICE_INITIALIZING, DO_DIRECT_IO,
    DO_POWER_PAGABLE, FILE_OBJECT, IRP_MN_REMOVE_DEVICE, IRP_MN_SURPRISE_REMOVAL, NTSTATUS,
    STATUS_NO_SUCH_DEVICE, STATUS_SUCCESS,
};

use crate::{
    host::Call,
    io::irp::{IrpParameters, IrpRecord},
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The role of a driver in a device stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The lowest driver, whose role is unknown.
    Lowest,
    /// A filter driver above another driver.
    Filter,
    /// The function driver above a lower filter.
    Function,
}

/// Returns the top device object of a stack.
pub(crate) fn top_of(device: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT {
    let mut top = device;
    loop {
        // SAFETY: the device objects of a stack are alive.
        let upper = unsafe { (*top).AttachedDevice };
        if upper.is_null() {
            return top;
        }
        top = upper;
    }
}

impl Call {
    /// Returns the current PnP request of the stack of a device object, if it has this minor function.
    fn pnp_under_way(&self, device: usize, minor: u8) -> Option<Arc<IrpRecord>> {
        let pdo = self.kernel.io().devices.pdo_of(device)?;
        let under_way = locked(&self.kernel.io().pnp);
        let record = under_way.get(&pdo)?;
        (record.parameters().minor == minor).then(|| Arc::clone(record))
    }

    /// Returns the current `IRP_MN_REMOVE_DEVICE` of the stack of a device object.
    pub(in crate::io) fn removal_under_way(&self, device: usize) -> Option<Arc<IrpRecord>> {
        self.pnp_under_way(device, IRP_MN_REMOVE_DEVICE)
    }

    /// Returns whether the stack of a device object has an `IRP_MN_REMOVE_DEVICE`.
    pub(in crate::io) fn is_removing(&self, device: usize) -> bool {
        self.removal_under_way(device).is_some()
    }

    /// Returns whether the stack of a device object has an `IRP_MN_SURPRISE_REMOVAL`.
    pub(in crate::io) fn is_surprise_removing(&self, device: usize) -> bool {
        self.pnp_under_way(device, IRP_MN_SURPRISE_REMOVAL)
            .is_some()
    }

    /// Stops the system if a device object is detached or deleted during a surprise removal.
    fn require_no_surprise(&self, device: usize, code: u64, what: &str) {
        if let Some(record) = self.pnp_under_way(device, IRP_MN_SURPRISE_REMOVAL) {
            let bug_check = BugCheck::io(code, [0, record.address() as u64, device as u64]);
            let what = format!("the device object {device:#x} is {what} during {record}");
            self.stop(bug_check, Rule::PnpSurpriseRemove, what);
        }
    }

    /// Stops the system if a device object is detached or deleted before the driver has passed the removal down, or
    /// before it has waited for its remove lock.
    fn require_removal_passed(&self, device: usize, rule: Rule, what: &str) {
        let devices = &self.kernel.io().devices;
        let (Some(record), Some(lower)) =
            (self.removal_under_way(device), devices.lower_of(device))
        else {
            return;
        };
        let passed = locked(&record.state).passed_to.contains(&lower);
        self.require(passed, rule, || {
            format!(
                "the device object {device:#x} is {what} before IoCallDriver has returned for {record}"
            )
        });
        let waits = devices
            .extension_of(device)
            .is_some_and(|extension| self.kernel.io().remove_locks.any_unreleased(&extension));
        self.require(!waits, Rule::RemoveLockMnRemove, || {
            format!(
                "the device object {device:#x} is {what} before IoReleaseRemoveLockAndWait was called"
            )
        });
    }

    /// Stops the system if a device object is deleted in the wrong order.
    pub(in crate::io) fn verify_deletion(&self, device: usize) {
        self.require_no_surprise(device, 0x242, "deleted");
        self.require_no_child(device);
        self.require_removal_passed(device, Rule::DeleteDevice, "deleted");
    }

    /// Sends a PnP request to the device that this thread is adding. The flag `DO_DEVICE_INITIALIZING` does not prevent
    /// this, as [Microsoft's
    /// page](https://learn.microsoft.com/previous-versions/windows/hardware/design/dn614010(v=vs.85)) says.
    pub(crate) fn probe_device(&self) {
        self.is_probed.store(false, Ordering::Relaxed);
        let Some((pdo, minor)) = locked(&self.kernel.io().probe).take() else {
            return;
        };
        let top = top_of(std::ptr::with_exposed_provenance_mut(pdo));
        let parameters = IrpParameters::new(nt::IRP_MJ_PNP, minor);
        let record = self.new_irp(top, parameters, None, &[], Vec::new());
        // SAFETY: the IRP was not sent yet.
        unsafe { nt::irp::set_status(record.raw(), nt::STATUS_NOT_SUPPORTED) };
        self.send_and_wait(top, &record);
    }

    /// Stops the system if AddDevice has left invalid flags in a device object.
    ///
    /// A driver that can be paged sets `DO_POWER_PAGABLE`, and the device objects of a stack need not have the same flags for power
    /// management, says
    /// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/setting-device-object-flags-for-power-management).
    pub(in crate::io) fn verify_flags(&self, object: *mut DEVICE_OBJECT, role: Role) {
        const BUFFERING: u32 = DO_BUFFERED_IO | DO_DIRECT_IO;
        let address = object.addr();
        let fail = |holds: bool, code: u64, what: &str| {
            self.require(holds, Rule::DeviceFlags, || {
                (BugCheck::io(code, [0, 0, address as u64]), what)
            });
        };
        let devices = &self.kernel.io().devices;
        // SAFETY: AddDevice has attached the object, which is alive.
        let flags = unsafe { (*object).Flags };
        // SAFETY: as above.
        let kind = unsafe { (*object).DeviceType };
        fail(
            flags & DO_DEVICE_INITIALIZING == 0,
            0x243,
            "AddDevice has left DO_DEVICE_INITIALIZING set",
        );
        fail(
            flags & BUFFERING != BUFFERING,
            0x245,
            "AddDevice has set both DO_BUFFERED_IO and DO_DIRECT_IO",
        );
        let Some(lower) = devices.lower_of(address) else {
            return;
        };
        let below: *mut DEVICE_OBJECT = std::ptr::with_exposed_provenance_mut(lower);
        // SAFETY: the lower device object is alive while another one is attached to it.
        let lower_flags = unsafe { (*below).Flags };
        // SAFETY: as above.
        let lower_kind = unsafe { (*below).DeviceType };
        fail(
            flags & DO_POWER_PAGABLE != 0 || lower_flags & DO_POWER_PAGABLE == 0,
            0x23f,
            "AddDevice has not copied DO_POWER_PAGABLE from the lower device object",
        );
        // The function driver chooses these flags; an upper filter copies them.
        if role == Role::Filter {
            fail(
                flags & BUFFERING == lower_flags & BUFFERING,
                0x244,
                "AddDevice of a filter driver has not copied DO_BUFFERED_IO or DO_DIRECT_IO",
            );
            fail(
                kind == lower_kind,
                0x246,
                "AddDevice of a filter driver has not copied DeviceType",
            );
        }
    }
}

impl Call {
    /// Attaches a device object to the top one of a stack; returns that one, or NULL if this fails.
    fn attach(&self, source: *mut DEVICE_OBJECT, target: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT {
        self.attach_at(source, target, |_| {})
    }

    /// As [`Call::attach`]. Calls a closure with the lower device object before the upper one gets IRPs.
    pub(in crate::io) fn attach_at(
        &self,
        source: *mut DEVICE_OBJECT,
        target: *mut DEVICE_OBJECT,
        before: impl FnOnce(*mut DEVICE_OBJECT),
    ) -> *mut DEVICE_OBJECT {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        self.require_live_device(source);
        self.require_live_device(target);
        if self.kernel.fails() {
            return null_mut();
        }
        let top = top_of(target);
        // SAFETY: the device objects of a stack are alive.
        let flags = unsafe { (*top).Flags };
        // SAFETY: as above.
        let size = unsafe { (*top).StackSize };
        // SAFETY: as above.
        let alignment = unsafe { (*top).AlignmentRequirement };
        // A device object that is being initialised cannot be attached to.
        if flags & DO_DEVICE_INITIALIZING != 0 {
            return null_mut();
        }
        before(top);
        self.kernel.io().devices.attach(source, top);
        // SAFETY: the caller passes its own device object.
        unsafe { (*source).StackSize = size + 1 };
        // SAFETY: as above.
        unsafe { (*source).AlignmentRequirement = alignment };
        // SAFETY: as above.
        unsafe { (*top).AttachedDevice = source };
        let probed = locked(&self.kernel.io().probe).is_some();
        self.is_probed.store(probed, Ordering::Relaxed);
        top
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioattachdevicetodevicestack)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoAttachDeviceToDeviceStack(
    source: *mut DEVICE_OBJECT,
    target: *mut DEVICE_OBJECT,
) -> *mut DEVICE_OBJECT {
    let call = Call::enter_shared("IoAttachDeviceToDeviceStack");
    let lower = call.attach(source, target);
    call.switch_after(call.routine(), source);
    lower
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-ioattachdevicetodevicestacksafe)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoAttachDeviceToDeviceStackSafe(
    source: *mut DEVICE_OBJECT,
    target: *mut DEVICE_OBJECT,
    attached_to: *mut *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let call = Call::enter_shared("IoAttachDeviceToDeviceStackSafe");
    call.require_room(attached_to);
    // SAFETY: the caller passes memory for the answer, which is NULL before.
    let before = unsafe { attached_to.read() };
    call.require(before.is_null(), Rule::Pointer, || {
        format!("the field for the lower device object is {before:?}, and must be NULL")
    });
    let lower = call.attach(source, target);
    // SAFETY: as above.
    unsafe { attached_to.write(lower) };
    call.switch_after(call.routine(), source);
    if lower.is_null() {
        STATUS_NO_SUCH_DEVICE
    } else {
        STATUS_SUCCESS
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iodetachdevice)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoDetachDevice(target: *mut DEVICE_OBJECT) {
    let call = Call::enter_shared("IoDetachDevice");
    call.require_at_most(0, Rule::IrqlIoPassive3, 0x2_000c);
    call.require_live_device(target);
    // SAFETY: the caller passes its lower device object.
    let attached = unsafe { (*target).AttachedDevice };
    call.require(!attached.is_null(), Rule::DeviceRemoval, || {
        let bug_check = BugCheck::io(0x202, [0, 0, target.addr() as u64]);
        let what = format!("no device object is attached to the device object {target:?}");
        (bug_check, what)
    });
    let device = attached.addr();
    call.require_no_surprise(device, 0x241, "detached");
    call.require_removal_passed(device, Rule::DeviceRemoval, "detached");
    // SAFETY: as above.
    unsafe { (*target).AttachedDevice = null_mut() };
    call.kernel.io().devices.detach(device);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iogetattacheddevice)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoGetAttachedDevice(device: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT {
    let call = Call::enter_shared("IoGetAttachedDevice").at_most(DISPATCH_LEVEL);
    call.require_live_device(device);
    top_of(device)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iogetrelateddeviceobject)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoGetRelatedDeviceObject(file: *mut FILE_OBJECT) -> *mut DEVICE_OBJECT {
    let call = Call::enter_shared("IoGetRelatedDeviceObject").at_most(DISPATCH_LEVEL);
    call.require_room(file);
    // SAFETY: the caller passes a file object.
    let device = unsafe { (*file).DeviceObject };
    call.require_live_device(device);
    top_of(device)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-iogetattacheddevicereference)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoGetAttachedDeviceReference(device: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT {
    let call = Call::enter_shared("IoGetAttachedDeviceReference").at_most(DISPATCH_LEVEL);
    call.require_live_device(device);
    let top = top_of(device);
    call.kernel.io().devices.reference(top.addr());
    top
}
