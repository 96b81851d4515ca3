//! IRPs that a driver makes: correct drivers in every order, the documented results, and the mistakes of a driver.

#[path = "../call/mod.rs"]
#[macro_use]
mod call;
#[path = "../steps/mod.rs"]
mod steps;
mod waits;

use std::{
    cell::Cell,
    ffi::c_void,
    ptr::{null_mut, without_provenance_mut},
    sync::Arc,
};

use call::{BLOCK, broke, fill_in, on_completion, queue_work, sets_event, wait};
use nt::{
    DEVICE_OBJECT, IO_STATUS_BLOCK, IO_WORKITEM, IRP, KEVENT, NTSTATUS, STATUS_INVALID_PARAMETER,
    STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING, STATUS_SUCCESS,
};
use ntmodel::{Config, Faults, Kernel, Rule, Violation};
use steps::{FIRST, Stage, Steps, complete, end_of, found_in_some_order, holds, mark, one_request};
use waits::{event, initialise};

/// The requests that the driver sends to its own device: one is completed immediately, the others by a worker thread.
const NOW: u32 = 0x22_2010;
const LATER: u32 = 0x22_2014;
const FAILS_LATER: u32 = 0x22_2018;
/// The output of these requests.
const ANSWER: [u8; 4] = *b"done";

const NOTHING: u8 = 0;
const NO_ROUTINE: u8 = 1;
const CONTINUES: u8 = 2;
const FREES_AND_CONTINUES: u8 = 3;
const FREES_WHILE_SENT: u8 = 4;
const FREES_TWICE: u8 = 5;
const NEVER_FREES: u8 = 6;
const COMPLETES_OWN: u8 = 7;
const FEW_LOCATIONS: u8 = 8;
const REUSES_WHILE_SENT: u8 = 9;
const FREES_RECEIVED: u8 = 10;
const SENDS_FREED: u8 = 11;
const INITIALISES_ALLOCATED: u8 = 12;

/// The part of the device extension of a driver that sends requests to its own device.
pub struct Data {
    device: Cell<*mut DEVICE_OBJECT>,
    item: Cell<*mut IO_WORKITEM>,
}

/// Completes a request with an answer, or with an error if the buffer is too small.
fn answer(irp: *mut IRP) -> NTSTATUS {
    let parameters = nt!(irp::io_control(irp));
    if parameters.output_length == 0 {
        return complete(irp, STATUS_SUCCESS);
    }
    let buffer = nt!(irp::system_buffer(irp));
    // SAFETY: the test passes a buffer of the answer's length.
    unsafe { buffer.copy_from(ANSWER.as_ptr(), ANSWER.len()) };
    nt!(irp::set_status(irp, STATUS_SUCCESS));
    nt!(irp::set_information(irp, ANSWER.len()));
    nt!(IofCompleteRequest(irp, 0));
    STATUS_SUCCESS
}

unsafe extern "C" fn answers(_: *mut DEVICE_OBJECT, irp: *mut c_void) {
    answer(irp.cast());
}

unsafe extern "C" fn fails(_: *mut DEVICE_OBJECT, irp: *mut c_void) {
    complete(irp.cast(), nt::STATUS_NOT_FOUND);
}

/// The device's handling of a request that the driver sends to it.
fn serve(device: *mut DEVICE_OBJECT, data: &Data, irp: *mut IRP, code: u32) -> NTSTATUS {
    if code == NOW {
        return answer(irp);
    }
    mark(irp);
    data.device.set(device);
    let routine = if code == LATER { answers } else { fails };
    queue_work(data.item.get(), routine, irp.cast());
    STATUS_PENDING
}

/// A driver that sends a request to its own device when it receives one with the code [`FIRST`].
trait Sends: 'static {
    /// Handles the request with the code [`FIRST`].
    fn first(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS;
}

impl<T: Sends> Steps for T {
    type Own = Data;

    fn add(device: *mut DEVICE_OBJECT, data: &Data) {
        data.item.set(nt!(IoAllocateWorkItem(device)));
    }

    fn control(device: *mut DEVICE_OBJECT, data: &Data, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            return T::first(device, irp);
        }
        serve(device, data, irp, code)
    }

    fn remove(data: &Data) {
        nt!(IoFreeWorkItem(data.item.get()));
    }
}

fn stack_size(device: *mut DEVICE_OBJECT) -> i8 {
    // SAFETY: the device object is alive.
    unsafe { (*device).StackSize }
}

fn allocate(stack_size: i8) -> *mut IRP {
    nt!(IoAllocateIrp(stack_size, 0))
}

fn free(irp: *mut IRP) {
    nt!(IoFreeIrp(irp));
}

fn send(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    nt!(IofCallDriver(device, irp))
}

/// Sends a request for each request that it receives. The completion routine completes the received one.
struct Asks<const MISTAKE: u8, const CODE: u32>;

unsafe extern "C" fn returned<const MISTAKE: u8>(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    received: *mut c_void,
) -> NTSTATUS {
    assert!(device.is_null(), "the driver has no stack location in it");
    let status = nt!(irp::status(irp));
    if MISTAKE != NEVER_FREES && MISTAKE != CONTINUES {
        free(irp);
    }
    if MISTAKE == FREES_TWICE {
        free(irp);
    }
    complete(received.cast(), status);
    if MISTAKE == CONTINUES || MISTAKE == FREES_AND_CONTINUES {
        return STATUS_SUCCESS;
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

impl<const MISTAKE: u8, const CODE: u32> Sends for Asks<MISTAKE, CODE> {
    fn first(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        if MISTAKE == FREES_RECEIVED {
            free(irp);
        }
        let missing = i8::from(MISTAKE == FEW_LOCATIONS);
        let own = allocate(stack_size(device) - missing);
        if own.is_null() {
            return complete(irp, nt::STATUS_INSUFFICIENT_RESOURCES);
        }
        let status = mark(irp);
        if MISTAKE == INITIALISES_ALLOCATED {
            nt!(IoInitializeIrp(own, nt::IoSizeOfIrp(2), 2));
        }
        fill_in(own, CODE);
        if MISTAKE != NO_ROUTINE {
            on_completion(own, returned::<MISTAKE>, irp.cast());
        }
        match MISTAKE {
            COMPLETES_OWN => return complete(own, STATUS_SUCCESS),
            SENDS_FREED => free(own),
            _ => {}
        }
        send(device, own);
        match MISTAKE {
            FREES_WHILE_SENT => free(own),
            REUSES_WHILE_SENT => nt!(IoReuseIrp(own, STATUS_SUCCESS)),
            _ => {}
        }
        status
    }
}

#[test]
fn a_driver_that_frees_its_irp_in_its_completion_routine_breaks_no_rule() {
    holds(one_request::<Asks<NOTHING, NOW>>);
    holds(one_request::<Asks<NOTHING, LATER>>);
}

/// Checks the violation in some order of a driver's threads: its rule, code, first parameter and description.
#[track_caller]
fn stops(scenario: fn(&Arc<Kernel>), rule: Rule, code: u32, first: u64, text: &str) {
    let violation: Violation = found_in_some_order(scenario);
    broke(&violation, rule, code, &[first]);
    assert!(violation.what.contains(text), "{text:?}:\n{violation}");
}

/// Checks the violation of a mistake in [`Asks`].
#[track_caller]
fn asks<const MISTAKE: u8, const CODE: u32>(rule: Rule, code: u32, first: u64, text: &str) {
    stops(one_request::<Asks<MISTAKE, CODE>>, rule, code, first, text);
}

#[test]
fn an_irp_returns_to_the_driver_that_created_it() {
    let none = "has no completion routine";
    asks::<NO_ROUTINE, LATER>(Rule::OwnIrp, 0, 0, none);
    let continues = "returns 0x0, not STATUS_MORE_PROCESSING_REQUIRED";
    asks::<CONTINUES, LATER>(Rule::OwnIrp, 0, 0, continues);
    asks::<CONTINUES, NOW>(Rule::OwnIrp, 0, 0, continues);
    let freed = "the completion routine has freed";
    asks::<FREES_AND_CONTINUES, NOW>(Rule::OwnIrp, 0, 0, freed);
    let completed = "is completed by the driver that has made it";
    let rule = Rule::IoAllocateComplete;
    asks::<COMPLETES_OWN, NOW>(rule, 0, 0, completed);
}

#[test]
fn an_irp_is_freed_once_after_it_has_returned() {
    let (rule, io) = (Rule::IoAllocateFree, 0xc9);
    let down = "it is still in use";
    asks::<FREES_WHILE_SENT, LATER>(rule, io, 0x20b, down);
    let twice = "has freed it before";
    asks::<FREES_TWICE, NOW>(rule, io, 1, twice);
    let received = "the I/O manager has made it";
    asks::<FREES_RECEIVED, NOW>(rule, io, 2, received);
    let left = "has not freed IRP";
    asks::<NEVER_FREES, NOW>(Rule::OwnIrp, 0, 0, left);
    let violation = found_in_some_order(one_request::<Asks<SENDS_FREED, NOW>>);
    assert_eq!(violation.rule, Rule::CompletedIrp, "\n{violation}");
    assert!(violation.what.contains("has freed it"), "\n{violation}");
}

#[test]
fn an_irp_has_a_stack_location_for_each_lower_driver() {
    let few = "1 further stack locations, and the device object";
    asks::<FEW_LOCATIONS, NOW>(Rule::StackLocations, 0xc9, 0x208, few);
}

#[test]
fn an_irp_is_reused_by_io_reuse_irp_after_it_has_returned() {
    let down = "it was sent, and has not returned";
    asks::<REUSES_WHILE_SENT, LATER>(Rule::IoReuseIrp, 0, 0, down);
    let again = "IoReuseIrp is for one that is used again";
    asks::<INITIALISES_ALLOCATED, NOW>(Rule::OwnIrp, 0xc9, 0x20d, again);
    holds(one_request::<Reuses>);
}

#[test]
fn an_irp_may_not_be_allocated() {
    let faults = Arc::new(Faults::default());
    let kernel = Kernel::new(Config {
        faults: Some(Arc::clone(&faults)),
        ..Config::default()
    });
    let stage = Stage::set::<Asks<NOTHING, NOW>>(&kernel);
    faults.arm();
    let status = end_of(&stage.send(FIRST));
    assert_eq!(status, nt::STATUS_INSUFFICIENT_RESOURCES);
    assert!(faults.disarm(), "an allocation has failed");
    assert_eq!(end_of(&stage.send(FIRST)), STATUS_SUCCESS);
    stage.tear_down();
}

/// Sends one IRP three times, from its completion routine.
struct Reuses;

/// The context of its IRP.
struct Rounds {
    received: *mut IRP,
    device: *mut DEVICE_OBJECT,
    left: u32,
}

fn send_again(irp: *mut IRP, rounds: *mut Rounds) {
    // SAFETY: the rounds stay until the last one has ended.
    let device = unsafe { (*rounds).device };
    nt!(IoReuseIrp(irp, STATUS_INVALID_PARAMETER));
    assert_eq!(nt!(irp::status(irp)), STATUS_INVALID_PARAMETER);
    fill_in(irp, LATER);
    on_completion(irp, again, rounds.cast());
    send(device, irp);
}

unsafe extern "C" fn again(_: *mut DEVICE_OBJECT, irp: *mut IRP, rounds: *mut c_void) -> NTSTATUS {
    let rounds: *mut Rounds = rounds.cast();
    // SAFETY: the context is the routine's.
    let left = unsafe { &mut (*rounds).left };
    if *left != 0 {
        *left -= 1;
        send_again(irp, rounds);
        return STATUS_MORE_PROCESSING_REQUIRED;
    }
    free(irp);
    // SAFETY: `control` has made the box, and this is the last round.
    let rounds = unsafe { Box::from_raw(rounds) };
    complete(rounds.received, STATUS_SUCCESS);
    STATUS_MORE_PROCESSING_REQUIRED
}

impl Sends for Reuses {
    fn first(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        mark(irp);
        let rounds = Rounds {
            received: irp,
            device,
            left: 1,
        };
        send_again(
            allocate(stack_size(device)),
            Box::into_raw(Box::new(rounds)),
        );
        STATUS_PENDING
    }
}

/// Sends reads and writes to its own device, which uses buffered I/O, and waits for them or sets a completion routine.
struct Transfers<const KEEPS_BUFFER: bool>;

unsafe extern "C" fn transfer(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let parameters = nt!(irp::transfer(irp));
    assert_eq!(parameters.offset, 0x1_0000_0000);
    assert_eq!(parameters.length, 4);
    let buffer = nt!(irp::system_buffer(irp)).cast::<[u8; 4]>();
    if nt!(irp::major_function(irp)) == nt::IRP_MJ_READ {
        // SAFETY: the system buffer has four bytes.
        unsafe { buffer.write(ANSWER) };
    } else {
        // SAFETY: as above.
        assert_eq!(unsafe { buffer.read() }, ANSWER);
    }
    nt!(irp::set_status(irp, STATUS_SUCCESS));
    nt!(irp::set_information(irp, 4));
    nt!(IofCompleteRequest(irp, 0));
    STATUS_SUCCESS
}

unsafe extern "C" fn written<const KEEPS_BUFFER: bool>(
    _: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    event: *mut c_void,
) -> NTSTATUS {
    let buffer = nt!(irp::system_buffer(irp));
    if !KEEPS_BUFFER {
        nt!(ExFreePoolWithTag(buffer.cast(), 0));
    }
    free(irp);
    nt!(KeSetEvent(event.cast(), 0, 0));
    STATUS_MORE_PROCESSING_REQUIRED
}

impl<const KEEPS_BUFFER: bool> Steps for Transfers<KEEPS_BUFFER> {
    type Own = ();

    fn add(device: *mut DEVICE_OBJECT, (): &()) {
        // SAFETY: the device object is the driver's.
        let driver = unsafe { (*device).DriverObject };
        // SAFETY: as above.
        let functions = unsafe { &mut (*driver).MajorFunction };
        functions[nt::IRP_MJ_READ] = Some(transfer);
        functions[nt::IRP_MJ_WRITE] = Some(transfer);
    }

    fn control(device: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        let (mut event, mut block, mut output) = (event(), BLOCK, [0_u8; 4]);
        let (event, block): (*mut KEVENT, *mut IO_STATUS_BLOCK) = (&raw mut event, &raw mut block);
        let buffer: *mut c_void = (&raw mut output).cast();
        let mut offset = 0x1_0000_0000;
        initialise(event);
        let own = nt!(IoBuildSynchronousFsdRequest(
            3,
            device,
            buffer,
            4,
            &raw mut offset,
            event,
            block
        ));
        if send(device, own) == STATUS_PENDING {
            wait(event);
        }
        // SAFETY: the request has ended.
        let block = unsafe { block.read() };
        assert_eq!((block.Status, block.Information), (STATUS_SUCCESS, 4));
        assert_eq!(output, ANSWER);
        initialise(event);
        let own = nt!(IoBuildAsynchronousFsdRequest(
            4,
            device,
            buffer,
            4,
            &raw mut offset,
            null_mut()
        ));
        on_completion(own, written::<KEEPS_BUFFER>, event.cast());
        send(device, own);
        wait(event);
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn reads_and_writes_are_built_with_buffers() {
    holds(one_request::<Transfers<false>>);
    let left = "pool blocks, 4 bytes, not freed";
    stops(one_request::<Transfers<true>>, Rule::Pool, 0xc4, 0x62, left);
}

/// Sends an IRP in memory of its own, which it frees after it has returned, or before that.
struct OwnMemory<const WAITS: bool>;

impl<const WAITS: bool> Sends for OwnMemory<WAITS> {
    fn first(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        let mut event = event();
        let event: *mut KEVENT = &raw mut event;
        initialise(event);
        let size = nt::IoSizeOfIrp(stack_size(device));
        let own = nt!(ExAllocatePool2(0x40, size.into(), 1)).cast::<IRP>();
        nt!(IoInitializeIrp(own, size, stack_size(device)));
        fill_in(own, LATER);
        on_completion(own, sets_event, event.cast());
        send(device, own);
        if WAITS {
            wait(event);
        }
        nt!(ExFreePoolWithTag(own.cast(), 1));
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn an_irp_may_be_in_memory_of_the_driver() {
    holds(one_request::<OwnMemory<true>>);
    let down = "is freed, which was sent and has not returned";
    stops(one_request::<OwnMemory<false>>, Rule::OwnIrp, 0, 0, down);
}

/// Frees a pointer that is not an IRP.
struct FreesNoIrp;

impl Steps for FreesNoIrp {
    type Own = ();

    fn control(_: *mut DEVICE_OBJECT, (): &(), _: *mut IRP, _: u32) -> NTSTATUS {
        free(without_provenance_mut(0x1000));
        STATUS_SUCCESS
    }
}

#[test]
fn free_of_a_pointer_that_is_not_an_irp() {
    let body = one_request::<FreesNoIrp>;
    let routine = "is not an IRP";
    stops(body, Rule::IoAllocateFree, 0xc9, 1, routine);
}
