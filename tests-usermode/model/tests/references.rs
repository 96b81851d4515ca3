//! References to device objects, events that are cleared, and threads that are delayed.

mod common;

use std::time::Duration;

use common::{
    Body, MILLISECOND, NO_CODE, delay, delete, event, extension, initialise, load_body, passes,
    set, stops,
};
use nt::{DEVICE_OBJECT, NTSTATUS, STATUS_SUCCESS};
use ntmodel::{Clock, Config, Kernel, Rule};

const STATUS_TIMEOUT: NTSTATUS = 0x102;

/// What the memory of a device object that is gone is filled with.
const GONE: u64 = 0xdddd_dddd_dddd_dddd;

fn reference(device: *mut DEVICE_OBJECT) {
    // SAFETY: whether this may be done is what is tested; so for every call below.
    unsafe { nt::ObfReferenceObject(device.cast()) };
}

fn dereference(device: *mut DEVICE_OBJECT) {
    // SAFETY: as above.
    unsafe { nt::ObfDereferenceObject(device.cast()) };
}

/// A device object that is deleted while it is referenced.
struct Referenced;

impl Body for Referenced {
    fn run(device: *mut DEVICE_OBJECT) {
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
}

#[test]
fn a_referenced_device_object_is_gone_with_the_last_reference() {
    passes::<Referenced>();
}

struct NeverReferenced;

impl Body for NeverReferenced {
    fn run(device: *mut DEVICE_OBJECT) {
        dereference(device);
    }
}

struct ReferencedWhenGone;

impl Body for ReferencedWhenGone {
    fn run(device: *mut DEVICE_OBJECT) {
        delete(device);
        reference(device);
    }
}

#[test]
fn there_is_a_reference_too_few() {
    stops::<NeverReferenced>(Rule::Reference, 0x18, 0, "ObDereferenceObject");
    stops::<ReferencedWhenGone>(Rule::Reference, 0x18, 0, "ObReferenceObject");
}

struct StillReferenced;

impl Body for StillReferenced {
    fn run(device: *mut DEVICE_OBJECT) {
        reference(device);
        delete(device);
    }
}

#[test]
fn there_is_a_reference_too_many() {
    stops::<StillReferenced>(Rule::Reference, NO_CODE, 0, "DriverEntry");
}

struct Clears;

impl Body for Clears {
    fn run(device: *mut DEVICE_OBJECT) {
        let mut event = event();
        let event = &raw mut event;
        initialise(event);
        let look = || {
            let mut no_wait = 0;
            // SAFETY: the event is initialised.
            unsafe { nt::KeWaitForSingleObject(event.cast(), 0, 0, 0, &raw mut no_wait) }
        };
        set(event);
        assert_eq!(look(), STATUS_SUCCESS);
        // SAFETY: as above.
        unsafe { nt::KeClearEvent(event) };
        assert_eq!(look(), STATUS_TIMEOUT);
        delete(device);
    }
}

#[test]
fn an_event_is_cleared() {
    passes::<Clears>();
}

struct Delays;

impl Body for Delays {
    fn run(device: *mut DEVICE_OBJECT) {
        assert_eq!(delay(-MILLISECOND), STATUS_SUCCESS);
        // A time that was long ago.
        assert_eq!(delay(1), STATUS_SUCCESS);
        delete(device);
    }
}

#[test]
fn a_thread_is_delayed() {
    for clock in [Clock::Host, Clock::Virtual] {
        let kernel = Kernel::new(Config {
            clock,
            ..Config::default()
        });
        let before = kernel.now();
        load_body::<Delays>(&kernel);
        assert!(kernel.now() >= before + Duration::from_millis(1));
    }
    passes::<Delays>();
}

struct DelaysHigh;

impl Body for DelaysHigh {
    fn run(_: *mut DEVICE_OBJECT) {
        // SAFETY: the IRQL is PASSIVE_LEVEL.
        let _ = unsafe { nt::KeRaiseIrqlToDpcLevel() };
        delay(-1);
    }
}

#[test]
fn a_thread_is_delayed_below_dispatch_level() {
    stops::<DelaysHigh>(
        Rule::IrqlKeApcLte1,
        0xc4,
        0x2_000f,
        "KeDelayExecutionThread",
    );
}
