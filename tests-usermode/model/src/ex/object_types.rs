//! The types of objects, which drivers pass to routines such as `ObReferenceObjectByHandle`.

use std::ffi::c_void;

/// The value of a variable that drivers import: the type of a kind of objects. There is nothing at its address.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct ObjectType(*const u8);

// SAFETY: the pointer never changes, and no thread reads through it.
unsafe impl Sync for ObjectType {}
// SAFETY: as above.
unsafe impl Send for ObjectType {}

static TYPES: [u8; 7] = [0; 7];

impl ObjectType {
    const fn new(number: usize) -> Self {
        Self((&raw const TYPES).cast::<u8>().wrapping_add(number))
    }

    /// Returns the type as a driver passes it.
    pub(crate) fn pointer(self) -> *mut c_void {
        self.0.cast_mut().cast()
    }

    /// Returns whether a driver that passes a type, or NULL for any, gets an object of this type.
    pub(crate) fn suits(&self, wanted: *mut c_void) -> bool {
        wanted.is_null() || wanted.addr() == self.0.addr()
    }
}

pub(crate) const EVENT: ObjectType = ObjectType::new(0);
pub(crate) const THREAD: ObjectType = ObjectType::new(1);
pub(crate) const FILE: ObjectType = ObjectType::new(2);
pub(crate) const DEVICE: ObjectType = ObjectType::new(3);

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
static ExEventObjectType: ObjectType = EVENT;
// SAFETY: as above.
#[unsafe(no_mangle)]
static PsThreadType: ObjectType = THREAD;
// SAFETY: as above.
#[unsafe(no_mangle)]
static IoFileObjectType: ObjectType = FILE;
// SAFETY: as above.
#[unsafe(no_mangle)]
static IoDeviceObjectType: ObjectType = DEVICE;
// SAFETY: as above.
#[unsafe(no_mangle)]
static IoDriverObjectType: ObjectType = ObjectType::new(4);
// SAFETY: as above.
#[unsafe(no_mangle)]
static PsProcessType: ObjectType = ObjectType::new(5);
// SAFETY: as above.
#[unsafe(no_mangle)]
static SeTokenObjectType: ObjectType = ObjectType::new(6);
