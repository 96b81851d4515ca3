//! User-mode event objects, and the references that the driver makes to them by their handles.

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use nt::{
    HANDLE, KERNEL_MODE, KEVENT, NTSTATUS, STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH,
    STATUS_SUCCESS,
};

use crate::{
    ex::object_types::{self, ObjectType},
    host::{
        Call, Kernel,
        layout::{Dispatcher, FREED},
        thread::Attached,
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// `EVENT_ALL_ACCESS`, the access of the handle that `CreateEvent` returns, and the generic rights, which are in it.
const EVENT_ALL_ACCESS: u32 = 0x1f_0003;
const GENERIC: u32 = 0xf000_0000;

/// A user-mode event object, or a thread object, which is an event that stays set from the end of the thread.
pub(crate) struct EventObject {
    event: UnsafeCell<KEVENT>,
    kind: ObjectType,
    /// The number of the driver's references.
    references: AtomicUsize,
    /// Whether the object stays when neither a handle nor a reference to it is left.
    is_permanent: bool,
}

// SAFETY: the event is used by the kernel's routines alone, which use atomics.
unsafe impl Send for EventObject {}
// SAFETY: as above.
unsafe impl Sync for EventObject {}

impl EventObject {
    /// Makes an object that is not signalled.
    fn new(kernel: &Kernel, kind: ObjectType, is_permanent: bool) -> Arc<Self> {
        let object = Arc::new(Self {
            event: UnsafeCell::new(KEVENT { Header: [0; 3] }),
            kind,
            references: AtomicUsize::new(0),
            is_permanent,
        });
        // SAFETY: the object is new, and stays where it is.
        unsafe { nt::KeInitializeEvent(object.event.get(), 0, 0) };
        object.event.get().expose_provenance();
        locked(&kernel.ex().events).insert(object.address(), Arc::clone(&object));
        object
    }

    /// Returns the address of the object, which the driver uses as a pointer.
    pub(crate) fn address(&self) -> usize {
        self.event.get().addr()
    }

    /// The event.
    pub(crate) fn header(&self) -> &Dispatcher {
        // SAFETY: the object was initialised, and the kernel's routines access it by atomics.
        unsafe { &*self.event.get().cast() }
    }

    /// Whether this is a thread object.
    pub(crate) fn is_thread(&self) -> bool {
        self.kind.suits(object_types::THREAD.pointer())
    }

    /// The event, as a driver gets it.
    pub(crate) fn pointer(&self) -> *mut KEVENT {
        self.event.get()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.header().signal.load(Ordering::Acquire) != 0
    }

    /// Sets the object. The caller wakes the threads that wait for it.
    pub(crate) fn set(&self) {
        self.header().signal.store(1, Ordering::Release);
    }

    fn reference(&self, place: *mut *mut c_void) {
        self.references.fetch_add(1, Ordering::AcqRel);
        // SAFETY: the caller passes memory for a pointer.
        unsafe { place.write(self.event.get().cast()) };
    }
}

/// A user-mode event (`NtCreateEvent`), with a handle to it. Dropping it closes the handle.
pub struct UserEvent {
    kernel: Arc<Kernel>,
    object: Arc<EventObject>,
    handle: usize,
}

impl UserEvent {
    /// The handle, as a program passes it to a driver.
    #[must_use]
    pub fn handle(&self) -> u64 {
        self.handle as u64
    }

    fn enter<R>(&self, routine: &'static str, work: impl FnOnce(&Call, &Dispatcher) -> R) -> R {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter(routine);
        call.switch_after(routine, self.object.event.get());
        // SAFETY: the object is an event that was initialised.
        let event = unsafe { call.view::<Dispatcher, _>(self.object.event.get()) };
        work(&call, event)
    }

    /// Returns whether the event is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.enter("NtQueryEvent", |call, event| {
            call.synchronise(self.object.address());
            event.signal.load(Ordering::Acquire) != 0
        })
    }

    /// Waits until the event is set (`NtWaitForSingleObject`).
    pub fn wait(&self) {
        self.enter("NtWaitForSingleObject", Call::wait_for_object);
    }
}

impl Drop for UserEvent {
    fn drop(&mut self) {
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter("NtClose");
        self.kernel.ex().user_handles.close_any(self.handle);
        call.event_closed(&self.object);
    }
}

impl std::fmt::Debug for UserEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserEvent")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

impl Kernel {
    /// Creates a user-mode event, which stays set until it is cleared (`NtCreateEvent`).
    #[must_use]
    pub fn create_event(self: &Arc<Self>) -> UserEvent {
        let _attached = Attached::to(self);
        self.user_event(EventObject::new(self, object_types::EVENT, false))
    }

    /// Opens a user-mode handle to an event.
    pub(crate) fn user_event(self: &Arc<Self>, object: Arc<EventObject>) -> UserEvent {
        let handle = self.ex().user_handles.open(Arc::clone(&object) as _).addr();
        UserEvent {
            kernel: Arc::clone(self),
            object,
            handle,
        }
    }

    /// Creates an event for a driver: its `EVENT_TYPE`, whether it is set, and whether it stays without a handle.
    pub(crate) fn new_drivers_event(
        &self,
        kind: i32,
        is_set: bool,
        is_permanent: bool,
    ) -> Arc<EventObject> {
        let object = EventObject::new(self, object_types::EVENT, is_permanent);
        let kind = u8::try_from(kind).unwrap_or_default();
        object.header().kind.store(kind, Ordering::Relaxed);
        object
            .header()
            .signal
            .store(is_set.into(), Ordering::Release);
        object
    }

    /// Returns whether an event or thread continues to exist, since it is permanent, runs, or has a handle or a reference.
    pub(crate) fn is_event_open(&self, object: &EventObject) -> bool {
        let is_it = |other: &EventObject| other.address() == object.address();
        object.is_permanent
            || object.is_thread() && !object.is_set()
            || object.references.load(Ordering::Acquire) != 0
            || self.ex().handles.any(is_it)
            || self.ex().user_handles.any(is_it)
    }

    /// Creates a thread object.
    pub(crate) fn new_thread_object(&self) -> Arc<EventObject> {
        EventObject::new(self, object_types::THREAD, false)
    }

    /// Returns the type of an event or thread object. Returns `None` if the address is not that of one.
    pub(crate) fn type_of_event(&self, address: usize) -> Option<ObjectType> {
        Some(locked(&self.ex().events).get(&address)?.kind)
    }

    /// Adds a reference of the driver to an event or thread object. Returns `None` if the address is not that of one, or if
    /// the driver has no reference to it.
    pub(crate) fn reference_event(&self, address: usize) -> Option<usize> {
        let object = locked(&self.ex().events).get(&address).cloned()?;
        let add = |count: usize| (count > 0).then_some(count + 1);
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let before = object.references.fetch_update(order.0, order.1, add);
        before.ok().map(|before| before + 1)
    }

    /// Removes a reference of the driver to an event or thread object. Returns `None` if the address is not that of one.
    pub(crate) fn dereference_event(&self, address: usize) -> Option<Result<usize, ()>> {
        let object = locked(&self.ex().events).get(&address).cloned()?;
        let take = |count: usize| count.checked_sub(1);
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let before = object.references.fetch_update(order.0, order.1, take);
        Some(before.map(|before| before - 1).map_err(drop))
    }

    /// Returns the number of the driver's references to event and thread objects.
    pub(crate) fn event_references(&self) -> usize {
        let events = locked(&self.ex().events);
        let references = events.values();
        references
            .map(|event| event.references.load(Ordering::Acquire))
            .sum()
    }
}

impl Call {
    /// Frees the memory of an event or thread that does not continue to exist.
    pub(crate) fn event_closed(&self, object: &EventObject) {
        if self.kernel.is_event_open(object) {
            return;
        }
        let size = size_of::<KEVENT>();
        self.verify_memory_is_unused(object.address(), size);
        let words = object.event.get().cast::<[AtomicU64; 3]>();
        // SAFETY: the kernel keeps the object's memory, so that a driver's later use is found. It is accessed by atomics.
        for word in unsafe { &*words } {
            word.store(u64::from_ne_bytes([FREED; 8]), Ordering::Relaxed);
        }
    }

    /// Frees an event by its address, as [`Call::event_closed`].
    pub(crate) fn event_dereferenced(&self, address: usize) {
        let object = locked(&self.kernel.ex().events).get(&address).cloned();
        if let Some(object) = object {
            self.event_closed(&object);
        }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-obreferenceobjectbyhandle)
///
/// A user-mode handle is looked up in the process of the current thread. For a system thread this is the system process.
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ObReferenceObjectByHandle(
    handle: HANDLE,
    access: u32,
    kind: *mut c_void,
    mode: i8,
    object: *mut *mut c_void,
    _information: *mut c_void,
) -> NTSTATUS {
    let call = Call::enter("ObReferenceObjectByHandle").at_most(0);
    call.require_room(object);
    if let Some(thread) = call.kernel.object_of::<EventObject>(handle) {
        if mode != KERNEL_MODE {
            return STATUS_INVALID_HANDLE;
        }
        if !thread.kind.suits(kind) {
            return STATUS_OBJECT_TYPE_MISMATCH;
        }
        thread.reference(object);
        return STATUS_SUCCESS;
    }
    if !call.is_user() {
        return STATUS_INVALID_HANDLE;
    }
    let handles = &call.kernel.ex().user_handles;
    let Some(found) = handles.find(handle) else {
        return STATUS_INVALID_HANDLE;
    };
    call.require(mode != KERNEL_MODE, Rule::Reference, || {
        let bug_check = BugCheck::verifier(0xf6, [handle.addr() as u64, 0, 0]);
        let what = "a user-mode handle is referenced in kernel mode, without a check of its access";
        (bug_check, what)
    });
    let Ok(event) = found.downcast::<EventObject>() else {
        return STATUS_OBJECT_TYPE_MISMATCH;
    };
    if !event.kind.suits(kind) {
        return STATUS_OBJECT_TYPE_MISMATCH;
    }
    if access & !(EVENT_ALL_ACCESS | GENERIC) != 0 {
        return nt::STATUS_ACCESS_DENIED;
    }
    event.reference(object);
    STATUS_SUCCESS
}
