//! Records: what a driver keeps with an IRP while it has it.

/// An owner of some memory that can travel as one pointer, in the IRP itself.
///
/// A driver attaches its record with [`Irp::with_record`](crate::Irp::with_record); it goes with the IRP
/// through every queue, and is dropped when the IRP is completed. In C it is a pointer in
/// `Tail.Overlay.DriverContext` that somebody has to know about, and to free on every path.
///
/// # Safety
///
/// [`Record::from_raw`] gives back what [`Record::into_raw`] was given, and [`Record::borrow`] a reference to
/// what that owns. Where several of them exist for one memory, it must be shared between threads safely.
pub unsafe trait Record: Send + 'static {
    /// What the driver reads and writes in its record.
    type Target;

    /// Gives the owner up for a pointer.
    fn into_raw(self) -> *mut ();

    /// Makes the owner again.
    ///
    /// # Safety
    /// `raw` came from [`Record::into_raw`], and this is called for it once.
    unsafe fn from_raw(raw: *mut ()) -> Self;

    /// Looks at what the owner owns.
    ///
    /// # Safety
    /// `raw` came from [`Record::into_raw`], and the owner is not made again while the reference is there.
    unsafe fn borrow<'a>(raw: *mut ()) -> &'a Self::Target;
}

// SAFETY: there is nothing to own.
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
