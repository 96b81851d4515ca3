//! User-mode events, which the driver sets.

use core::{
    ffi::c_void,
    ptr::NonNull,
    sync::atomic::{Ordering, fence},
};

use crate::{
    Error, Irp, Record,
    ke::irql::{AtMostDispatch, Waitable},
};

/// A reference to an event that a program has made and whose handle it has passed to the driver
/// (`ObReferenceObjectByHandle`).
///
/// The event object exists as long as the reference, even if the program closes its handle or ends. A driver that keeps a reference
/// for an open file drops it in [`Device::cleanup`](crate::Device::cleanup) at the latest.
///
/// Prefer a request that is pending until there is something to report: it also carries data, and it is cancelled with its
/// thread. An event is for programs that wait for several sources at once.
///
/// WDK: [Event Objects](https://learn.microsoft.com/windows-hardware/drivers/kernel/event-objects),
/// [ObReferenceObjectByHandle](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-obreferenceobjectbyhandle).
///
/// # Examples
///
/// ```
/// use wdm::{Error, Irp, PassiveLevel, UserEvent};
///
/// /// The input is the handle of an event.
/// fn notify(irp: &Irp<'_>, irql: &mut PassiveLevel) -> Result<UserEvent, Error> {
///     let handle = irp.input::<u64>()?;
///     irp.user_event(handle, irql)
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver looks up the handle in a DPC or a worker thread, where it is the handle of another process; passes `KernelMode`, with which
/// a program can make the driver change an object that the program may not access; or passes no object type, and then sets an
/// event that is a file. Here the access mode is `UserMode` and the type is checked, and only the dispatch routine has the
/// [`Irp`].
#[doc(alias = "ObReferenceObjectByHandle")]
#[doc(alias = "ExEventObjectType")]
#[doc(alias = "KEVENT")]
pub struct UserEvent {
    object: NonNull<c_void>,
}

// SAFETY: an event object is not tied to a thread.
unsafe impl Send for UserEvent {}
// SAFETY: only the kernel's routines access the object, and any thread may call them.
unsafe impl Sync for UserEvent {}

impl<R: Record> Irp<'_, R> {
    /// References the event of a requestor's handle (`ObReferenceObjectByHandle`).
    ///
    /// The handle is looked up in the process of the thread that calls the dispatch routine. That is the requestor's if no other
    /// driver is above this one in the device stack. It is looked up as a user-mode handle even if another driver has sent the request: that
    /// driver may have got the handle from a program.
    ///
    /// WDK:
    /// [ObReferenceObjectByHandle](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-obreferenceobjectbyhandle).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INVALID_HANDLE` if there is no such user-mode handle, `STATUS_OBJECT_TYPE_MISMATCH` if it is not that of an event,
    /// `STATUS_ACCESS_DENIED` if the handle does not allow to set the event.
    #[doc(alias = "ObReferenceObjectByHandle")]
    pub fn user_event<L: Waitable>(&self, handle: u64, _irql: &mut L) -> Result<UserEvent, Error> {
        let handle = usize::try_from(handle).map_err(|_| Error::INVALID_HANDLE)?;
        // SAFETY: the kernel has initialised the variable before it loads a driver, and does not change it.
        let kind = unsafe { nt::ExEventObjectType };
        let mut object = core::ptr::null_mut();
        // SAFETY: the token says PASSIVE_LEVEL. A handle that is not one, or that of an object of another type, is an error.
        let status = unsafe {
            nt::ObReferenceObjectByHandle(
                core::ptr::without_provenance_mut(handle),
                nt::EVENT_MODIFY_STATE,
                kind,
                nt::USER_MODE,
                &raw mut object,
                core::ptr::null_mut(),
            )
        };
        Error::check(status)?;
        let object = NonNull::new(object).ok_or(Error::INVALID_HANDLE)?;
        Ok(UserEvent { object })
    }
}

impl UserEvent {
    /// Sets the event and returns whether it was set before (`KeSetEvent`).
    ///
    /// WDK: [KeSetEvent](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kesetevent).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "KeSetEvent")]
    pub fn set<L: AtMostDispatch>(&self, _irql: &mut L) -> bool {
        // As for `Event::set`: a program resets the event, and then asks the driver.
        fence(Ordering::SeqCst);
        // SAFETY: the object is an event, to which `self` has a reference. With FALSE for Wait the routine may be called at
        // DISPATCH_LEVEL.
        unsafe { nt::KeSetEvent(self.object.as_ptr().cast(), 0, 0) != 0 }
    }
}

impl Drop for UserEvent {
    /// Releases the reference (`ObDereferenceObject`).
    fn drop(&mut self) {
        // SAFETY: the reference is released once. The IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::ObfDereferenceObject(self.object.as_ptr()) };
    }
}
