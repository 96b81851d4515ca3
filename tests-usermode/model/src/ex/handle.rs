//! Kernel handles.

use std::{
    any::Any,
    ptr::without_provenance_mut,
    sync::{Arc, Mutex},
};

use nt::{HANDLE, NTSTATUS, STATUS_SUCCESS};
use rustc_hash::FxHashMap;

use crate::{
    ex::EventObject,
    host::{Call, Kernel},
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// `INVALID_KERNEL_HANDLE`
const INVALID_KERNEL_HANDLE: u32 = 0x93;

/// The object of a handle, whose type depends on the folder that opens it.
pub(crate) type Object = Arc<dyn Any + Send + Sync>;

/// The value below the first kernel handle, which differs from each user-mode handle.
const KERNEL_HANDLES: usize = 0x8000_0000_usize.wrapping_neg();

/// The open handles.
#[derive(Default)]
pub(crate) struct Handles(Mutex<Table>);

#[derive(Default)]
struct Table {
    last: usize,
    objects: FxHashMap<usize, Object>,
}

impl Handles {
    /// Makes the table of the kernel handles.
    pub(in crate::ex) fn of_kernel() -> Self {
        Self(Mutex::new(Table {
            last: KERNEL_HANDLES,
            ..Table::default()
        }))
    }

    pub(in crate::ex) fn open(&self, object: Object) -> HANDLE {
        let mut table = locked(&self.0);
        table.last += 4;
        let handle = table.last;
        table.objects.insert(handle, object);
        without_provenance_mut(handle)
    }

    fn close(&self, handle: HANDLE) -> Option<Object> {
        locked(&self.0).objects.remove(&handle.addr())
    }

    /// Returns whether there is an open handle to an object of this type that meets a condition.
    pub(in crate::ex) fn any<T: Any>(&self, condition: impl Fn(&T) -> bool) -> bool {
        let table = locked(&self.0);
        let mut objects = table.objects.values();
        objects.any(|object| object.downcast_ref().is_some_and(&condition))
    }

    /// The object of a handle.
    pub(in crate::ex) fn find(&self, handle: HANDLE) -> Option<Object> {
        locked(&self.0).objects.get(&handle.addr()).cloned()
    }

    /// Closes a handle, by its value.
    pub(in crate::ex) fn close_any(&self, handle: usize) {
        self.close(without_provenance_mut(handle));
    }
}

impl Kernel {
    /// Opens a handle to an object.
    pub(crate) fn open_handle(&self, object: Object) -> HANDLE {
        self.ex().handles.open(object)
    }

    /// Returns the object of a handle, if it has this type.
    pub(crate) fn object_of<T: Any + Send + Sync>(&self, handle: HANDLE) -> Option<Arc<T>> {
        let table = locked(&self.ex().handles.0);
        Arc::clone(table.objects.get(&handle.addr())?)
            .downcast()
            .ok()
    }

    /// Describes an address that is the value of a handle.
    pub(crate) fn describe_handle(&self, address: usize) -> Option<String> {
        let is_handle = |handles: &Handles| locked(&handles.0).objects.contains_key(&address);
        let (kernel, user) = (&self.ex().handles, &self.ex().user_handles);
        (is_handle(kernel) || is_handle(user)).then(|| {
            "a handle, and not the address of its object, which ObReferenceObjectByHandle returns".into()
        })
    }

    /// Returns the number of open handles.
    pub(crate) fn handles(&self) -> usize {
        locked(&self.ex().handles.0).objects.len()
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwClose(handle: HANDLE) -> NTSTATUS {
    let call = Call::enter("ZwClose");
    call.require_at_most(0, Rule::IrqlZwPassive, 0x2_001f);
    let closed = call.kernel.ex().handles.close(handle);
    call.require(closed.is_some(), Rule::Pointer, || {
        let bug_check = BugCheck(INVALID_KERNEL_HANDLE, [handle.addr() as u64, 0, 0, 0]);
        let what = format!("{handle:?} is closed, and is not an open handle of the kernel");
        (bug_check, what)
    });
    if let Some(Ok(event)) = closed.map(Arc::downcast::<EventObject>) {
        call.event_closed(&event);
    }
    STATUS_SUCCESS
}
