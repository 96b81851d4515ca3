//! Records: the data that a driver keeps with an IRP.

/// An owner that can be stored as one pointer, in the IRP itself.
///
/// A driver attaches a record with [`Irp::with_record`](crate::Irp::with_record). The record stays with the IRP in
/// every queue and is dropped when the IRP is completed. It replaces a pointer in `Tail.Overlay.DriverContext`,
/// which a driver must free on every path.
///
/// # IRQL
/// The methods are called at any IRQL, and while any lock is held.
///
/// # Safety
/// [`Record::from_raw`] returns the owner that was passed to [`Record::into_raw`], and [`Record::borrow`] a
/// reference to its target. If several owners have the same target, it must be safe to share the target between
/// threads.
#[doc(alias = "DriverContext")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a record: it cannot be kept with an IRP or in an `InterlockedOwner`",
    note = "a record is `()`, a `Shared`, a `ZoneBox` or a `LookasideBox`: an owner that is stored as one pointer"
)]
pub unsafe trait Record: Send + 'static {
    /// The value that the record owns, which the driver accesses.
    type Target;

    /// Gives up the owner for a pointer.
    fn into_raw(self) -> *mut ();

    /// Makes the owner again from its pointer.
    ///
    /// # Safety
    /// `raw` came from [`Record::into_raw`], and this is called once for it.
    unsafe fn from_raw(raw: *mut ()) -> Self;

    /// Returns a reference to the value that the record owns.
    ///
    /// # Safety
    /// `raw` came from [`Record::into_raw`], and the owner is not made again while the reference is used.
    unsafe fn borrow<'a>(raw: *mut ()) -> &'a Self::Target;
}

// SAFETY: `()` owns nothing.
unsafe impl Record for () {
    type Target = ();

    fn into_raw(self) -> *mut () {
        core::ptr::null_mut()
    }

    unsafe fn from_raw(_raw: *mut ()) -> Self {}

    unsafe fn borrow<'a>(_raw: *mut ()) -> &'a () {
        &()
    }
}
