//! What a driver may get wrong with power requests is found.

mod common;
mod steps;

use std::{
    cell::Cell,
    ffi::c_void,
    ptr::null_mut,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use common::{NO_CODE, found_in};
use nt::{DEVICE_OBJECT, IRP, NTSTATUS, STATUS_SUCCESS};
use ntmodel::{BusAnswer, Config, Driver, Kernel, PowerState, Rule};
use steps::{Steps, complete, entry, lower, skip};

/// What the driver does with a power request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handling {
    Passes,
    /// Completes it with this status.
    Completes(NTSTATUS),
    /// Calls `PoSetPowerState` with this type and state at this IRQL, and passes it down.
    Tells(i32, i32, u8),
    /// Calls `PoRequestPowerIrp` with this minor function and state when it gets a request for the system, and passes that down.
    Requests(u8, i32),
}

thread_local! {
    static HANDLING: Cell<Handling> = const { Cell::new(Handling::Passes) };
    /// What `PoRequestPowerIrp` has returned.
    static SENT: Cell<NTSTATUS> = const { Cell::new(0) };
}

struct Power;

impl Steps for Power {
    type Own = ();

    fn control(_: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP, _: u32) -> NTSTATUS {
        complete(irp, STATUS_SUCCESS)
    }

    fn pass_down(device: *mut DEVICE_OBJECT, (): &(), irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the IRP is this routine's.
        let is_power = unsafe { nt::irp::major_function(irp) } == nt::IRP_MJ_POWER;
        // SAFETY: as above. What another request has in this place is not used.
        let is_of_system = is_power && unsafe { nt::irp::power(irp) }.kind == 0;
        match HANDLING.get() {
            Handling::Completes(status) if is_power => return complete(irp, status),
            Handling::Tells(kind, state, irql) if is_power => {
                // SAFETY: the IRQL is raised.
                let old = unsafe { nt::KfRaiseIrql(irql) };
                // SAFETY: whether this may be done is what is tested.
                unsafe { nt::PoSetPowerState(device, kind, state) };
                // SAFETY: the IRQL was raised from there.
                unsafe { nt::KeLowerIrql(old) };
            }
            Handling::Requests(minor, state) if is_of_system => {
                let routine = Some(ended as Ended);
                // SAFETY: whether this may be done is what is tested.
                let sent = unsafe {
                    nt::PoRequestPowerIrp(device, minor, state, routine, null_mut(), null_mut())
                };
                SENT.set(sent);
            }
            _ => {}
        }
        skip(lower::<Self>(device), irp)
    }
}

type Ended =
    unsafe extern "C" fn(*mut DEVICE_OBJECT, u8, i32, *mut c_void, *mut nt::IO_STATUS_BLOCK);

/// The request of `PoRequestPowerIrp` that has ended last. One test alone makes such.
static ENDED: Mutex<Option<(u8, i32, NTSTATUS)>> = Mutex::new(None);

unsafe extern "C" fn ended(
    _: *mut DEVICE_OBJECT,
    minor: u8,
    state: i32,
    _: *mut c_void,
    block: *mut nt::IO_STATUS_BLOCK,
) {
    // SAFETY: the model passes a status block, which begins with the status.
    let status = unsafe { block.cast::<NTSTATUS>().read() };
    *ENDED.lock().expect("no test panics") = Some((minor, state, status));
}

const S0: PowerState = PowerState::System(1);
const D0: PowerState = PowerState::Device(1);
const D3: PowerState = PowerState::Device(4);

/// A driver's whole life, with one request for a state.
fn live(kernel: &Arc<Kernel>, handling: Handling, query: bool, state: PowerState) -> NTSTATUS {
    // SAFETY: the entry point is that of a driver on `nt`; the mistakes are the model's to find.
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
    assert_eq!(
        (violation.rule, violation.code),
        (rule, code),
        "\n{violation}"
    );
}

#[test]
fn by_the_book_nothing_is_found() {
    let kernel = Kernel::new(Config::default());
    for (handling, query, state, status) in [
        (Handling::Passes, false, D3, STATUS_SUCCESS),
        (Handling::Passes, true, D3, STATUS_SUCCESS),
        (Handling::Tells(1, 1, 2), false, D0, STATUS_SUCCESS),
        (Handling::Tells(1, 4, 1), false, D3, STATUS_SUCCESS),
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
fn power_manager_is_told_at_dispatch_level() {
    stops(Handling::Tells(1, 4, 2), false, D3, Rule::Irql, 0xc4);
}

#[test]
fn power_manager_is_told_no_state_of_a_device() {
    for (kind, state) in [(0, 4), (1, 0), (1, 5)] {
        stops(
            Handling::Tells(kind, state, 0),
            false,
            D3,
            Rule::PowerState,
            NO_CODE,
        );
    }
}

#[test]
fn requested_states_are_sent_to_the_stack_and_their_end_is_told() {
    let kernel = Kernel::new(Config::default());
    // IRP_MN_POWER_SEQUENCE cannot be requested.
    assert_eq!(live(&kernel, Handling::Requests(1, 4), false, S0), 0);
    assert_eq!(SENT.get(), nt::STATUS_INVALID_PARAMETER_2);

    // SAFETY: as in `live`.
    let driver = unsafe { Driver::load(&kernel, entry::<Power>) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    for (minor, state) in [(nt::IRP_MN_SET_POWER, 4), (nt::IRP_MN_QUERY_POWER, 1)] {
        for (answer, status) in [
            (BusAnswer::Pend, 0),
            (
                BusAnswer::Fail(nt::STATUS_UNSUCCESSFUL),
                nt::STATUS_UNSUCCESSFUL,
            ),
        ] {
            HANDLING.set(Handling::Requests(minor, state));
            device.bus_answers_power(minor, answer);
            // A request of the other minor function, which the bus driver completes.
            let other = match minor {
                nt::IRP_MN_SET_POWER => device.query_power(S0),
                _ => device.set_power(S0),
            };
            assert_eq!((other, SENT.get()), (0, nt::STATUS_PENDING));
            let expected = Some((minor, state, status));
            let start = Instant::now();
            while *ENDED.lock().expect("no test panics") != expected {
                assert!(
                    start.elapsed() < Duration::from_secs(20),
                    "the request does not end"
                );
                thread::sleep(Duration::from_millis(1));
            }
        }
        device.bus_answers_power(minor, BusAnswer::Fail(STATUS_SUCCESS));
    }
    HANDLING.set(Handling::Passes);
    device.remove().expect("no file is open");
    driver.unload();
    assert!(kernel.violation().is_none());
}

#[test]
fn requested_state_is_no_state_of_a_device() {
    let requests = Handling::Requests(nt::IRP_MN_SET_POWER, 5);
    stops(requests, false, S0, Rule::PowerState, NO_CODE);
}
