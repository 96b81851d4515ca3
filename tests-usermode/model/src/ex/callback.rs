//! Callback objects, whose registered routines a driver calls.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/callback-objects)

use std::{
    ffi::c_void,
    ops::Range,
    ptr::{null_mut, with_exposed_provenance_mut, without_provenance_mut},
    sync::Mutex,
};

use nt::{
    DISPATCH_LEVEL, NTSTATUS, OBJECT_ATTRIBUTES, PCALLBACK_FUNCTION, PCALLBACK_OBJECT,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_SYNTAX_BAD,
    STATUS_SUCCESS,
};

use crate::{
    ex::Registrations,
    host::{Call, Kernel, footprint},
    mutex::locked,
    verifier::{BugCheck, Rule},
};

const APC_LEVEL: u8 = 1;
const OBJ_PERMANENT: u32 = 0x10;

const STATUS_UNSUCCESSFUL: NTSTATUS = 0xc000_0001_u32.cast_signed();

/// Where the objects and the registrations would be, which are opaque. There is no memory.
const OBJECTS: usize = 0xffff_a100_0000_0000;
const REGISTRATIONS: usize = 0xffff_a200_0000_0000;

/// The number of bytes between two objects, or two registrations.
const SIZE: usize = 0x100;

/// The objects of the system, by the end of their path.
const OF_SYSTEM: [&str; 3] = ["setsystemtime", "powerstate", "processoradd"];

struct CallbackObject {
    /// The path, in lower case.
    name: String,
    is_of_system: bool,
    is_permanent: bool,
    allows_several: bool,
    /// The references of the driver. A registration has none.
    references: usize,
}

pub(super) struct Callbacks {
    /// The objects, by their numbers. A deleted one is `None`.
    objects: Mutex<Vec<Option<CallbackObject>>>,
    /// The registered routines; the address is that of the object.
    routines: Registrations<PCALLBACK_FUNCTION>,
}

impl Default for Callbacks {
    fn default() -> Self {
        let of_system = |name| {
            Some(CallbackObject {
                name: format!(r"\callback\{name}"),
                is_of_system: true,
                is_permanent: true,
                allows_several: true,
                references: 0,
            })
        };
        Self {
            objects: Mutex::new(OF_SYSTEM.map(of_system).into()),
            routines: Registrations::new("ExUnregisterCallback"),
        }
    }
}

impl Callbacks {
    /// Calls a function with the object at an address to which the driver has a reference; returns `None` if there is none.
    fn with<T>(&self, address: usize, work: impl FnOnce(&mut CallbackObject) -> T) -> Option<T> {
        footprint::touch_everything();
        let offset = address.checked_sub(OBJECTS)?;
        let mut objects = locked(&self.objects);
        let object = objects.get_mut(offset / SIZE)?.as_mut()?;
        (offset % SIZE == 0 && object.references != 0).then(|| work(object))
    }

    /// Deletes the objects that are neither referenced nor permanent, and have no routine.
    fn delete_unused(&self) {
        let used: Vec<_> = self.routines.all().iter().map(|one| one.address).collect();
        for (number, place) in locked(&self.objects).iter_mut().enumerate() {
            let is_used = |object: &mut CallbackObject| {
                let has_routine = used.contains(&(OBJECTS + number * SIZE));
                object.references != 0 || object.is_permanent || has_routine
            };
            place.take_if(|object| !is_used(object));
        }
    }
}

impl Kernel {
    /// Adds a reference of the driver to a callback object; returns the new count, or `None` if it is none.
    pub(crate) fn reference_callback(&self, object: usize) -> Option<usize> {
        self.ex().callbacks.with(object, |object| {
            object.references += 1;
            object.references
        })
    }

    /// Removes a reference of the driver to a callback object; returns the new count, or `None` if it is none.
    pub(crate) fn dereference_callback(&self, object: usize) -> Option<usize> {
        let callbacks = &self.ex().callbacks;
        let left = callbacks.with(object, |object| {
            object.references -= 1;
            object.references
        });
        callbacks.delete_unused();
        left
    }
}

impl Call {
    /// Stops the system if the driver that is unloaded has registered a routine, or has a reference to a callback object.
    pub(crate) fn require_no_callback(&self) {
        let callbacks = &self.kernel.ex().callbacks;
        callbacks.routines.require_none(self);
        let left = {
            let objects = locked(&callbacks.objects);
            let mut objects = objects.iter().flatten();
            let left = objects.find(|object| object.references != 0);
            left.map(|object| object.name.clone())
        };
        self.require(left.is_none(), Rule::Reference, || {
            format!(
                "the driver is unloaded with a reference to the callback object {}: call ObDereferenceObject",
                left.unwrap_or_default()
            )
        });
    }

    /// Stops the system if memory is freed that contains the context of a registered routine.
    pub(in crate::ex) fn require_no_callback_context_in(&self, memory: &Range<usize>) {
        let routines = &self.kernel.ex().callbacks.routines;
        routines.require_no_context_in(self, memory);
    }

    /// Calls a function with a callback object of the driver.
    fn callback<T>(
        &self,
        object: PCALLBACK_OBJECT,
        work: impl FnOnce(&mut CallbackObject) -> T,
    ) -> T {
        let found = self.kernel.ex().callbacks.with(object.addr(), work);
        found.unwrap_or_else(|| {
            let what =
                format!("{object:?} is not a callback object to which the driver has a reference");
            let bug_check = BugCheck(0x50, [object.addr() as u64, 0, 0, 0]);
            self.stop(bug_check, Rule::Callback, what)
        })
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExCreateCallback(
    place: *mut PCALLBACK_OBJECT,
    attributes: *mut OBJECT_ATTRIBUTES,
    create: u8,
    allows_several: u8,
) -> NTSTATUS {
    let call = Call::enter_shared("ExCreateCallback");
    call.require_at_most(APC_LEVEL, Rule::Irql, 0xe5);
    call.require_room(place);
    // SAFETY: the caller passes attributes.
    let attributes = unsafe { call.view::<OBJECT_ATTRIBUTES, _>(attributes) };
    if attributes.ObjectName.is_null() {
        return STATUS_UNSUCCESSFUL;
    }
    // SAFETY: the attributes have a name.
    let name = unsafe { call.text(attributes.ObjectName) }.to_lowercase();
    if name.is_empty() {
        return STATUS_UNSUCCESSFUL;
    }
    if !name.starts_with('\\') {
        return STATUS_OBJECT_PATH_SYNTAX_BAD;
    }
    let fails = call.kernel.fails();
    let mut objects = locked(&call.kernel.ex().callbacks.objects);
    let is_it =
        |object: &Option<CallbackObject>| object.as_ref().is_some_and(|object| object.name == name);
    let number = match objects.iter().position(is_it) {
        _ if fails => return STATUS_INSUFFICIENT_RESOURCES,
        Some(number) => number,
        None if create == 0 => return STATUS_OBJECT_NAME_NOT_FOUND,
        None => {
            objects.push(Some(CallbackObject {
                name,
                is_of_system: false,
                is_permanent: attributes.Attributes & OBJ_PERMANENT != 0,
                allows_several: allows_several != 0,
                references: 0,
            }));
            objects.len() - 1
        }
    };
    if let Some(object) = &mut objects[number] {
        object.references += 1;
    }
    drop(objects);
    // SAFETY: the caller passes memory for the pointer.
    unsafe { place.write(without_provenance_mut(OBJECTS + number * SIZE)) };
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exregistercallback)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExRegisterCallback(
    object: PCALLBACK_OBJECT,
    routine: PCALLBACK_FUNCTION,
    context: *mut c_void,
) -> *mut c_void {
    let call = Call::enter_shared("ExRegisterCallback");
    call.require_at_most(APC_LEVEL, Rule::IrqlExApcLte2, 0x2_0006);
    let allows_several = call.callback(object, |object| object.allows_several);
    let routines = &call.kernel.ex().callbacks.routines;
    let has_one = || {
        let all = routines.all();
        all.iter().any(|one| one.address == object.addr())
    };
    if routine.is_none() || call.kernel.fails() || !allows_several && has_one() {
        return null_mut();
    }
    let number = routines.add(&call, routine, object.addr(), context.expose_provenance());
    without_provenance_mut(REGISTRATIONS + number * SIZE)
}

/// The routine no longer runs when this one returns.
///
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exunregistercallback)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExUnregisterCallback(registration: *mut c_void) {
    let call = Call::enter_shared("ExUnregisterCallback");
    call.require_at_most(APC_LEVEL, Rule::IrqlExApcLte2, 0x2_0006);
    let callbacks = &call.kernel.ex().callbacks;
    let offset = registration.addr().wrapping_sub(REGISTRATIONS);
    let number = offset / SIZE;
    let runs_here = callbacks.routines.runs_here(&call, number);
    call.require(!runs_here, Rule::Callback, || {
        "ExUnregisterCallback waits until the routine has returned, and is called by the routine itself"
    });
    let is_registered = offset.is_multiple_of(SIZE) && callbacks.routines.remove(number);
    call.require(is_registered, Rule::Callback, || {
        let what =
            format!("{registration:?} is not a registration of ExRegisterCallback, or was removed");
        let bug_check = BugCheck(0x50, [registration.addr() as u64, 0, 0, 0]);
        (bug_check, what)
    });
    callbacks.routines.wait_for_calls(&call, number);
    callbacks.delete_unused();
}

/// The routines are called in the order of their registration, at the caller's IRQL.
///
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exnotifycallback)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExNotifyCallback(object: *mut c_void, first: *mut c_void, second: *mut c_void) {
    let call = Call::enter_shared("ExNotifyCallback");
    call.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
    let of_system = call.callback(object, |object| {
        object.is_of_system.then(|| object.name.clone())
    });
    call.require(of_system.is_none(), Rule::Callback, || {
        let name = of_system.unwrap_or_default();
        format!("a driver calls the routines of {name}, which only the system does")
    });
    let routines = &call.kernel.ex().callbacks.routines;
    for one in routines.all() {
        if one.address == object.addr() {
            routines.call_one(&call, one.number, |one| {
                let context = with_exposed_provenance_mut(one.context);
                if let Some(routine) = one.routine {
                    // SAFETY: the routine is called as the system calls it, with the caller's arguments.
                    unsafe { Call::in_driver(routine, (context, first, second)) };
                }
            });
        }
    }
}
