//! The reply to a request while it is written.

use core::ops::Deref;

use crate::{Handled, Irp, IrpView, NtStatus, PendedIrp, Record, ke::irql::NoSpinLockHeld};

/// The owner of an IRP whose output buffer is being written, made by [`Irp::reply`] and [`PendedIrp::reply`].
///
/// The buffer can be filled while a spin lock is held; the reply is completed after the lock was released. If a
/// reply is dropped, its IRP is completed with `STATUS_INTERNAL_ERROR` and no output, like an [`Irp`] that is
/// dropped.
///
/// # Examples
///
/// ```
/// use wdm::{Handled, Irp, NtStatus, PassiveLevel};
///
/// /// Replies with as much of a message as the output can hold.
/// fn describe<'irp>(irp: Irp<'irp>, message: &[u8], irql: &mut PassiveLevel) -> Handled<'irp> {
///     let mut reply = irp.reply();
///     let status = if reply.append(message) < message.len() {
///         NtStatus::BUFFER_OVERFLOW
///     } else {
///         NtStatus::SUCCESS
///     };
///     reply.complete(status, irql)
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver writes to `Irp->AssociatedIrp.SystemBuffer` and sets `IoStatus.Information` to a number that is larger than the
/// number of bytes that it wrote, so the I/O manager copies pool memory with other data to user mode. Here the number is
/// counted, so it is always the number of bytes written.
#[must_use = "the request waits until it is completed"]
pub struct Reply<O> {
    owner: O,
    /// The number of bytes of the output that were written.
    length: usize,
}

impl<O> Reply<O> {
    pub(crate) const fn new(owner: O) -> Self {
        Self { owner, length: 0 }
    }

    /// Returns the number of bytes that were written so far.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }
}

impl<R: Record, O: Deref<Target = IrpView<R>>> Reply<O> {
    /// Appends as many bytes as the output can hold, and returns their number.
    ///
    /// A request whose buffer the driver cannot write, such as a device control with `METHOD_IN_DIRECT`, has no room. A request with
    /// direct I/O has no room either if its [buffer](PendedIrp::user_buffer) cannot be mapped. To distinguish this from a full buffer,
    /// call that method first.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        self.write_at(self.length, bytes)
    }

    /// Writes as many bytes as the output can hold, at an offset that is not beyond the bytes that were written so far, and
    /// returns their number. So a header can be written again when its values are known.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> usize {
        if offset > self.length {
            return 0;
        }
        let room = self.owner.output_length().saturating_sub(offset);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        // SAFETY: the output has this part, and the reply has the request, so its input is not borrowed.
        if unsafe { self.owner.data().write_at(offset, bytes) }.is_err() {
            return 0;
        }
        self.length = self.length.max(offset + bytes.len());
        bytes.len()
    }

    /// Returns the number of bytes that can still be written.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn room(&self) -> usize {
        self.owner.output_length().saturating_sub(self.length)
    }
}

impl<'irp, R: Record> Reply<Irp<'irp, R>> {
    /// Completes the request with a status and the bytes that were written (`IoCompleteRequest`).
    ///
    /// With an error status the caller receives no output. `STATUS_BUFFER_OVERFLOW` is a warning: with it the caller
    /// receives the bytes that were written.
    ///
    /// WDK: [IoCompleteRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocompleterequest).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoCompleteRequest")]
    #[doc(alias = "KeFlushIoBuffers")]
    pub fn complete<L: NoSpinLockHeld>(
        self,
        status: impl Into<NtStatus>,
        irql: &mut L,
    ) -> Handled<'irp> {
        self.owner
            .complete_written(status.into(), self.length, irql)
    }
}

impl<R: Record> Reply<PendedIrp<R>> {
    /// Completes the request with a status and the bytes that were written (`IoCompleteRequest`), as
    /// [`Reply::complete`] does for an [`Irp`].
    ///
    /// WDK: [IoCompleteRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocompleterequest).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoCompleteRequest")]
    pub fn complete<L: NoSpinLockHeld>(self, status: impl Into<NtStatus>, irql: &mut L) {
        self.owner
            .complete_written(status.into(), self.length, irql);
    }
}
