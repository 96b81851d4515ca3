//! Attacks on the input and the output of a request.

use core::cell::Cell;

use wdm::{
    Error, Irp, IrpQueue, IrpView, NtStatus, PassiveLevel, PendedIrp, QueueCallbacks, Reply,
    Returned, SpinLock,
};

/// The reply is a reference to the input in the system buffer, which the reply overwrites.
fn input_as_its_own_reply(irp: PendedIrp, irql: &mut PassiveLevel) -> Result<(), Error> {
    let input = irp.input_ref::<[u32; 4]>()?;
    irp.complete_with(input, irql); //~ E0505
    Ok(())
}

/// The input in the system buffer is read after the completion.
fn input_kept_after_completion(irp: PendedIrp, irql: &mut PassiveLevel) -> u32 {
    let input = irp.input_ref::<u32>().unwrap_or(&0);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0505
    *input
}

/// The input is read after the IRP was queued.
fn input_kept_after_insertion<C: QueueCallbacks>(queue: &IrpQueue<C>, irp: PendedIrp<C::Record>, irql: &mut PassiveLevel) -> u32 {
    let input = irp.input_ref::<u32>().unwrap_or(&0);
    queue.insert_pended(irp, irql); //~ E0505
    *input
}

/// User mode could pass a `bool` of 2, or a reference.
fn input_of_a_type_with_invalid_values(irp: &PendedIrp) {
    let _ = irp.input::<bool>(); //~ E0277
    let _ = irp.input::<&'static u32>(); //~ E0277
}

/// The input in the system buffer is returned as `'static`.
fn input_returned_as_static(irp: &PendedIrp) -> Option<&'static u32> {
    irp.input_ref::<u32>().ok() //~ lifetime
}

/// The input is changed through a shared reference.
fn input_with_interior_mutability(irp: &PendedIrp) {
    let _ = irp.input_ref::<Cell<u32>>(); //~ E0277
}

/// What the lower drivers have written is read after the completion.
fn output_of_a_returned_irp_kept(irp: Returned<PendedIrp>, irql: &mut PassiveLevel) -> usize {
    let output = irp.output_bytes().unwrap_or_default();
    irp.complete(irql); //~ E0505
    output.len()
}

/// A reply is completed twice.
fn reply_completed_twice(irp: PendedIrp, irql: &mut PassiveLevel) {
    let reply = irp.reply();
    reply.complete(NtStatus::SUCCESS, irql);
    reply.complete(NtStatus::SUCCESS, irql); //~ E0382
}

/// A reply is completed while a spin lock is held.
fn reply_completed_under_a_lock(lock: &SpinLock<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| irp.reply().complete(NtStatus::SUCCESS, held)); //~ E0277
}

/// The input of a request is read through its reply while it is overwritten.
fn reply_input_read_while_written(reply: &mut Reply<PendedIrp>) -> usize {
    reply.input_bytes().map_or(0, <[u8]>::len) //~ E0599
}

/// A driver says that it has written more bytes than it has.
fn reply_length_overstated(reply: &mut Reply<PendedIrp>) {
    reply.length = 1 << 20; //~ E0616
}

/// The mark of the IRP in a reply is made another one.
fn reply_mark_shortened<'a>(it: Reply<Irp<'static>>) -> Reply<Irp<'a>> {
    it //~ lifetime
}

/// A reply discloses a kernel address to user mode.
fn reply_of_an_address(irp: Irp<'_>, reply: &'static u32, irql: &mut PassiveLevel) {
    let _ = irp.complete_with(&reply, irql); //~ E0277
}

/// The input is kept while a reply overwrites it.
fn reply_while_the_input_is_borrowed(irp: Irp<'_>) -> Result<u8, Error> {
    let input = irp.input_bytes()?;
    let mut reply = irp.reply(); //~ E0505
    reply.append(&[1]);
    Ok(input[0])
}

/// A status is read from a request, and may be `STATUS_PENDING`.
fn status_read_from_an_input(irp: &IrpView) -> Option<NtStatus> {
    irp.input().ok() //~ E0277
}
