//! Routines that a driver has registered for Plug and Play events. The model calls those for device interfaces.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioregisterplugplaynotification)

use std::{
    ffi::c_void,
    ops::Range,
    ptr::{null_mut, with_exposed_provenance_mut, without_provenance_mut},
    sync::Arc,
};

use nt::{
    DEVICE_INTERFACE_CHANGE_NOTIFICATION, DRIVER_OBJECT, EventCategoryDeviceInterfaceChange,
    EventCategoryHardwareProfileChange, EventCategoryTargetDeviceChange, GUID,
    GUID_DEVICE_INTERFACE_ARRIVAL, GUID_DEVICE_INTERFACE_REMOVAL, NTSTATUS,
    PDRIVER_NOTIFICATION_CALLBACK_ROUTINE, PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};

use crate::{
    ex::Registrations,
    host::{Call, Kernel, thread::Thread},
    io::{
        bus,
        interface::{InterfaceChange, is_same},
    },
    verifier::{BugCheck, Rule},
};

/// Where the notification entries would be, which are opaque. There is no memory.
const ENTRIES: usize = 0xffff_a000_0000_0000;

/// The number of bytes between two entries.
const ENTRY_SIZE: usize = 0x100;

/// The registered routines, each with its class; none for another event than a change of device interfaces.
pub(in crate::io) struct Notifications(
    Registrations<(PDRIVER_NOTIFICATION_CALLBACK_ROUTINE, Option<GUID>)>,
);

impl Default for Notifications {
    fn default() -> Self {
        Self(Registrations::new("IoUnregisterPlugPlayNotificationEx"))
    }
}

impl Notifications {
    /// Stops the system if memory is freed that contains the context of a registered routine.
    pub(in crate::io) fn require_no_context_in(&self, call: &Call, memory: Range<usize>) {
        self.0.require_no_context_in(call, &memory);
    }
}

impl Kernel {
    /// Tells the drivers that device interfaces have changed, in a thread of the PnP manager.
    pub(in crate::io) fn tell_of_interfaces(self: &Arc<Self>, changes: Vec<InterfaceChange>) {
        if changes.is_empty() || self.io().notifications.0.all().is_empty() {
            return;
        }
        let manager = Thread::new_system(self, "notification of the PnP manager");
        manager.start(move |kernel| {
            let call = Call::enter("the PnP manager");
            let registrations = &kernel.io().notifications.0;
            for change in &changes {
                for one in registrations.all() {
                    call.tell_of_interface(one.number, change);
                }
            }
        });
    }
}

impl Call {
    /// Calls the routine of a registration, if the interface has its class.
    fn tell_of_interface(&self, number: usize, change: &InterfaceChange) {
        let mut units = [&change.name[..], &[0]].concat();
        let mut name = bus::string_of(&mut units);
        let mut notification = DEVICE_INTERFACE_CHANGE_NOTIFICATION {
            Version: 1,
            Size: u16::try_from(size_of::<DEVICE_INTERFACE_CHANGE_NOTIFICATION>())
                .unwrap_or_default(),
            Event: if change.is_enabled {
                GUID_DEVICE_INTERFACE_ARRIVAL
            } else {
                GUID_DEVICE_INTERFACE_REMOVAL
            },
            InterfaceClassGuid: change.class,
            SymbolicLinkName: &raw mut name,
        };
        let notification = (&raw mut notification).cast::<c_void>();
        let registrations = &self.kernel.io().notifications.0;
        registrations.call_one(self, number, |one| {
            let (Some(routine), Some(class)) = one.routine else {
                return;
            };
            if is_same(&class, &change.class) {
                let context = with_exposed_provenance_mut(one.context);
                // SAFETY: the routine is called as the PnP manager calls it. The structure stays until it returns.
                unsafe { Call::in_driver(routine, (notification, context)) };
            }
        });
    }

    /// Stops the system if a routine is still registered when its driver is unloaded.
    pub(in crate::io) fn require_no_notification(&self) {
        self.kernel.io().notifications.0.require_none(self);
    }

    /// Removes the registration of an entry.
    fn remove_notification(&self, entry: *mut c_void, waits: bool) -> NTSTATUS {
        self.require_at_most(0, Rule::Irql, 0xe5);
        let registrations = &self.kernel.io().notifications.0;
        let number = entry.addr().wrapping_sub(ENTRIES) / ENTRY_SIZE;
        let is_registered = entry == self::entry(number) && registrations.remove(number);
        self.require(is_registered, Rule::Callback, || {
            let what = format!("{entry:?} is not the entry of a registered routine");
            (BugCheck(0x50, [entry.addr() as u64, 0, 0, 0]), what)
        });
        if waits {
            registrations.wait_for_calls(self, number);
        }
        STATUS_SUCCESS
    }
}

fn entry(number: usize) -> *mut c_void {
    without_provenance_mut(ENTRIES.wrapping_add(number.wrapping_mul(ENTRY_SIZE)))
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoRegisterPlugPlayNotification(
    category: i32,
    flags: u32,
    data: *mut c_void,
    driver: *mut DRIVER_OBJECT,
    routine: PDRIVER_NOTIFICATION_CALLBACK_ROUTINE,
    context: *mut c_void,
    place: *mut *mut c_void,
) -> NTSTATUS {
    let call = Call::enter_shared("IoRegisterPlugPlayNotification").at_most(0);
    call.require_room(place);
    call.require_room(driver);
    let class = if category == EventCategoryDeviceInterfaceChange {
        call.require_room(data.cast::<GUID>());
        // SAFETY: the caller passes the class.
        Some(unsafe { data.cast::<GUID>().read() })
    } else if category == EventCategoryTargetDeviceChange {
        call.require_room(data.cast::<nt::FILE_OBJECT>());
        None
    } else if category == EventCategoryHardwareProfileChange {
        None
    } else {
        return STATUS_INVALID_PARAMETER;
    };
    // SAFETY: the caller passes memory for the entry, which Windows clears first.
    unsafe { place.write(null_mut()) };
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let registrations = &call.kernel.io().notifications.0;
    let number = registrations.add(&call, (routine, class), 0, context.expose_provenance());
    // SAFETY: as above.
    unsafe { place.write(entry(number)) };
    let includes = flags & PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES != 0;
    if includes && class.is_some() {
        for change in call.kernel.io().interfaces.enabled() {
            call.tell_of_interface(number, &change);
        }
    }
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iounregisterplugplaynotification)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoUnregisterPlugPlayNotification(entry: *mut c_void) -> NTSTATUS {
    Call::enter_shared("IoUnregisterPlugPlayNotification").remove_notification(entry, false)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iounregisterplugplaynotificationex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoUnregisterPlugPlayNotificationEx(entry: *mut c_void) -> NTSTATUS {
    Call::enter_shared("IoUnregisterPlugPlayNotificationEx").remove_notification(entry, true)
}
