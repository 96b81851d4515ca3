//! A driver that handles PnP requests as documented passes; each deviation is found by its rule, with Driver Verifier's bug
//! check if it has one.

#[macro_use]
mod call;
mod common;

use std::{
    cell::Cell,
    ptr::{addr_of_mut, null_mut},
    sync::Arc,
};

use call::{acquire_remove_lock, broke, create_device, on_completion, sets_event, wait};
use common::{NO_CODE, event, found_in, initialise};
use nt::{
    DEVICE_OBJECT, DO_BUFFERED_IO, DO_DIRECT_IO, DO_POWER_PAGABLE, DRIVER_OBJECT, IO_REMOVE_LOCK,
    IRP, IRP_MN_CANCEL_REMOVE_DEVICE, IRP_MN_CANCEL_STOP_DEVICE, IRP_MN_QUERY_CAPABILITIES,
    IRP_MN_REMOVE_DEVICE, IRP_MN_START_DEVICE, IRP_MN_STOP_DEVICE, IRP_MN_SURPRISE_REMOVAL, KEVENT,
    NTSTATUS, STATUS_PENDING, STATUS_SUCCESS, STATUS_UNSUCCESSFUL, UNICODE_STRING,
};
use ntmodel::{
    BusAnswer, Config, Driver, Kernel, Rule,
    explore::{Search, explore},
};

const LOCK_SIZE: u32 = 32;

/// The mistake of the driver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// A request of this minor function is failed.
    Fails(u8),
    /// A request of this minor function is completed with success, and not passed on.
    NotPassed(u8),
    /// A request of this minor function is completed unchanged.
    Untouched(u8),
    /// These flags are set, or cleared, in the device object.
    Sets(u32),
    Clears(u32),
    DetachesInSurprise,
    DeletesInSurprise,
    DetachesFirst,
    DeletesFirst,
    WaitsForLockFirst,
    DetachesBeforeWait,
    WaitsForLockInSurprise,
    LockAgain,
    AttachesFirst,
    CompletesWhatPends,
    SendsToDeleted,
    SendsToNull,
    SendsToNothing,
}

thread_local! {
    static MISTAKE: Cell<Mistake> = const { Cell::new(Mistake::None) };
}

fn makes(mistake: Mistake) -> bool {
    MISTAKE.get() == mistake
}

#[repr(C)]
struct Extension {
    lower: *mut DEVICE_OBJECT,
    remove_lock: IO_REMOVE_LOCK,
}

fn extension<'a>(device: *mut DEVICE_OBJECT) -> &'a mut Extension {
    // SAFETY: the device object is alive.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: `add_device` has made an extension of this size, and PnP requests are sent one at a time.
    unsafe { &mut *extension.cast() }
}

unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the I/O manager gives the driver object, which is this routine's to fill in.
    let driver = unsafe { &mut *driver };
    driver.DriverUnload = Some(unload);
    driver.MajorFunction[nt::IRP_MJ_PNP] = Some(pnp);
    // SAFETY: the driver object has an extension.
    unsafe { (*driver.DriverExtension).AddDevice = Some(add_device) };
    STATUS_SUCCESS
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {}

fn initialise_lock(extension: &mut Extension) {
    let lock = &raw mut extension.remove_lock;
    nt!(IoInitializeRemoveLockEx(lock, 0, 0, 0, LOCK_SIZE));
}

unsafe extern "C" fn add_device(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    let device = create_device(driver, 64);
    let extension = extension(device);
    if !makes(Mistake::AttachesFirst) {
        initialise_lock(extension);
    }
    extension.lower = nt!(IoAttachDeviceToDeviceStack(device, pdo));
    nt!(KeQueryPerformanceCounter(null_mut()));
    if makes(Mistake::AttachesFirst) {
        initialise_lock(extension);
    }
    // SAFETY: the lower device object is alive; the addresses alone are computed.
    let lower_flags = unsafe { (*extension.lower).Flags };
    // SAFETY: as above.
    let flags = unsafe { addr_of_mut!((*device).Flags) };
    // SAFETY: as above, for every line below.
    unsafe { *flags |= lower_flags & DO_POWER_PAGABLE };
    if let Mistake::Sets(wrong) = MISTAKE.get() {
        // SAFETY: as above.
        unsafe { *flags |= wrong };
    }
    if let Mistake::Clears(wrong) = MISTAKE.get() {
        // SAFETY: as above.
        unsafe { *flags &= !wrong };
    }
    // SAFETY: as above.
    unsafe { *flags &= !nt::DO_DEVICE_INITIALIZING };
    STATUS_SUCCESS
}

fn complete(irp: *mut IRP, status: NTSTATUS) -> NTSTATUS {
    nt!(irp::set_status(irp, status));
    nt!(IofCompleteRequest(irp, nt::IO_NO_INCREMENT));
    status
}

/// Passes a request on, waits until the lower drivers have completed it, and returns the status.
fn pass_and_wait(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let mut done = event();
    let done: *mut KEVENT = &raw mut done;
    initialise(done);
    nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
    on_completion(irp, sets_event, done.cast());
    let status = nt!(IofCallDriver(lower, irp));
    if status == STATUS_PENDING {
        wait(done);
    }
    nt!(irp::status(irp))
}

fn skip(lower: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    nt!(irp::IoSkipCurrentIrpStackLocation(irp));
    nt!(IofCallDriver(lower, irp))
}

unsafe extern "C" fn pnp(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let extension = extension(device);
    let (lower, lock) = (extension.lower, &raw mut extension.remove_lock);
    let acquired = acquire_remove_lock(lock, irp.cast(), LOCK_SIZE);
    assert_eq!(acquired, STATUS_SUCCESS);
    let minor = nt!(irp::minor_function(irp));
    if minor == IRP_MN_REMOVE_DEVICE {
        return remove(device, irp);
    }
    let release = || {
        nt!(IoReleaseRemoveLockEx(lock, irp.cast(), LOCK_SIZE));
    };
    let status = match MISTAKE.get() {
        Mistake::Fails(wrong) if wrong == minor => complete(irp, STATUS_UNSUCCESSFUL),
        Mistake::NotPassed(wrong) if wrong == minor => complete(irp, STATUS_SUCCESS),
        Mistake::Untouched(wrong) if wrong == minor => complete(irp, nt!(irp::status(irp))),
        wrong if minor == IRP_MN_QUERY_CAPABILITIES => send_anywhere(wrong, device, irp),
        wrong if minor == IRP_MN_SURPRISE_REMOVAL => {
            match wrong {
                Mistake::DetachesInSurprise => nt!(IoDetachDevice(lower)),
                Mistake::DeletesInSurprise => nt!(IoDeleteDevice(device)),
                Mistake::WaitsForLockInSurprise => {
                    nt!(IoReleaseRemoveLockAndWaitEx(lock, irp.cast(), LOCK_SIZE));
                }
                _ => {}
            }
            skip(lower, irp)
        }
        wrong if matches!(minor, IRP_MN_START_DEVICE | IRP_MN_CANCEL_REMOVE_DEVICE) => {
            if wrong == Mistake::LockAgain {
                initialise_lock(extension);
            }
            if wrong == Mistake::CompletesWhatPends {
                let status = skip(lower, irp);
                complete(irp, STATUS_SUCCESS);
                status
            } else {
                let status = pass_and_wait(lower, irp);
                complete(irp, status)
            }
        }
        _ => skip(lower, irp),
    };
    release();
    status
}

/// Sends a request to a pointer that is not a device object.
fn send_anywhere(mistake: Mistake, device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    match mistake {
        Mistake::SendsToDeleted => {
            // SAFETY: the device object is alive.
            let deleted = create_device(unsafe { (*device).DriverObject }, 64);
            nt!(IoDeleteDevice(deleted));
            skip(deleted, irp)
        }
        Mistake::SendsToNull => skip(null_mut(), irp),
        Mistake::SendsToNothing => skip(extension(device).lower.wrapping_add(1), irp),
        _ => skip(extension(device).lower, irp),
    }
}

fn remove(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let extension = extension(device);
    let (lower, lock) = (extension.lower, &raw mut extension.remove_lock);
    let wait = || nt!(IoReleaseRemoveLockAndWaitEx(lock, irp.cast(), LOCK_SIZE));
    let detach = || nt!(IoDetachDevice(lower));
    let delete = || nt!(IoDeleteDevice(device));
    match MISTAKE.get() {
        Mistake::DetachesFirst => detach(),
        Mistake::DeletesFirst => delete(),
        Mistake::WaitsForLockFirst => wait(),
        _ => {}
    }
    let status = match MISTAKE.get() {
        Mistake::Fails(IRP_MN_REMOVE_DEVICE) => {
            pass_and_wait(lower, irp);
            complete(irp, STATUS_UNSUCCESSFUL)
        }
        _ => skip(lower, irp),
    };
    if makes(Mistake::DetachesBeforeWait) {
        detach();
    }
    if !makes(Mistake::WaitsForLockFirst) {
        wait();
    }
    detach();
    delete();
    status
}

/// The bus driver's handling of a minor function.
type Bus = [(u8, BusAnswer)];

/// The lifetime of a device: every request that the PnP manager sends, then an orderly or a surprise removal.
fn live(kernel: &Arc<Kernel>, flags: u32, bus: &Bus, surprise: bool) {
    // SAFETY: the entry point is that of a driver on `nt`, whose mistakes the model detects.
    let driver = unsafe { Driver::load(kernel, entry) }.expect("DriverEntry");
    let device = driver.add_device_with(flags).expect("AddDevice");
    for (minor, answer) in bus {
        device.bus_answers(*minor, *answer);
    }
    if device.start().is_err() {
        return driver.unload();
    }
    device.pnp(IRP_MN_QUERY_CAPABILITIES);
    device.pnp(nt::IRP_MN_QUERY_STOP_DEVICE);
    device.pnp(IRP_MN_CANCEL_STOP_DEVICE);
    device.pnp(nt::IRP_MN_QUERY_STOP_DEVICE);
    device.pnp(IRP_MN_STOP_DEVICE);
    device.start().expect("the device starts again");
    device.pnp(nt::IRP_MN_QUERY_REMOVE_DEVICE);
    device.pnp(IRP_MN_CANCEL_REMOVE_DEVICE);
    if surprise {
        device.surprise_remove();
    } else if device.remove().is_err() {
        device.pnp(IRP_MN_REMOVE_DEVICE);
    }
    assert!(device.is_removed());
    driver.unload();
}

/// Every minor function that `live` sends.
const ALL: [u8; 8] = [
    IRP_MN_START_DEVICE,
    IRP_MN_QUERY_CAPABILITIES,
    nt::IRP_MN_QUERY_STOP_DEVICE,
    IRP_MN_CANCEL_STOP_DEVICE,
    IRP_MN_STOP_DEVICE,
    nt::IRP_MN_QUERY_REMOVE_DEVICE,
    IRP_MN_CANCEL_REMOVE_DEVICE,
    IRP_MN_REMOVE_DEVICE,
];

#[test]
fn driver_without_a_mistake_breaks_no_rule() {
    let kernel = Kernel::new(Config::default());
    for flags in [0, DO_POWER_PAGABLE] {
        for surprise in [false, true] {
            live(&kernel, flags, &[], surprise);
        }
    }
    let fails = BusAnswer::Fail(STATUS_UNSUCCESSFUL);
    for minor in [IRP_MN_START_DEVICE, nt::IRP_MN_QUERY_REMOVE_DEVICE] {
        live(&kernel, 0, &[(minor, fails)], false);
    }
    let pends = ALL.map(|minor| (minor, BusAnswer::Pend));
    live(&kernel, 0, &pends, false);
    live(&kernel, 0, &pends, true);
    assert!(kernel.violation().is_none());
}

#[test]
fn driver_without_a_mistake_breaks_no_rule_in_any_order_of_driver_and_bus() {
    let pends = |kernel: &Arc<Kernel>| {
        let bus = [IRP_MN_START_DEVICE, IRP_MN_REMOVE_DEVICE].map(|minor| (minor, BusAnswer::Pend));
        live(kernel, 0, &bus, false);
    };
    let explored = explore(Search::every(100_000), pends);
    let explored = explored.unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete, "{explored:?}");
}

/// Checks the violation of a mistake: the rule, the bug check and its first parameter.
fn stops(mistake: Mistake, rule: Rule, code: u32, first: u64) {
    stops_on(mistake, 0, &[], rule, code, first);
}

fn stops_on(mistake: Mistake, flags: u32, bus: &'static Bus, rule: Rule, code: u32, first: u64) {
    let surprise = matches!(
        mistake,
        Mistake::DetachesInSurprise
            | Mistake::DeletesInSurprise
            | Mistake::WaitsForLockInSurprise
            | Mistake::Fails(IRP_MN_SURPRISE_REMOVAL)
    );
    let violation = found_in(move |kernel| {
        MISTAKE.set(mistake);
        live(kernel, flags, bus, surprise);
    });
    broke(&violation, rule, code, &[first]);
}

#[test]
fn request_that_must_not_fail_is_failed() {
    for minor in [
        IRP_MN_CANCEL_REMOVE_DEVICE,
        IRP_MN_SURPRISE_REMOVAL,
        IRP_MN_REMOVE_DEVICE,
        IRP_MN_CANCEL_STOP_DEVICE,
        IRP_MN_STOP_DEVICE,
    ] {
        stops(Mistake::Fails(minor), Rule::PnpRemove, 0xc9, 0x247);
    }
}

#[test]
fn a_request_is_completed_and_not_passed_on() {
    let rule = Rule::PnpIrpCompletion;
    stops(Mistake::NotPassed(IRP_MN_START_DEVICE), rule, 0xc9, 0x22e);
    let untouched = Mistake::Untouched(IRP_MN_QUERY_CAPABILITIES);
    stops(untouched, rule, 0xc9, 0x22f);
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/setting-device-object-flags-for-power-management>: the device objects
/// of a stack need not have the same flags for power management.
#[test]
fn a_driver_that_can_be_paged_sets_its_flag_above_a_device_object_without_it() {
    let kernel = Kernel::new(Config::default());
    MISTAKE.set(Mistake::Sets(DO_POWER_PAGABLE));
    live(&kernel, 0, &[], false);
}

#[test]
fn the_flags_are_not_those_of_the_lower_device_object() {
    let (rule, code) = (Rule::DeviceFlags, 0x23f);
    let lost = Mistake::Clears(DO_POWER_PAGABLE);
    stops_on(lost, DO_POWER_PAGABLE, &[], rule, 0xc9, code);
    let both = Mistake::Sets(DO_BUFFERED_IO | DO_DIRECT_IO);
    stops(both, rule, 0xc9, 0x245);
}

#[test]
fn surprise_removal_that_deletes_the_device_object_is_found() {
    let rule = Rule::PnpSurpriseRemove;
    stops(Mistake::DetachesInSurprise, rule, 0xc9, 0x241);
    stops(Mistake::DeletesInSurprise, rule, 0xc9, 0x242);
}

#[test]
fn device_object_is_deleted_before_the_removal_was_passed_on() {
    stops(Mistake::DetachesFirst, Rule::DeviceRemoval, NO_CODE, 0);
    stops(Mistake::DeletesFirst, Rule::DeleteDevice, NO_CODE, 0);
}

#[test]
fn the_remove_lock_is_waited_for_in_the_wrong_order() {
    let rule = Rule::RemoveLockMnRemove;
    stops(Mistake::DetachesBeforeWait, rule, NO_CODE, 0);
    let rule = Rule::IoReleaseRemoveLockAndWaitOutsideRemoveDevice;
    stops(Mistake::WaitsForLockInSurprise, rule, NO_CODE, 0);
}

#[test]
fn the_remove_lock_is_initialised_again() {
    stops(Mistake::LockAgain, Rule::RemoveLock, 0xc4, 0xd7);
}

fn completes_the_pending_request(kernel: &Arc<Kernel>) {
    // All threads of an exploration run in one host thread.
    MISTAKE.set(Mistake::CompletesWhatPends);
    live(kernel, 0, &[(IRP_MN_START_DEVICE, BusAnswer::Pend)], false);
}

#[test]
fn request_pended_by_the_bus_driver_is_completed_by_the_driver() {
    let found = explore(Search::every(1_000), completes_the_pending_request);
    let violation = found.expect_err("a rule is broken").violation;
    broke(&violation, Rule::PassedIrp, 0xc9, &[0x209]);
}

#[test]
fn a_request_is_sent_to_no_device_object() {
    let rule = Rule::Pointer;
    let deleted = found_in(|kernel| {
        MISTAKE.set(Mistake::SendsToDeleted);
        live(kernel, 0, &[], false);
    });
    broke(&deleted, rule, 0x50, &[]);
    stops(Mistake::SendsToNull, rule, 0xc9, 0x204);
    stops(Mistake::SendsToNothing, rule, 0xc9, 4);
}

/// A device that receives a request while AddDevice runs.
fn probed(kernel: &Arc<Kernel>) {
    // SAFETY: as in `live`.
    let driver = unsafe { Driver::load(kernel, entry) }.expect("DriverEntry");
    let device = driver.add_device_probed(IRP_MN_QUERY_CAPABILITIES);
    let device = device.expect("AddDevice");
    device.start().expect("the device starts");
    device.remove().expect("no file is open");
    driver.unload();
}

#[test]
fn a_request_arrives_while_add_device_runs() {
    let kernel = Kernel::new(Config::default());
    probed(&kernel);
    let violation = found_in(|kernel| {
        MISTAKE.set(Mistake::AttachesFirst);
        probed(kernel);
    });
    broke(&violation, Rule::RemoveLock, NO_CODE, &[]);
    assert_eq!(violation.routine, "IoAcquireRemoveLock");
}
