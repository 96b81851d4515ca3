//! Finds mistakes of a driver with power requests.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    cell::Cell,
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicPtr, Ordering::SeqCst},
    },
};

use call::broke;
use common::{NO_CODE, found_in};
use nt::{DEVICE_OBJECT, IO_STATUS_BLOCK, IRP, NTSTATUS, STATUS_SUCCESS};
use ntmodel::{Config, Driver, Kernel, PowerState, Rule};
use steps::{Steps, complete, entry, lower, skip};

/// The driver's handling of a power request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handling {
    Passes,
    /// Completes it with this status.
    Completes(NTSTATUS),
    /// Requests this state of the device when a request for a state of the system has returned from the lower drivers, and completes that
    /// request when the device has the state.
    Requests(i32),
    /// Calls `PoSetPowerState` with this type and state at this IRQL, and passes the request down.
    Reports(i32, i32, u8),
    /// Requests `IRP_MN_WAIT_WAKE` when the state is set, and cancels it before the removal if the bus driver keeps it.
    WaitsForWake {
        is_kept: bool,
    },
}

thread_local! {
    static HANDLING: Cell<Handling> = const { Cell::new(Handling::Passes) };
}

struct Power;

impl Steps for Power {
    type Own = ();

    fn control(_: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        complete(irp, STATUS_SUCCESS)
    }

    fn pass_down(device: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP) -> NTSTATUS {
        let is_power = nt!(irp::major_function(irp)) == nt::IRP_MJ_POWER;
        match HANDLING.get() {
            Handling::Completes(status) if is_power => return complete(irp, status),
            Handling::Requests(state) if is_power => {
                let power = nt!(irp::power(irp));
                if power.kind == 0 {
                    return request(device, lower::<Self>(device), irp, state);
                }
            }
            Handling::WaitsForWake { is_kept } => {
                // SAFETY: as above.
                match unsafe { nt::irp::minor_function(irp) } {
                    nt::IRP_MN_SET_POWER if is_power => wait_for_wake(lower::<Self>(device)),
                    nt::IRP_MN_QUERY_REMOVE_DEVICE if !is_power && is_kept => {
                        // SAFETY: the request has not ended.
                        unsafe { nt::IoCancelIrp(WAKE.swap(null_mut(), SeqCst)) };
                        wait_until_woken();
                    }
                    _ => {}
                }
            }
            Handling::Reports(kind, state, irql) if is_power => {
                let old = nt!(KfRaiseIrql(irql));
                nt!(PoSetPowerState(device, kind, state));
                nt!(KeLowerIrql(old));
            }
            _ => {}
        }
        skip(lower::<Self>(device), irp)
    }
}

/// The `IRP_MN_WAIT_WAKE`, and the status that it has ended with.
static WAKE: AtomicPtr<IRP> = AtomicPtr::new(null_mut());
static WOKEN: AtomicI32 = AtomicI32::new(0);

fn wait_for_wake(pdo: *mut DEVICE_OBJECT) {
    let mut irp = null_mut();
    let (context, minor) = (null_mut(), 0);
    // SAFETY: the device object is alive, and the pointer is this function's.
    let status =
        unsafe { nt::PoRequestPowerIrp(pdo, minor, 4, Some(woken), context, &raw mut irp) };
    assert_eq!(status, nt::STATUS_PENDING);
    WAKE.store(irp, SeqCst);
}

fn wait_until_woken() {
    while WOKEN.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
}

unsafe extern "C" fn woken(
    _: *mut DEVICE_OBJECT,
    minor: u8,
    _: i32,
    _: *mut c_void,
    block: *mut IO_STATUS_BLOCK,
) {
    assert_eq!(minor, 0);
    // SAFETY: the power manager passes the status block.
    WOKEN.store(unsafe { (*block).Status }, SeqCst);
}

thread_local! {
    /// The state that the completion routine requests.
    static WANTED: Cell<i32> = const { Cell::new(0) };
}

/// Passes a request for a state of the system down, pended until the device has the state that belongs to it.
fn request(
    device: *mut DEVICE_OBJECT,
    lower: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    state: i32,
) -> NTSTATUS {
    WANTED.set(state);
    steps::mark(irp);
    nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
    // SAFETY: the IRP is this routine's.
    unsafe {
        nt::irp::IoSetCompletionRoutine(irp, Some(returned), device.cast(), true, true, true);
    }
    nt!(PoCallDriver(lower, irp));
    nt::STATUS_PENDING
}

unsafe extern "C" fn returned(
    _: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    device: *mut c_void,
) -> NTSTATUS {
    let (minor, state) = (nt::IRP_MN_SET_POWER, WANTED.get());
    let status = nt!(PoRequestPowerIrp(
        device.cast(),
        minor,
        state,
        Some(has_state),
        irp.cast(),
        null_mut(),
    ));
    assert_eq!(status, nt::STATUS_PENDING);
    nt::STATUS_MORE_PROCESSING_REQUIRED
}

unsafe extern "C" fn has_state(
    _: *mut DEVICE_OBJECT,
    minor: u8,
    _: i32,
    irp: *mut c_void,
    block: *mut IO_STATUS_BLOCK,
) {
    assert_eq!(minor, nt::IRP_MN_SET_POWER);
    // SAFETY: the power manager passes the status block.
    let status = unsafe { (*block).Status };
    complete(irp.cast(), status);
}

const S3: PowerState = PowerState::System(4);
const D0: PowerState = PowerState::Device(1);
const D3: PowerState = PowerState::Device(4);

/// The lifetime of a driver, with one request for a state.
fn live(kernel: &Arc<Kernel>, handling: Handling, query: bool, state: PowerState) -> NTSTATUS {
    // SAFETY: the entry point is that of a driver on `nt`, whose mistakes the model detects.
    let driver = unsafe { Driver::load(kernel, entry::<Power>) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    HANDLING.set(handling);
    let status = if query {
        device.query_power(state)
    } else {
        device.set_power(state)
    };
    device.remove().expect("no file is open");
    driver.unload();
    status
}

fn stops(handling: Handling, query: bool, state: PowerState, rule: Rule, code: u32) {
    let violation = found_in(move |kernel| {
        live(kernel, handling, query, state);
    });
    broke(&violation, rule, code, &[]);
}

#[test]
fn driver_without_a_mistake_breaks_no_rule() {
    let kernel = Kernel::new(Config::default());
    for (handling, query, state, status) in [
        (Handling::Passes, false, D3, STATUS_SUCCESS),
        (Handling::Passes, true, D3, STATUS_SUCCESS),
        (Handling::Reports(1, 1, 2), false, D0, STATUS_SUCCESS),
        (Handling::Reports(1, 4, 1), false, D3, STATUS_SUCCESS),
        // A query can be refused.
        (
            Handling::Completes(nt::STATUS_UNSUCCESSFUL),
            true,
            D3,
            nt::STATUS_UNSUCCESSFUL,
        ),
        (
            Handling::Completes(nt::STATUS_DELETE_PENDING),
            false,
            D3,
            nt::STATUS_DELETE_PENDING,
        ),
    ] {
        assert_eq!(live(&kernel, handling, query, state), status);
    }
    assert!(kernel.violation().is_none());
}

#[test]
fn a_state_of_the_device_follows_one_of_the_system() {
    let kernel = Kernel::new(Config::default());
    let status = live(&kernel, Handling::Requests(4), false, S3);
    assert_eq!(status, STATUS_SUCCESS);
    assert!(kernel.violation().is_none());
    steps::holds(|kernel| {
        live(kernel, Handling::Requests(4), false, S3);
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-wait-wake>
#[test]
fn a_driver_waits_for_a_wake_signal() {
    let kernel = Kernel::new(Config::default());
    for (is_kept, expected) in [
        (false, nt::STATUS_NOT_SUPPORTED),
        (true, nt::STATUS_CANCELLED),
    ] {
        // SAFETY: the entry point is that of a driver on `nt`.
        let driver = unsafe { Driver::load(&kernel, entry::<Power>) }.expect("DriverEntry");
        let device = driver.add_device().expect("AddDevice");
        if is_kept {
            device.bus_answers_power(0, ntmodel::BusAnswer::Pend);
        }
        device.start().expect("the device starts");
        HANDLING.set(Handling::WaitsForWake { is_kept });
        WOKEN.store(0, SeqCst);
        assert_eq!(device.set_power(D0), STATUS_SUCCESS);
        if !is_kept {
            wait_until_woken();
        }
        device.remove().expect("no file is open");
        driver.unload();
        assert_eq!(WOKEN.load(SeqCst), expected);
    }
    assert!(kernel.violation().is_none());
}

#[test]
fn a_state_of_the_system_is_requested() {
    let violation = found_in(|kernel| {
        live(kernel, Handling::Requests(5), false, S3);
    });
    assert_eq!(violation.rule, Rule::PowerState, "{violation}");
    assert_eq!(violation.routine, "PoRequestPowerIrp", "{violation}");
}

#[test]
fn power_state_is_refused() {
    let fails = Handling::Completes(nt::STATUS_UNSUCCESSFUL);
    stops(fails, false, D0, Rule::PowerUpFail, NO_CODE);
    stops(fails, false, D3, Rule::PowerDownFail, NO_CODE);
}

#[test]
fn power_request_is_completed_and_not_passed_on() {
    let completes = Handling::Completes(STATUS_SUCCESS);
    stops(completes, false, D0, Rule::PowerUpFail, NO_CODE);
    stops(completes, false, D3, Rule::PowerDownFail, NO_CODE);
    stops(completes, true, D3, Rule::PowerDownFail, NO_CODE);
}

#[test]
fn report_to_the_power_manager_at_dispatch_level() {
    stops(Handling::Reports(1, 4, 2), false, D3, Rule::Irql, 0xc4);
}

#[test]
fn report_to_the_power_manager_is_not_a_device_state() {
    for (kind, state) in [(0, 4), (1, 0), (1, 5)] {
        let body = Handling::Reports(kind, state, 0);
        stops(body, false, D3, Rule::PowerState, NO_CODE);
    }
}
