//! User-mode events, whose handles a driver references.

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    ptr::{null_mut, without_provenance_mut},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use common::{NO_CODE, found_in, is};
use nt::{
    DRIVER_OBJECT, EVENT_MODIFY_STATE, HANDLE, NTSTATUS, STATUS_ACCESS_DENIED, STATUS_CANCELLED,
    STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Config, Kernel, Rule};

const USER_MODE: i8 = 1;

/// References a handle as an event.
fn reference(handle: u64, access: u32, mode: i8) -> Result<*mut c_void, NTSTATUS> {
    // SAFETY: the kernel gives the variable; so for every call below.
    let kind = unsafe { nt::ExEventObjectType };
    reference_as(handle, access, mode, kind)
}

fn reference_as(
    handle: u64,
    access: u32,
    mode: i8,
    kind: *mut c_void,
) -> Result<*mut c_void, NTSTATUS> {
    let handle: HANDLE = without_provenance_mut(usize::try_from(handle).expect("64 bits"));
    let (mut object, information) = (null_mut(), null_mut());
    let status = nt!(ObReferenceObjectByHandle(
        handle,
        access,
        kind,
        mode,
        &raw mut object,
        information
    ));
    if status == STATUS_SUCCESS {
        Ok(object)
    } else {
        Err(status)
    }
}

fn dereference(object: *mut c_void) {
    nt!(ObfDereferenceObject(object));
}

/// Defines a `DriverEntry` that gets the handle of an event, and the test that runs it.
macro_rules! with_event {
    ($entry:ident, $run:ident, $body:expr) => {
        unsafe extern "C" fn $entry(_: *mut DRIVER_OBJECT, path: *mut UNICODE_STRING) -> NTSTATUS {
            let _ = path;
            let body: fn(u64) = $body;
            body($run::HANDLE.load(Ordering::Relaxed));
            STATUS_CANCELLED
        }

        mod $run {
            use super::*;

            pub static HANDLE: AtomicU64 = AtomicU64::new(0);

            pub fn run(kernel: &Arc<Kernel>) -> ntmodel::UserEvent {
                let event = kernel.create_event();
                HANDLE.store(event.handle(), Ordering::Relaxed);
                common::load(kernel, $entry);
                event
            }
        }
    };
}

with_event!(sets, set, |handle| {
    let object = reference(handle, EVENT_MODIFY_STATE, USER_MODE).expect("an event");
    common::set(object.cast());
    dereference(object);
    // EVENT_ALL_ACCESS, EVENT_QUERY_STATE and GENERIC_ALL
    for access in [0x1f_0003, 1, 0x1000_0000] {
        dereference(reference(handle, access, USER_MODE).expect("CreateEvent has given it"));
    }
    let too_much = reference(handle, 0x1f_0007, USER_MODE);
    assert_eq!(too_much, Err(STATUS_ACCESS_DENIED));
    let unknown = reference(handle + 4, EVENT_MODIFY_STATE, USER_MODE);
    assert_eq!(unknown, Err(STATUS_INVALID_HANDLE));
    let other = reference_as(
        handle,
        EVENT_MODIFY_STATE,
        USER_MODE,
        without_provenance_mut(8),
    );
    assert_eq!(other, Err(STATUS_OBJECT_TYPE_MISMATCH));
});

#[test]
fn driver_sets_an_event_of_user_mode() {
    let event = set::run(&Kernel::new(Config::default()));
    assert!(event.is_set());
    event.wait();
}

with_event!(keeps, kept, |handle| {
    reference(handle, EVENT_MODIFY_STATE, USER_MODE).expect("an event");
});

with_event!(trusts, trusted, |handle| {
    let _ = reference(handle, EVENT_MODIFY_STATE, nt::KERNEL_MODE);
});

with_event!(releases_twice, released_twice, |handle| {
    let object = reference(handle, EVENT_MODIFY_STATE, USER_MODE).expect("an event");
    dereference(object);
    dereference(object);
});

#[test]
fn references_to_events_are_released_once() {
    let violation = found_in(|kernel| drop(kept::run(kernel)));
    is(&violation, Rule::Reference, NO_CODE, 0, "DriverEntry");
    let violation = found_in(|kernel| drop(released_twice::run(kernel)));
    is(&violation, Rule::Reference, 0x18, 0, "ObDereferenceObject");
}

#[test]
fn handle_of_user_mode_is_not_trusted() {
    let violation = found_in(|kernel| drop(trusted::run(kernel)));
    let routine = "ObReferenceObjectByHandle";
    is(&violation, Rule::Reference, 0xc4, 0xf6, routine);
}
