//! Attacks on the IRPs that open and close files.

use wdm::{Error, FileIrp, Handled, Irp, IrpQueue, NtStatus, PassiveLevel, QueueCallbacks, Shared};

/// A filter forwards a close twice, so that the driver below frees the file twice.
fn file_irp_forwarded_twice<'irp>(irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    let _ = irp.forward(irql);
    irp.forward(irql) //~ E0382
}

/// An IRP that opens a file is sent to another thread, which could keep it after the dispatch routine has returned.
fn file_irp_in_another_thread(irp: FileIrp<'static>) {
    fn is_send<T: Send>(_: T) {}
    is_send(irp); //~ E0277
}

/// An IRP that opens a file, with one type of record, is used as one with another type.
fn file_irp_of_another_record<'a>(it: FileIrp<'a, Shared<for<'x> fn(&'x u8)>>) -> FileIrp<'a, Shared<fn(&'static u8)>> {
    it //~ E0308
}

/// The lifetime of an IRP that opens a file is shortened to that of an inner stack frame.
fn file_irp_shortened<'a>(it: FileIrp<'static>) -> FileIrp<'a> {
    it //~ lifetime
}

/// A filter completes an open with a status of success, in place of an error.
fn filter_fails_an_open_with_success<'irp>(irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
    irp.fail_open(NtStatus::SUCCESS, irql) //~ E0308
}

/// A filter queues a cleanup, of which the driver below would not be told if it is cancelled.
fn filter_keeps_a_cleanup<'irp>(
    irp: FileIrp<'irp>,
    queue: &IrpQueue<impl QueueCallbacks<Record = ()>>,
    irql: &mut PassiveLevel,
) -> Handled<'irp> {
    queue.insert(irp, irql) //~ E0308
}

/// A filter takes the owner out of an IRP that closes a file by a pattern.
fn owner_taken_out_of_a_file_irp<'irp>(irp: FileIrp<'irp>) -> Irp<'irp> {
    let FileIrp(irp) = irp; //~ E0532
    irp
}

/// A filter pends an open that the driver below has completed, and then completes it with an error, so that its file is never closed.
fn returned_file_irp_pended(irp: FileIrp<'_>, irql: &mut PassiveLevel) {
    let returned = irp.forward_and_wait(irql);
    let (irp, _) = returned.pend_not_cancelable(irql); //~ E0599
    irp.complete(Error::DEVICE_BUSY, irql);
}
