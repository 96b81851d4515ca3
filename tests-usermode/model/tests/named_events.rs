//! Events that a driver creates by a name or a handle, and which drivers and programs share.
//!
//! Microsoft's pages: [`IoCreateNotificationEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocreatenotificationevent),
//! [`ZwCreateEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-zwcreateevent) and
//! [`ZwSetEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-zwsetevent)

#[macro_use]
mod call;
mod body;

use std::ptr::null_mut;

use body::{found, passes, run, stops};
use call::{attributes, with_string};
use nt::{
    HANDLE, KEVENT, NTSTATUS, OBJ_KERNEL_HANDLE, OBJ_OPENIF, OBJECT_ATTRIBUTES,
    STATUS_INVALID_HANDLE, STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_COLLISION,
    STATUS_OBJECT_NAME_EXISTS, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_NOT_FOUND,
    STATUS_OBJECT_PATH_SYNTAX_BAD, STATUS_SUCCESS, STATUS_TIMEOUT,
};
use ntmodel::{Config, Kernel, Rule};

const NAME: &str = r"\BaseNamedObjects\Shared";
const EVENT_ALL_ACCESS: u32 = 0x1f_0003;
const NOTIFICATION: i32 = 0;
const SYNCHRONIZATION: i32 = 1;
const MILLISECOND: i64 = 10_000;

fn notification(name: &str) -> (*mut KEVENT, HANDLE) {
    let mut handle = null_mut();
    let event = with_string(name, |name| {
        nt!(IoCreateNotificationEvent(name, &raw mut handle))
    });
    (event, handle)
}

fn synchronization(name: &str) -> (*mut KEVENT, HANDLE) {
    let mut handle = null_mut();
    let event = with_string(name, |name| {
        nt!(IoCreateSynchronizationEvent(name, &raw mut handle))
    });
    (event, handle)
}

fn with_attributes<R>(
    name: &str,
    flags: u32,
    use_it: impl FnOnce(*mut OBJECT_ATTRIBUTES) -> R,
) -> R {
    with_string(name, |name| {
        let mut attributes = attributes(null_mut(), name, OBJ_KERNEL_HANDLE | flags);
        use_it(&raw mut attributes)
    })
}

fn create(name: &str, flags: u32, kind: i32) -> (NTSTATUS, HANDLE) {
    let mut handle = null_mut();
    let status = with_attributes(name, flags, |attributes| {
        let place = &raw mut handle;
        nt!(ZwCreateEvent(place, EVENT_ALL_ACCESS, attributes, kind, 0))
    });
    (status, handle)
}

fn open(name: &str) -> (NTSTATUS, HANDLE) {
    let mut handle = null_mut();
    let status = with_attributes(name, 0, |attributes| {
        nt!(ZwOpenEvent(&raw mut handle, EVENT_ALL_ACCESS, attributes))
    });
    (status, handle)
}

fn close(handle: HANDLE) {
    assert_eq!(nt!(ZwClose(handle)), STATUS_SUCCESS);
}

fn state(event: *mut KEVENT) -> i32 {
    nt!(KeReadStateEvent(event))
}

fn wait(handle: HANDLE) -> NTSTATUS {
    let mut time = -MILLISECOND;
    nt!(ZwWaitForSingleObject(handle, 0, &raw mut time))
}

#[test]
fn event_with_a_name_is_shared() {
    passes(|| {
        let (event, handle) = notification(NAME);
        assert!(!event.is_null());
        assert_eq!(state(event), 1, "a new event is signalled");
        nt!(KeClearEvent(event));
        // The names are compared without regard to case, and `Global` is a link.
        let (same, second) = notification(r"\basenamedobjects\Global\SHARED");
        assert_eq!(
            (same, state(same)),
            (event, 0),
            "an event that exists is only opened"
        );
        assert_ne!(second, handle);
        close(handle);
        nt!(KeSetEvent(event, 0, 0));
        close(second);
        // The event is deleted when its last handle is closed.
        assert_eq!(open(NAME).0, STATUS_OBJECT_NAME_NOT_FOUND);
    });
}

#[test]
fn wait_resets_a_synchronization_event_only() {
    passes(|| {
        let (event, handle) = synchronization(NAME);
        assert_eq!(state(event), 1);
        assert_eq!((wait(handle), state(event)), (STATUS_SUCCESS, 0));
        assert_eq!(wait(handle), STATUS_TIMEOUT);
        close(handle);
        let (event, handle) = notification(NAME);
        assert_eq!((wait(handle), state(event)), (STATUS_SUCCESS, 1));
        close(handle);
    });
}

#[test]
fn event_is_created_or_opened_by_its_attributes() {
    passes(|| {
        assert_eq!(open(NAME).0, STATUS_OBJECT_NAME_NOT_FOUND);
        let (status, handle) = create(NAME, 0, NOTIFICATION);
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(
            create(NAME, 0, NOTIFICATION).0,
            STATUS_OBJECT_NAME_COLLISION
        );
        let (status, second) = create(NAME, OBJ_OPENIF, NOTIFICATION);
        assert_eq!(status, STATUS_OBJECT_NAME_EXISTS);
        let (status, third) = open(NAME);
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(
            wait(third),
            STATUS_TIMEOUT,
            "the initial state was not signalled"
        );
        let mut before = 7;
        assert_eq!(nt!(ZwSetEvent(second, &raw mut before)), STATUS_SUCCESS);
        assert_eq!((before, wait(third)), (0, STATUS_SUCCESS));
        assert_eq!(nt!(ZwResetEvent(handle, &raw mut before)), STATUS_SUCCESS);
        assert_eq!((before, wait(third)), (1, STATUS_TIMEOUT));
        assert_eq!(nt!(ZwSetEvent(handle, null_mut())), STATUS_SUCCESS);
        assert_eq!(nt!(ZwClearEvent(third)), STATUS_SUCCESS);
        assert_eq!(wait(handle), STATUS_TIMEOUT);
        for handle in [handle, second, third] {
            close(handle);
        }
        assert_eq!(nt!(ZwSetEvent(handle, null_mut())), STATUS_INVALID_HANDLE);
        assert_eq!(create(NAME, 0, 2).0, STATUS_INVALID_PARAMETER);
        assert_eq!(create("Shared", 0, 0).0, STATUS_OBJECT_PATH_SYNTAX_BAD);
        let unknown = create(r"\NoDirectory\Shared", 0, SYNCHRONIZATION);
        assert_eq!(unknown.0, STATUS_OBJECT_PATH_NOT_FOUND);
    });
}

/// A reference keeps the event after its handle is closed, as `ImDisk` uses it.
#[test]
fn reference_keeps_an_event() {
    passes(|| {
        let (_, handle) = create(NAME, 0, SYNCHRONIZATION);
        // SAFETY: the kernel gives the variable.
        let (mut object, kind) = (null_mut(), unsafe { nt::ExEventObjectType });
        let (mode, place) = (nt::KERNEL_MODE, &raw mut object);
        let status = nt!(ObReferenceObjectByHandle(
            handle,
            EVENT_ALL_ACCESS,
            kind,
            mode,
            place,
            null_mut()
        ));
        assert_eq!(status, STATUS_SUCCESS);
        close(handle);
        nt!(KeSetEvent(object.cast(), 0, 0));
        let (status, handle) = open(NAME);
        assert_eq!((status, wait(handle)), (STATUS_SUCCESS, STATUS_SUCCESS));
        close(handle);
        nt!(ObfDereferenceObject(object));
    });
}

#[test]
fn program_opens_the_event_of_a_driver() {
    let kernel = Kernel::new(Config::default());
    run(&kernel, || {
        let (status, handle) = create(NAME, nt::OBJ_PERMANENT, NOTIFICATION);
        assert_eq!((status, nt!(ZwSetEvent(handle, null_mut()))), (0, 0));
        close(handle);
    });
    let event = kernel
        .open_event(r"Global\Shared")
        .expect("it is permanent");
    assert!(event.is_set());
    assert!(kernel.open_event(r"Global\Other").is_none());
}

#[test]
fn event_is_used_after_its_last_handle_was_closed() {
    let violation = found(|| {
        let (event, handle) = notification(NAME);
        close(handle);
        nt!(KeSetEvent(event, 0, 0));
    });
    let seen = (violation.rule, violation.code, violation.routine);
    assert_eq!(seen, (Rule::FreedMemory, 0xd5, "KeSetEvent"), "{violation}");
}

#[test]
fn named_events_are_used_at_passive_level() {
    let body = || {
        nt!(KfRaiseIrql(1));
        notification(NAME);
    };
    let routine = "IoCreateNotificationEvent";
    stops(body, Rule::IrqlIoPassive4, 0xc4, 0x2_000d, routine);
    let body = || {
        nt!(KfRaiseIrql(1));
        create(NAME, 0, NOTIFICATION);
    };
    stops(body, Rule::IrqlZwPassive, 0xc4, 0x2_001f, "ZwCreateEvent");
    let body = || {
        notification(NAME);
    };
    stops(body, Rule::Pool, 0xce, 0, "DriverEntry");
}
