//! References to device objects, events that are cleared, and threads that are delayed.

#[macro_use]
mod call;
mod common;

use std::{ptr::null_mut, time::Duration};

use common::{
    MILLISECOND, NO_CODE, delay, delete, event, extension, initialise, passes, scenario, set, stops,
};
use nt::{DEVICE_OBJECT, NTSTATUS, STATUS_OBJECT_TYPE_MISMATCH, STATUS_SUCCESS};
use ntmodel::{Clock, Config, Kernel, Rule};

const STATUS_TIMEOUT: NTSTATUS = 0x102;

/// The fill value of the memory of a freed device object.
const GONE: u64 = 0xdddd_dddd_dddd_dddd;

fn reference(device: *mut DEVICE_OBJECT) {
    nt!(ObfReferenceObject(device.cast()));
}

fn dereference(device: *mut DEVICE_OBJECT) {
    nt!(ObfDereferenceObject(device.cast()));
}

/// A device object that is deleted while it is referenced.
fn referenced(device: *mut DEVICE_OBJECT) {
    let extension = extension(device);
    // SAFETY: the extension is this driver's.
    unsafe { extension.write(1) };
    reference(device);
    reference(device);
    dereference(device);
    delete(device);
    // SAFETY: the device object is referenced.
    assert_eq!(unsafe { extension.read() }, 1);
    dereference(device);
    // SAFETY: the memory stays as long as the kernel.
    assert_eq!(unsafe { extension.read() }, GONE);
}

#[test]
fn a_referenced_device_object_is_freed_with_the_last_reference() {
    passes(referenced);
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-obreferenceobjectbypointer>: the type is that of the object, or NULL
/// in kernel mode.
fn referenced_by_pointer(device: *mut DEVICE_OBJECT) {
    // SAFETY: the kernel has the variables, which do not change.
    let [device_type, thread_type] = unsafe { [nt::IoDeviceObjectType, nt::PsThreadType] };
    let by_pointer = |kind| nt!(ObReferenceObjectByPointer(device.cast(), 0, kind, 0));
    assert_eq!(by_pointer(thread_type), STATUS_OBJECT_TYPE_MISMATCH);
    assert_eq!(by_pointer(device_type), STATUS_SUCCESS);
    assert_eq!(by_pointer(null_mut()), STATUS_SUCCESS);
    let extension = extension(device);
    dereference(device);
    delete(device);
    // SAFETY: the device object is referenced.
    assert_eq!(unsafe { extension.read() }, 0);
    dereference(device);
    // SAFETY: the memory stays as long as the kernel.
    assert_eq!(unsafe { extension.read() }, GONE);
}

#[test]
fn a_reference_by_pointer_checks_the_type() {
    passes(referenced_by_pointer);
}

fn never_referenced(device: *mut DEVICE_OBJECT) {
    dereference(device);
}

fn referenced_when_deleted(device: *mut DEVICE_OBJECT) {
    delete(device);
    reference(device);
}

#[test]
fn missing_reference_is_found() {
    let routine = "ObDereferenceObject";
    stops(never_referenced, Rule::Reference, 0x18, 0, routine);
    let routine = "ObReferenceObject";
    stops(referenced_when_deleted, Rule::Reference, 0x18, 0, routine);
}

fn still_referenced(device: *mut DEVICE_OBJECT) {
    reference(device);
    delete(device);
}

#[test]
fn excess_reference_is_found() {
    stops(still_referenced, Rule::Reference, NO_CODE, 0, "DriverEntry");
}

fn clears(device: *mut DEVICE_OBJECT) {
    let mut event = event();
    let event = &raw mut event;
    initialise(event);
    let look = || {
        let mut no_wait = 0;
        nt!(KeWaitForSingleObject(
            event.cast(),
            0,
            0,
            0,
            &raw mut no_wait
        ))
    };
    set(event);
    assert_eq!(look(), STATUS_SUCCESS);
    nt!(KeClearEvent(event));
    assert_eq!(look(), STATUS_TIMEOUT);
    delete(device);
}

#[test]
fn an_event_is_cleared() {
    passes(clears);
}

fn delays(device: *mut DEVICE_OBJECT) {
    assert_eq!(delay(-MILLISECOND), STATUS_SUCCESS);
    // A time that has long passed.
    assert_eq!(delay(1), STATUS_SUCCESS);
    delete(device);
}

#[test]
fn a_thread_is_delayed() {
    for clock in [Clock::Host, Clock::Virtual] {
        let kernel = Kernel::new(Config {
            clock,
            ..Config::default()
        });
        let before = kernel.now();
        scenario(delays)(&kernel);
        assert!(kernel.now() >= before + Duration::from_millis(1));
    }
    passes(delays);
}

fn delays_high(_: *mut DEVICE_OBJECT) {
    let _ = nt!(KeRaiseIrqlToDpcLevel());
    delay(-1);
}

#[test]
fn a_thread_is_delayed_below_dispatch_level() {
    let routine = "KeDelayExecutionThread";
    stops(delays_high, Rule::IrqlKeApcLte1, 0xc4, 0x2_000f, routine);
}
