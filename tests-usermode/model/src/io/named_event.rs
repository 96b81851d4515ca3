//! Events that a driver creates or opens by a name, or by a handle.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocreatenotificationevent)

use std::{
    collections::BTreeMap,
    ptr::null_mut,
    sync::{Arc, Mutex, atomic::Ordering},
};

use nt::{
    _EVENT_TYPE::{NotificationEvent, SynchronizationEvent},
    HANDLE, KEVENT, NTSTATUS, OBJ_OPENIF, OBJ_PERMANENT, OBJECT_ATTRIBUTES,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_EXISTS, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_OBJECT_PATH_NOT_FOUND, STATUS_OBJECT_PATH_SYNTAX_BAD, STATUS_OBJECT_TYPE_MISMATCH,
    STATUS_SUCCESS, UNICODE_STRING,
};

use crate::{
    ex::{EventObject, UserEvent},
    host::{Call, Kernel},
    mutex::locked,
    verifier::Rule,
};

/// The directories in which drivers name events, in lower case. `Global` in the first is a link to it.
const DIRECTORIES: [&str; 4] = [r"\basenamedobjects", r"\kernelobjects", r"\callback", ""];

/// The events that have names, by their names in lower case, and the events that no longer exist.
#[derive(Default)]
pub(crate) struct NamedEvents(Mutex<BTreeMap<String, Arc<EventObject>>>);

/// Returns a name in the form in which names are compared.
fn canonical(name: &str) -> Result<String, NTSTATUS> {
    if !name.starts_with('\\') {
        return Err(STATUS_OBJECT_PATH_SYNTAX_BAD);
    }
    let name = name.to_lowercase();
    let name = name.replacen(r"\basenamedobjects\global\", r"\basenamedobjects\", 1);
    let directory = name.rsplit_once('\\').map(|(directory, _)| directory);
    if directory.is_none_or(|directory| !DIRECTORIES.contains(&directory)) {
        return Err(STATUS_OBJECT_PATH_NOT_FOUND);
    }
    Ok(name)
}

impl Kernel {
    /// Returns the event with a name that exists.
    fn named_event(&self, name: &str) -> Option<Arc<EventObject>> {
        let events = locked(&self.io().named_events.0);
        let event = events.get(name)?;
        self.is_event_open(event).then(|| Arc::clone(event))
    }

    /// Opens the event that a driver has created with a name in `\BaseNamedObjects`, as a program does with `OpenEvent` and the name
    /// `Global\Name`.
    #[must_use]
    pub fn open_event(self: &Arc<Self>, name: &str) -> Option<UserEvent> {
        let name = canonical(&format!(r"\BaseNamedObjects\{name}")).ok()?;
        Some(self.user_event(self.named_event(&name)?))
    }
}

impl Call {
    /// Creates an event, or opens the event that already has the name. Also returns whether it existed.
    fn create_event(
        &self,
        name: Option<String>,
        flags: u32,
        kind: i32,
        is_set: bool,
    ) -> Result<(Arc<EventObject>, bool), NTSTATUS> {
        if ![NotificationEvent, SynchronizationEvent].contains(&kind) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let name = name.map(|name| canonical(&name)).transpose()?;
        if let Some(event) = name.as_ref().and_then(|name| self.kernel.named_event(name)) {
            return if flags & OBJ_OPENIF == 0 {
                Err(STATUS_OBJECT_NAME_COLLISION)
            } else {
                Ok((event, true))
            };
        }
        if self.kernel.fails() {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        let is_permanent = flags & OBJ_PERMANENT != 0;
        let event = self.kernel.new_drivers_event(kind, is_set, is_permanent);
        if let Some(name) = name {
            locked(&self.kernel.io().named_events.0).insert(name, Arc::clone(&event));
        }
        Ok((event, false))
    }

    /// Returns the name and the flags in the attributes of an object, which may be NULL.
    pub(in crate::io) fn attributes(
        &self,
        attributes: *mut OBJECT_ATTRIBUTES,
    ) -> (Option<String>, u32) {
        if attributes.is_null() {
            self.require_kernel_handle(0);
            return (None, 0);
        }
        self.require_room(attributes);
        // SAFETY: the caller of the routine passes NULL or the structure.
        let attributes = unsafe { &*attributes };
        self.require_kernel_handle(attributes.Attributes);
        let name = attributes.ObjectName;
        // SAFETY: as above; the name is NULL or a string.
        let name = (!name.is_null()).then(|| unsafe { self.text(name) });
        (name, attributes.Attributes)
    }

    fn named_event(
        &self,
        name: *mut UNICODE_STRING,
        handle: *mut HANDLE,
        kind: i32,
    ) -> *mut KEVENT {
        self.require_at_most(0, Rule::IrqlIoPassive4, 0x2_000d);
        self.require_room(name);
        self.require_room(handle);
        // SAFETY: the caller of the routine passes a name.
        let name = unsafe { self.text(name) };
        let Ok((event, _)) = self.create_event(Some(name), OBJ_OPENIF, kind, true) else {
            return null_mut();
        };
        let opened = self.kernel.open_handle(Arc::clone(&event) as _);
        // SAFETY: the caller of the routine passes memory for the handle.
        unsafe { handle.write(opened) };
        event.pointer()
    }

    fn enter_event(routine: &'static str) -> Self {
        let call = Self::enter(routine);
        call.require_at_most(0, Rule::IrqlZwPassive, 0x2_001f);
        call
    }

    fn event_of(&self, handle: HANDLE) -> Result<Arc<EventObject>, NTSTATUS> {
        let object = self.kernel.object_of::<EventObject>(handle);
        let object = object.ok_or(STATUS_INVALID_HANDLE)?;
        if object.is_thread() {
            return Err(STATUS_OBJECT_TYPE_MISMATCH);
        }
        Ok(object)
    }

    /// Sets or resets the event of a handle.
    fn change_event(&self, handle: HANDLE, is_set: bool, previous: *mut i32) -> NTSTATUS {
        let event = match self.event_of(handle) {
            Ok(event) => event,
            Err(status) => return status,
        };
        let before = if is_set {
            i32::from(self.set_event(event.header()))
        } else {
            event.header().signal.swap(0, Ordering::AcqRel)
        };
        if !previous.is_null() {
            self.require_room(previous);
            // SAFETY: the caller of the routine passes NULL or memory for the state.
            unsafe { previous.write(before) };
        }
        self.switch_after(self.routine(), event.pointer());
        STATUS_SUCCESS
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCreateNotificationEvent(
    name: *mut UNICODE_STRING,
    handle: *mut HANDLE,
) -> *mut KEVENT {
    Call::enter("IoCreateNotificationEvent").named_event(name, handle, NotificationEvent)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocreatesynchronizationevent)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCreateSynchronizationEvent(
    name: *mut UNICODE_STRING,
    handle: *mut HANDLE,
) -> *mut KEVENT {
    Call::enter("IoCreateSynchronizationEvent").named_event(name, handle, SynchronizationEvent)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-zwcreateevent)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwCreateEvent(
    handle: *mut HANDLE,
    _access: u32,
    attributes: *mut OBJECT_ATTRIBUTES,
    kind: i32,
    state: u8,
) -> NTSTATUS {
    let call = Call::enter_event("ZwCreateEvent");
    call.require_room(handle);
    let (name, flags) = call.attributes(attributes);
    let (event, existed) = match call.create_event(name, flags, kind, state != 0) {
        Ok(created) => created,
        Err(status) => return status,
    };
    // SAFETY: the caller passes memory for the handle.
    unsafe { handle.write(call.kernel.open_handle(event)) };
    if existed {
        STATUS_OBJECT_NAME_EXISTS
    } else {
        STATUS_SUCCESS
    }
}

/// Like `NtOpenEvent` of user mode, with its status if no object has the name.
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwOpenEvent(
    handle: *mut HANDLE,
    _access: u32,
    attributes: *mut OBJECT_ATTRIBUTES,
) -> NTSTATUS {
    let call = Call::enter_event("ZwOpenEvent");
    call.require_room(handle);
    let (name, _) = call.attributes(attributes);
    let name = name.ok_or(STATUS_OBJECT_PATH_SYNTAX_BAD);
    let event = name.and_then(|name| {
        let event = call.kernel.named_event(&canonical(&name)?);
        event.ok_or(STATUS_OBJECT_NAME_NOT_FOUND)
    });
    match event {
        Ok(event) => {
            // SAFETY: the caller passes memory for the handle.
            unsafe { handle.write(call.kernel.open_handle(event)) };
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-zwsetevent)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwSetEvent(handle: HANDLE, previous: *mut i32) -> NTSTATUS {
    Call::enter_event("ZwSetEvent").change_event(handle, true, previous)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwClearEvent(handle: HANDLE) -> NTSTATUS {
    Call::enter_event("ZwClearEvent").change_event(handle, false, null_mut())
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwResetEvent(handle: HANDLE, previous: *mut i32) -> NTSTATUS {
    Call::enter_event("ZwResetEvent").change_event(handle, false, previous)
}
