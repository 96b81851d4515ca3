//! Rules of Static Driver Verifier, and I/O verification errors of bug check 0xC9: a faulty and a correct driver for each.

#[macro_use]
mod call;
mod steps;

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
    sync::Arc,
};

use call::{BLOCK, broke, build_io_control, on_completion, sets_event, wait};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, IRP, KEVENT, KSPIN_LOCK, NTSTATUS, STATUS_NOT_SUPPORTED,
    STATUS_PENDING, STATUS_SUCCESS, STATUS_UNSUCCESSFUL, UNICODE_STRING,
};
use ntmodel::{DriverEntry, Kernel, PowerState, Rule, explore::Scenario};
use steps::{
    FIRST, SECOND, Stage, Steps, complete, end_of, found_in_some_order, holds, lower, mark,
    one_request, own, skip,
};

const CORRECT: u8 = 0;
const FAULTY: u8 = 1;

/// Checks that a scenario breaks a rule, and its correct version none. Returns the code of the bug check, its first parameter, and the
/// description.
#[track_caller]
fn pair(faulty: Scenario, correct: Scenario, rule: Rule) -> (u32, u64, String) {
    let violation = found_in_some_order(faulty);
    assert_eq!(violation.rule, rule, "\n{violation}");
    holds(correct);
    (violation.code, violation.parameters[0], violation.what)
}

/// Serves one request at a time, and starts the next one under its spin lock or after the lock was released.
struct Starts<const M: u8>;

#[derive(Default)]
struct StartsOwn {
    lock: UnsafeCell<KSPIN_LOCK>,
    depth: Cell<u32>,
}

fn set_start_io(device: *mut DEVICE_OBJECT, routine: nt::PDRIVER_STARTIO) {
    // SAFETY: the device object is the driver's, and the model detects the mistakes. The same holds for all calls below.
    let driver = unsafe { (*device).DriverObject };
    nt!(set_start_io(driver, routine));
}

unsafe extern "C" fn keeps(_: *mut DEVICE_OBJECT, _: *mut IRP) {}

/// Ends the current request, and starts the next one.
fn end_current(device: *mut DEVICE_OBJECT, lock: Option<*mut KSPIN_LOCK>) {
    let current = nt!(current_irp(device));
    let irql = nt!(KeRaiseIrqlToDpcLevel());
    if let Some(lock) = lock {
        nt!(KeAcquireSpinLockAtDpcLevel(lock));
    }
    nt!(IoStartNextPacket(device, 0));
    if let Some(lock) = lock {
        nt!(KeReleaseSpinLockFromDpcLevel(lock));
    }
    nt!(KeLowerIrql(irql));
    complete(current, STATUS_SUCCESS);
}

impl<const M: u8> Steps for Starts<M> {
    type Own = StartsOwn;

    fn add(device: *mut DEVICE_OBJECT, own: &StartsOwn) {
        nt!(KeInitializeSpinLock(own.lock.get()));
        set_start_io(device, Some(keeps));
    }

    fn control(device: *mut DEVICE_OBJECT, own: &StartsOwn, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            mark(irp);
            nt!(IoStartPacket(device, irp, null_mut(), None));
            return STATUS_PENDING;
        }
        end_current(device, (M == FAULTY).then_some(own.lock.get()));
        complete(irp, STATUS_SUCCESS)
    }
}

fn starts<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Starts<M>>(kernel);
    let sent = stage.send(FIRST);
    end_of(&stage.send(SECOND));
    end_of(&sent);
    stage.tear_down();
}

/// <https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-spinlocksafe>
#[test]
fn the_next_packet_is_not_started_under_a_spin_lock() {
    let (_, _, what) = pair(starts::<FAULTY>, starts::<CORRECT>, Rule::SpinLockSafe);
    assert!(what.contains("the spin lock"), "{what}");
}

/// A driver whose StartIo ends each request immediately and starts the next one, with `DeferredStartIo` or without.
struct Recurs<const M: u8>;

unsafe extern "C" fn recurs<const M: u8>(device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    let own = own::<Recurs<M>>(device);
    // The first request is kept until the others are on the queue.
    if own.depth.replace(1) == 0 {
        return;
    }
    nt!(IoStartNextPacket(device, 0));
    complete(irp, STATUS_SUCCESS);
}

impl<const M: u8> Steps for Recurs<M> {
    type Own = StartsOwn;

    fn add(device: *mut DEVICE_OBJECT, _: &StartsOwn) {
        set_start_io(device, Some(recurs::<M>));
        nt!(IoSetStartIoAttributes(device, (M == CORRECT).into(), 0));
    }

    fn control(device: *mut DEVICE_OBJECT, _: &StartsOwn, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            mark(irp);
            nt!(IoStartPacket(device, irp, null_mut(), None));
            return STATUS_PENDING;
        }
        end_current(device, None);
        complete(irp, STATUS_SUCCESS)
    }
}

fn many_queued<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Recurs<M>>(kernel);
    let sent: Vec<_> = (0..40).map(|_| stage.send(FIRST)).collect();
    end_of(&stage.send(SECOND));
    for request in &sent {
        end_of(request);
    }
    stage.tear_down();
}

/// <https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-startiorecursion>
#[test]
fn start_io_does_not_recur_for_each_queued_request() {
    let rule = Rule::StartIoRecursion;
    let (_, _, what) = pair(many_queued::<FAULTY>, many_queued::<CORRECT>, rule);
    assert!(what.contains("DeferredStartIo"), "{what}");
}

/// Refuses a query with a status of its own, or that of the operating system.
struct Refuses<const STATUS: i32>;

impl<const STATUS: i32> Steps for Refuses<STATUS> {
    type Own = Cell<u32>;

    fn pass_down(device: *mut DEVICE_OBJECT, own: &Cell<u32>, irp: *mut IRP) -> NTSTATUS {
        let is_pnp = nt!(irp::major_function(irp)) == nt::IRP_MJ_PNP;
        let minor = nt!(irp::minor_function(irp));
        // Once, since the test removes the device.
        if is_pnp && minor == nt::IRP_MN_QUERY_REMOVE_DEVICE && own.replace(1) == 0 {
            return complete(irp, STATUS);
        }
        skip(lower::<Self>(device), irp)
    }
}

fn refused<const STATUS: i32>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Refuses<STATUS>>(kernel);
    assert_eq!(stage.device.pnp(nt::IRP_MN_QUERY_REMOVE_DEVICE), STATUS);
    stage.device.pnp(nt::IRP_MN_CANCEL_REMOVE_DEVICE);
    stage.tear_down();
}

/// <https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-nsremovelockquerymnremove>
#[test]
fn a_query_remove_request_does_not_fail_with_not_supported() {
    let faulty = refused::<STATUS_NOT_SUPPORTED>;
    let found = pair(
        faulty,
        refused::<STATUS_UNSUCCESSFUL>,
        Rule::PnpIrpCompletion,
    );
    assert_eq!((found.0, found.1), (0xc9, 0x22f));
}

/// A driver whose completion routine replaces the status of the bus driver.
struct Replaces<const MAJOR: usize, const STATUS: i32>;

unsafe extern "C" fn replaces<const STATUS: i32>(
    _: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    _: *mut c_void,
) -> NTSTATUS {
    if nt!(irp::pending_returned(irp)) {
        mark(irp);
    }
    nt!(irp::set_status(irp, STATUS));
    STATUS_SUCCESS
}

const IRP_MN_QUERY_POWER: u8 = 3;

impl<const MAJOR: usize, const STATUS: i32> Steps for Replaces<MAJOR, STATUS> {
    type Own = u64;

    fn pass_down(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP) -> NTSTATUS {
        let major = nt!(irp::major_function(irp));
        let minor = nt!(irp::minor_function(irp));
        let is_query = matches!(minor, IRP_MN_QUERY_POWER | nt::IRP_MN_QUERY_CAPABILITIES);
        if major != MAJOR || !is_query {
            return skip(lower::<Self>(device), irp);
        }
        nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
        on_completion(irp, replaces::<STATUS>, null_mut());
        nt!(IofCallDriver(lower::<Self>(device), irp));
        STATUS
    }
}

fn replaced<const MAJOR: usize, const STATUS: i32>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Replaces<MAJOR, STATUS>>(kernel);
    if MAJOR == nt::IRP_MJ_PNP {
        assert_eq!(stage.device.pnp(nt::IRP_MN_QUERY_CAPABILITIES), STATUS);
    } else {
        assert_eq!(stage.device.query_power(PowerState::Device(4)), STATUS);
    }
    stage.tear_down();
}

/// Bug check 0xC9, 0x216 and 0x21A.
#[test]
fn the_status_of_the_bus_driver_does_not_become_not_supported() {
    const NO: i32 = STATUS_NOT_SUPPORTED;
    const FAILS: i32 = STATUS_UNSUCCESSFUL;
    let (faulty, correct) = (
        replaced::<{ nt::IRP_MJ_PNP }, NO>,
        replaced::<{ nt::IRP_MJ_PNP }, FAILS>,
    );
    let found = pair(faulty, correct, Rule::PnpIrpCompletion);
    assert_eq!((found.0, found.1), (0xc9, 0x216));
    let (faulty, correct) = (
        replaced::<{ nt::IRP_MJ_POWER }, NO>,
        replaced::<{ nt::IRP_MJ_POWER }, FAILS>,
    );
    let found = pair(faulty, correct, Rule::PowerDownFail);
    assert_eq!((found.0, found.1), (0xc9, 0x21a));
}

/// `DEVICE_CAPABILITIES`
#[repr(C)]
#[derive(Clone, Copy)]
struct Capabilities {
    size: u16,
    version: u16,
    flags: u32,
    address: u32,
    ui_number: u32,
    others: [u32; 12],
}

/// The structure that a driver sends, as its page requires.
const CAPABILITIES: Capabilities = Capabilities {
    size: 64,
    version: 1,
    flags: 0,
    address: u32::MAX,
    ui_number: u32::MAX,
    others: [0; 12],
};

const NO_VERSION: u8 = 2;
const NO_SIZE: u8 = 3;
const NO_ADDRESS: u8 = 4;
const NO_NUMBER: u8 = 5;
const RESERVED: u8 = 6;

/// Sends a PnP request of its own.
struct Queries<const M: u8>;

impl<const M: u8> Steps for Queries<M> {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let (mut event, mut block) = (KEVENT { Header: [0; 3] }, BLOCK);
        let mut capabilities = CAPABILITIES;
        match M {
            NO_VERSION => capabilities.version = 0,
            NO_SIZE => capabilities.size = 0,
            NO_ADDRESS => capabilities.address = 0,
            NO_NUMBER => capabilities.ui_number = 0,
            _ => {}
        }
        nt!(KeInitializeEvent(&raw mut event, 0, 0));
        let pnp = u32::try_from(nt::IRP_MJ_PNP).expect("it is short");
        let lower = lower::<Self>(device);
        let sent = nt!(IoBuildSynchronousFsdRequest(
            pnp,
            lower,
            null_mut(),
            0,
            null_mut(),
            &raw mut event,
            &raw mut block
        ));
        let next = nt!(IoGetNextIrpStackLocation(sent));
        // SAFETY: the location is the driver's, and starts with the major and the minor function.
        unsafe {
            (*next).MinorFunction = if M == RESERVED {
                nt::IRP_MN_QUERY_REMOVE_DEVICE
            } else {
                nt::IRP_MN_QUERY_CAPABILITIES
            };
        }
        // SAFETY: as above; the parameters of the request are a pointer.
        let parameters = unsafe { &raw mut (*next).Parameters }.cast::<*mut Capabilities>();
        // SAFETY: as above.
        unsafe { parameters.write(&raw mut capabilities) };
        nt!(irp::set_status(sent, STATUS_NOT_SUPPORTED));
        if nt!(IofCallDriver(lower, sent)) == STATUS_PENDING {
            wait(&raw mut event);
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// Bug check 0xC9, 0x233 to 0x236.
#[test]
fn a_driver_initialises_the_capabilities_that_it_queries() {
    holds(one_request::<Queries<CORRECT>>);
    let faulty: [(Scenario, u64); 4] = [
        (one_request::<Queries<NO_VERSION>>, 0x233),
        (one_request::<Queries<NO_SIZE>>, 0x234),
        (one_request::<Queries<NO_ADDRESS>>, 0x235),
        (one_request::<Queries<NO_NUMBER>>, 0x236),
    ];
    for (faulty, code) in faulty {
        let violation = found_in_some_order(faulty);
        broke(&violation, Rule::QueryCapabilities, 0xc9, &[code]);
    }
}

/// Bug check 0xC9, 0x237.
#[test]
fn a_driver_sends_no_request_that_is_reserved_for_the_system() {
    let violation = found_in_some_order(one_request::<Queries<RESERVED>>);
    broke(&violation, Rule::ReservedRequest, 0xc9, &[0x237]);
}

/// Registers its completion routine with its own device object, or with that of the lower driver.
struct Registers<const M: u8>;

unsafe extern "C" fn continue_completion(
    _: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    _: *mut c_void,
) -> NTSTATUS {
    if nt!(irp::pending_returned(irp)) {
        mark(irp);
    }
    STATUS_SUCCESS
}

impl<const M: u8> Steps for Registers<M> {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let lower = lower::<Self>(device);
        let of_routine = if M == FAULTY { lower } else { device };
        nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
        let (routine, context) = (Some(continue_completion as _), null_mut());
        let status = nt!(IoSetCompletionRoutineEx(
            of_routine, irp, routine, context, 1, 1, 1
        ));
        assert_eq!(status, STATUS_SUCCESS);
        nt!(IofCallDriver(lower, irp))
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-iosetcompletionroutineexcheckdeviceobject>
#[test]
fn a_completion_routine_is_registered_with_the_drivers_own_device_object() {
    let (faulty, correct) = (
        one_request::<Registers<FAULTY>>,
        one_request::<Registers<CORRECT>>,
    );
    pair(
        faulty,
        correct,
        Rule::IoSetCompletionRoutineExCheckDeviceObject,
    );
}

/// Waits for a request of its own by the event that the I/O manager sets, and sets it in a completion routine too.
struct Sets<const M: u8>;

unsafe extern "C" fn sets(_: *mut DEVICE_OBJECT, _: *mut IRP, event: *mut c_void) -> NTSTATUS {
    nt!(KeSetEvent(event.cast(), 0, 0));
    STATUS_SUCCESS
}

impl<const M: u8> Steps for Sets<M> {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == SECOND {
            return complete(irp, STATUS_SUCCESS);
        }
        let (mut event, mut block) = (KEVENT { Header: [0; 3] }, BLOCK);
        let event = &raw mut event;
        nt!(KeInitializeEvent(event, 0, 0));
        let sent = build_io_control(SECOND, device, event, &raw mut block);
        let routine = if M == FAULTY { sets } else { sets_event };
        on_completion(sent, routine, event.cast());
        nt!(IofCallDriver(device, sent));
        wait(event);
        if M == CORRECT {
            // The routine has kept the request, which the I/O manager ends now.
            nt!(KeClearEvent(event));
            nt!(IofCompleteRequest(sent, 0));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-iobuilddeviceiocontrolsetevent>
#[test]
fn the_event_of_a_request_is_set_by_the_io_manager_alone() {
    let (faulty, correct) = (one_request::<Sets<FAULTY>>, one_request::<Sets<CORRECT>>);
    pair(faulty, correct, Rule::IoBuildDeviceIoControlSetEvent);
}

/// Passes down the requests of WMI, or has no routine for them.
struct Provides;

impl Steps for Provides {
    type Own = u64;
}

unsafe extern "C" fn pass_down(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    skip(lower::<Provides>(device), irp)
}

unsafe extern "C" fn passes_wmi_down(
    driver: *mut DRIVER_OBJECT,
    path: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the I/O manager passes the driver object.
    unsafe { (*driver).MajorFunction[nt::IRP_MJ_SYSTEM_CONTROL] = Some(pass_down) };
    // SAFETY: as above.
    unsafe { steps::entry::<Provides>(driver, path) }
}

fn queried_for_data(kernel: &Arc<Kernel>, entry: DriverEntry) {
    const IRP_MN_QUERY_ALL_DATA: u8 = 0;
    let stage = Stage::stack(kernel, entry, &[]);
    let status = stage.device.system_control(IRP_MN_QUERY_ALL_DATA);
    assert_eq!(status, STATUS_NOT_SUPPORTED);
    stage.tear_down();
}

/// <https://learn.microsoft.com/windows-hardware/drivers/devtest/wdm-wmiforward>
#[test]
fn a_wmi_request_is_passed_down() {
    let faulty: Scenario = |kernel| queried_for_data(kernel, steps::entry::<Provides>);
    let correct: Scenario = |kernel| queried_for_data(kernel, passes_wmi_down);
    let found = pair(faulty, correct, Rule::WmiForward);
    assert_eq!((found.0, found.1), (0xc9, 0x220));
}

/// Reads its stack location, or a pointer in the request, after it has completed it.
struct ReadsCompleted<const M: u8>;

const READS_LOCATION: u8 = 1;
const READS_BUFFER: u8 = 2;
const READS_FILE: u8 = 3;

impl<const M: u8> Steps for ReadsCompleted<M> {
    type Own = Cell<u32>;

    fn control(_: *mut DEVICE_OBJECT, own: &Cell<u32>, irp: *mut IRP, code: u32) -> NTSTATUS {
        if M == CORRECT {
            own.set(code);
            return complete(irp, STATUS_SUCCESS);
        }
        complete(irp, STATUS_SUCCESS);
        match M {
            READS_LOCATION => own.set(nt!(irp::io_control(irp)).code),
            READS_BUFFER => {
                let buffer = nt!(irp::system_buffer(irp));
                // SAFETY: the model detects the mistake.
                own.set(unsafe { buffer.read() }.into());
            }
            _ => {
                let file = nt!(irp::file_object(irp));
                // SAFETY: as above.
                own.set(u32::from(unsafe { (*file).Type }.cast_unsigned()));
            }
        }
        STATUS_SUCCESS
    }
}

fn reads<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<ReadsCompleted<M>>(kernel);
    end_of(&stage.file.device_control(FIRST, b"abcd", vec![0; 4]));
    stage.tear_down();
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_request_is_not_read_after_its_completion() {
    holds(reads::<CORRECT>);
    let faulty: [Scenario; 3] = [
        reads::<READS_LOCATION>,
        reads::<READS_BUFFER>,
        reads::<READS_FILE>,
    ];
    for faulty in faulty {
        let violation = found_in_some_order(faulty);
        assert_eq!(violation.rule, Rule::FreedMemory, "\n{violation}");
    }
}
