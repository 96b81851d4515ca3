//! A driver that reports more output than it has written, and a driver that cannot be unloaded.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
};

use common::found_in;
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, IRP, NTSTATUS, STATUS_CANCELLED, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Driver, Kernel, Rule};
use steps::{FIRST, Stage, Steps, breaks, holds};

const LENGTH: usize = 24;

/// Writes this number of bytes, and reports the length of the output as Information.
struct Writes<const COUNT: usize>;

impl<const COUNT: usize> Steps for Writes<COUNT> {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let buffer = nt!(irp::system_buffer(irp));
        // SAFETY: the buffer is at least as long.
        unsafe { buffer.write_bytes(0, COUNT) };
        nt!(irp::set_status(irp, STATUS_SUCCESS));
        let length = nt!(irp::io_control(irp)).output_length as usize;
        nt!(irp::set_information(irp, length));
        nt!(IofCompleteRequest(irp, 0));
        STATUS_SUCCESS
    }
}

/// Requests `LENGTH` bytes, and provides input for some.
fn asks<const COUNT: usize, const INPUT: usize>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Writes<COUNT>>(kernel);
    let sent = stage
        .file
        .device_control(FIRST, &[7; INPUT], vec![0; LENGTH]);
    let end = sent.ended().expect("it ends without waiting");
    let (zeros, rest) = end.output.split_at(COUNT);
    assert!(zeros.iter().all(|byte| *byte == 0), "{end:?}");
    assert!(rest.iter().all(|byte| *byte == 7), "{end:?}");
    stage.tear_down();
}

#[test]
fn unwritten_output_is_not_returned_to_the_user() {
    let text = "the driver has not written the last of these bytes";
    breaks(asks::<0, 0>, Rule::Information, text);
    breaks(asks::<16, 0>, Rule::Information, text);
    breaks(asks::<8, 16>, Rule::Information, text);
    holds(asks::<LENGTH, 0>);
}

/// Requests a structure of `SIZE` bytes, whose fields end after `COUNT` bytes.
fn asks_for_structure<const COUNT: usize, const SIZE: usize>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Writes<COUNT>>(kernel);
    let sent = stage.file.device_control(FIRST, &[], vec![0; SIZE]);
    assert!(sent.ended().is_some());
    stage.tear_down();
}

/// <https://learn.microsoft.com/cpp/build/x64-software-conventions>: the alignment of a structure is the largest one of its members, and
/// its size is a multiple of that. The last member of `PARTITION_INFORMATION`, of 32 bytes, ends after 28.
#[test]
fn padding_at_the_end_of_a_structure_need_not_be_written() {
    holds(asks_for_structure::<28, 32>);
    holds(asks_for_structure::<17, 24>);
    let text = "the driver has not written the last of these bytes";
    breaks(asks_for_structure::<24, 32>, Rule::Information, text);
    // The alignment of a structure of these sizes is at most four bytes.
    breaks(asks_for_structure::<24, 28>, Rule::Information, text);
    breaks(asks_for_structure::<0, 4>, Rule::Information, text);
}

#[test]
fn input_in_the_system_buffer_may_be_returned() {
    holds(asks::<8, LENGTH>);
    holds(asks::<LENGTH, LENGTH>);
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

/// A driver without devices, with an Unload routine or without.
unsafe extern "C" fn entry<const UNLOADS: bool>(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    if UNLOADS {
        // SAFETY: the I/O manager gives the driver object, which is this routine's to fill in.
        unsafe { (*driver).DriverUnload = Some(unload) };
    }
    STATUS_SUCCESS
}

fn unloads<const UNLOADS: bool>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, entry::<UNLOADS>) };
    driver.expect("it is loaded").unload();
}

#[test]
fn a_driver_without_an_unload_routine_stays() {
    let text = "has no Unload routine";
    breaks(unloads::<false>, Rule::DriverUnload, text);
    assert_eq!(found_in(unloads::<false>).rule, Rule::DriverUnload);
    holds(unloads::<true>);
}

/// Uses an IRP after its completion if `LATE` is set.
struct UsesIrp<const LATE: bool>;

static IRP_OF_BEFORE: AtomicPtr<IRP> = AtomicPtr::new(null_mut());

impl<const LATE: bool> Steps for UsesIrp<LATE> {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let before = IRP_OF_BEFORE.swap(irp, SeqCst);
        if LATE && !before.is_null() {
            let _ = nt!(irp::is_cancel_requested(before));
        }
        steps::complete(irp, STATUS_CANCELLED)
    }
}

fn two_in_turn<const LATE: bool>(kernel: &Arc<Kernel>) {
    IRP_OF_BEFORE.store(null_mut(), SeqCst);
    let stage = Stage::set::<UsesIrp<LATE>>(kernel);
    for _ in 0..2 {
        steps::end_of(&stage.send(FIRST));
    }
    stage.tear_down();
}

#[test]
fn irp_is_not_accessed_after_its_completion() {
    let text = "is used after main has completed it";
    breaks(two_in_turn::<true>, Rule::CompletedIrp, text);
    holds(two_in_turn::<false>);
}
