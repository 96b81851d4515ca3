//! Attacks on the buffer of a request that is accessed in place.

use wdm::{Error, NtStatus, PassiveLevel, PendedIrp, UserBuffer};

/// A reference to the sender's pages, which it changes while the driver looks at them.
fn user_buffer_as_bytes<'a>(buffer: &'a UserBuffer<'_>) -> &'a [u8] {
    buffer //~ E0308
}

/// The sender's buffer is read after the completion, when it is unmapped.
fn user_buffer_kept_after_completion(mut irp: PendedIrp, irql: &mut PassiveLevel) -> Result<u32, Error> {
    let buffer = irp.user_buffer()?;
    irp.complete(NtStatus::SUCCESS, irql); //~ E0505
    buffer.read(0)
}

/// Two threads that share a request map its buffer at the same time.
fn user_buffer_mapped_by_two_threads(irp: &PendedIrp) -> bool {
    irp.user_buffer().is_ok() //~ E0596
}

/// User mode could write a `bool` of 2, or a reference.
fn user_buffer_of_a_type_with_invalid_values(buffer: &UserBuffer<'_>) {
    let _ = buffer.read::<bool>(0); //~ E0277
    let _ = buffer.read::<&'static u32>(0); //~ E0277
}

/// A buffer outlives the owner of its request, which is completed.
fn user_buffer_of_two_requests(mut irp: PendedIrp, irql: &mut PassiveLevel) -> u8 {
    let buffer = irp.user_buffer().ok();
    irp.complete(NtStatus::SUCCESS, irql); //~ E0505
    buffer.map_or(0, |buffer| buffer.read(0).unwrap_or(0))
}

/// The buffer is read through one owner while another one writes to it.
fn user_buffer_while_the_reply_is_written(mut irp: PendedIrp) -> Result<u8, Error> {
    let buffer = irp.user_buffer()?;
    let mut reply = irp.reply(); //~ E0505
    reply.append(b"bytes");
    buffer.read(0)
}

/// A driver writes to a buffer of which it was lent the reading side; its pages may be read-only.
fn user_buffer_written_by_its_reader(buffer: &mut UserBuffer<'_>) {
    let _ = buffer.copy_from(0, b"bytes"); //~ E0624
}
