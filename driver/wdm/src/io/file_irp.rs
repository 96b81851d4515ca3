//! The requests that open and close the files of a filter's lower driver.

use core::ops::Deref;

use crate::{
    CompletionObserver, CompletionRoutine, Error, Handled, Irp, IrpView, MajorFunction,
    PassiveLevel, Record, Returned,
};

/// An IRP that opens or closes a file of a filter's lower driver. `R` is the filter's record for the IRP.
///
/// Its [major function](IrpView::major) is [`Create`](MajorFunction::Create), [`Cleanup`](MajorFunction::Cleanup) or
/// [`Close`](MajorFunction::Close). Each of them reaches the lower driver once: the filter forwards it, or [fails the
/// open](FileIrp::fail_open). Unlike an [`Irp`], it can be neither completed with another status nor kept.
///
/// WDK: [DispatchCreate, DispatchClose, and DispatchCreateClose
/// Routines](https://learn.microsoft.com/windows-hardware/drivers/kernel/dispatchcreate--dispatchclose--and-dispatchcreateclose-routines).
///
/// # Examples
///
/// ```
/// use wdm::{Error, FileIrp, Handled, InterlockedLong, MajorFunction, PassiveLevel};
///
/// /// Prevents a device from being opened while it is locked.
/// fn open_or_close<'irp>(locks: &InterlockedLong, irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
///     if irp.major() == MajorFunction::Create && locks.read() != 0 {
///         return irp.fail_open(Error::SHARING_VIOLATION, irql);
///     }
///     irp.forward(irql)
/// }
/// ```
///
/// # What goes wrong in C
///
/// A filter completes an `IRP_MJ_CREATE` with success itself. The lower driver then gets an `IRP_MJ_CLEANUP` and an
/// `IRP_MJ_CLOSE` of a file object that it has not seen, whose `FsContext` it uses. Or the filter completes the
/// `IRP_MJ_CLEANUP`, so the lower driver does not cancel the requests of the file, and the process does not exit.
#[doc(alias = "IRP_MJ_CREATE")]
#[doc(alias = "IRP_MJ_CLEANUP")]
#[doc(alias = "IRP_MJ_CLOSE")]
pub struct FileIrp<'irp, R: Record = ()>(Irp<'irp, R>);

impl<'irp> FileIrp<'irp> {
    /// Restricts an IRP to the operations that are allowed for one that opens or closes a file.
    pub(crate) const fn new(irp: Irp<'irp>) -> Self {
        Self(irp)
    }

    /// Attaches a record to the IRP, as [`Irp::with_record`] does.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[must_use = "the request waits until it is forwarded"]
    pub fn with_record<R: Record>(self, record: R) -> FileIrp<'irp, R> {
        FileIrp(self.0.with_record(record))
    }
}

impl<'irp, R: Record> FileIrp<'irp, R> {
    /// Fails an open without calling the lower driver. A cleanup or a close cannot fail, and is [forwarded](FileIrp::forward).
    ///
    /// WDK: [IoCompleteRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocompleterequest).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IoCompleteRequest")]
    pub fn fail_open(self, error: Error, irql: &mut PassiveLevel) -> Handled<'irp> {
        match self.major() {
            MajorFunction::Create => self.0.complete(error, irql),
            _ => self.forward(irql),
        }
    }

    /// Forwards the request, as [`Irp::forward`] does.
    ///
    /// WDK: [IoSkipCurrentIrpStackLocation](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioskipcurrentirpstacklocation),
    /// [IoCallDriver](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocalldriver).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IoSkipCurrentIrpStackLocation")]
    #[doc(alias = "IoCallDriver")]
    pub fn forward(self, irql: &mut PassiveLevel) -> Handled<'irp> {
        self.0.forward(irql)
    }

    /// Forwards the request, and calls a routine that observes it afterwards, as [`Irp::forward_with_observer`] does.
    ///
    /// WDK: [IoSetCompletionRoutine](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosetcompletionroutine).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IoSetCompletionRoutine")]
    pub fn forward_with_observer<C: CompletionObserver<Record = R>>(
        self,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        self.0.forward_with_observer::<C>(irql)
    }

    /// Forwards the request, and calls a routine that owns it afterwards, as [`Irp::forward_with_routine`] does.
    ///
    /// WDK: [IoSetCompletionRoutine](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosetcompletionroutine).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IoSetCompletionRoutine")]
    pub fn forward_with_routine<C: CompletionRoutine<Record = R>>(
        self,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        self.0.forward_with_routine::<C>(irql)
    }

    /// Forwards the request, and waits until the lower drivers have completed it, as [`Irp::forward_and_wait`] does.
    ///
    /// WDK: [IoForwardIrpSynchronously](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioforwardirpsynchronously).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IoForwardIrpSynchronously")]
    pub fn forward_and_wait(self, irql: &mut PassiveLevel) -> Returned<Irp<'irp, R>> {
        self.0.forward_and_wait(irql)
    }
}

impl<R: Record> Deref for FileIrp<'_, R> {
    type Target = IrpView<R>;

    fn deref(&self) -> &IrpView<R> {
        &self.0
    }
}
