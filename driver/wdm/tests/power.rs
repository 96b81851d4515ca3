//! Power requests: when the device is called, what it may refuse, and the removal.

mod common;

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use common::{kernel, start};
use ntmodel::{
    BusAnswer, Kernel, PowerState as State,
    explore::{Search, explore},
};
use pinned_init::PinInit;
use wdm::{
    Device, DevicePowerState, Error, Guid, NewDevice, PassiveLevel, PowerState, SystemPowerState,
    irql::CallerLevel,
};

const S0: State = State::System(1);
const S3: State = State::System(4);
const D0: State = State::Device(1);
const D2: State = State::Device(3);
const D3: State = State::Device(4);

thread_local! {
    /// The states that the device was called with in this thread.
    static ENTERED: Cell<[Option<PowerState>; 6]> = const { Cell::new([None; 6]) };
}

/// How often a [`Counted`] device was called. One test alone has such devices, since tests run at the same time.
static CALLS: AtomicU32 = AtomicU32::new(0);

struct Lamp;

struct Counted;

impl Device for Lamp {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn query_power(&self, state: PowerState, _: &mut CallerLevel) -> Result<(), Error> {
        if state == PowerState::Device(DevicePowerState::D3) {
            return Err(Error::DEVICE_BUSY);
        }
        Ok(())
    }

    fn set_power(&self, state: PowerState, _: &mut CallerLevel) {
        let mut entered = ENTERED.get();
        if let Some(place) = entered.iter_mut().find(|place| place.is_none()) {
            *place = Some(state);
        }
        ENTERED.set(entered);
    }
}

impl Device for Counted {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn set_power(&self, _: PowerState, _: &mut CallerLevel) {
        CALLS.fetch_add(1, SeqCst);
    }
}

fn entered() -> Vec<PowerState> {
    ENTERED.take().into_iter().flatten().collect()
}

#[test]
fn device_is_called_for_each_state_and_power_manager_is_notified() {
    let kernel = kernel();
    let stack = start::<Lamp>(&kernel);
    let device = &stack.device;
    // IRP_MN_START_DEVICE.
    assert_eq!(device.told_power(), Some(1));
    for (state, reported) in [(S3, 1), (D3, 4), (D0, 1), (S0, 1), (D2, 3), (D0, 1)] {
        assert_eq!(device.set_power(state), nt::STATUS_SUCCESS);
        assert_eq!(device.told_power(), Some(reported));
    }
    let expected = [
        PowerState::System(SystemPowerState::Sleeping3),
        PowerState::Device(DevicePowerState::D3),
        PowerState::Device(DevicePowerState::D0),
        PowerState::System(SystemPowerState::Working),
        PowerState::Device(DevicePowerState::D2),
        PowerState::Device(DevicePowerState::D0),
    ];
    assert_eq!(entered(), expected);
    stack.unload();
}

#[test]
fn device_is_called_before_the_bus_driver_on_the_way_down_and_after_it_on_the_way_up() {
    let kernel = kernel();
    let stack = start::<Lamp>(&kernel);
    let device = &stack.device;
    let fails = BusAnswer::Fail(nt::STATUS_DEVICE_POWER_FAILURE);
    device.bus_answers_power(nt::IRP_MN_SET_POWER, fails);
    assert_eq!(device.set_power(D3), nt::STATUS_DEVICE_POWER_FAILURE);
    assert_eq!(entered(), [PowerState::Device(DevicePowerState::D3)]);
    assert_eq!(device.told_power(), Some(4));
    assert_eq!(device.set_power(D0), nt::STATUS_DEVICE_POWER_FAILURE);
    assert_eq!(entered(), []);
    assert_eq!(device.told_power(), Some(4));
    stack.unload();
}

#[test]
fn device_can_refuse_only_a_query() {
    let kernel = kernel();
    let stack = start::<Lamp>(&kernel);
    let device = &stack.device;
    assert_eq!(device.query_power(D2), nt::STATUS_SUCCESS);
    assert_eq!(device.query_power(S3), nt::STATUS_SUCCESS);
    assert_eq!(device.query_power(D3), Error::DEVICE_BUSY.to_raw());
    let fails = BusAnswer::Fail(nt::STATUS_UNSUCCESSFUL);
    device.bus_answers_power(nt::IRP_MN_QUERY_POWER, fails);
    assert_eq!(device.query_power(D2), nt::STATUS_UNSUCCESSFUL);
    assert_eq!(entered(), []);
    stack.unload();
}

#[test]
fn unknown_requests_are_passed_down() {
    let kernel = kernel();
    let stack = start::<Lamp>(&kernel);
    let device = &stack.device;
    // IRP_MN_WAIT_WAKE and IRP_MN_POWER_SEQUENCE.
    let answer = BusAnswer::Fail(nt::STATUS_DEVICE_BUSY);
    for minor in [0, 1] {
        device.bus_answers_power(minor, answer);
        assert_eq!(device.power(minor), nt::STATUS_DEVICE_BUSY);
    }
    for state in [
        State::System(0),
        State::System(7),
        State::Device(0),
        State::Device(5),
    ] {
        assert_eq!(device.set_power(state), nt::STATUS_SUCCESS);
    }
    assert_eq!(entered(), []);
    stack.unload();
}

/// "A driver should process subsequent ... `IRP_MJ_POWER` ... requests", says the page about `IRP_MN_SURPRISE_REMOVAL`, and no driver may
/// fail a request to set the power.
#[test]
fn power_requests_pass_a_device_that_was_removed() {
    let kernel = kernel();
    let stack = start::<Lamp>(&kernel);
    let device = &stack.device;
    let file = device.open(ntmodel::Access::Read).expect("it opens");
    device.surprise_remove();
    assert_eq!(device.set_power(D3), nt::STATUS_SUCCESS);
    assert_eq!(device.set_power(D0), nt::STATUS_SUCCESS);
    assert_eq!(device.query_power(D2), nt::STATUS_SUCCESS);
    assert_eq!(entered(), []);
    file.close();
    assert!(device.is_removed());
    stack.unload();
}

/// The bus driver completes the request at `DISPATCH_LEVEL` in a thread of its own, while the device is removed.
#[test]
fn power_up_against_surprise_removal() {
    let scenario = |kernel: &Arc<Kernel>| {
        let stack = start::<Counted>(kernel);
        let device = &stack.device;
        let file = device.open(ntmodel::Access::Read).expect("it opens");
        device.bus_answers_power(nt::IRP_MN_SET_POWER, BusAnswer::Pend);
        let calls = CALLS.load(SeqCst);
        let power = {
            let device = device.clone();
            kernel.actor("power manager", move || device.set_power(D0))
        };
        device.surprise_remove();
        let status = power.join();
        // The device is called only if the request came first, and the request passes in both orders.
        let called = CALLS.load(SeqCst) - calls;
        kernel.verify(called <= 1 && status == nt::STATUS_SUCCESS, || {
            format!("{called} calls, and the request ended with {status:#x}")
        });
        file.close();
        stack.unload();
    };
    let random = Search::Random {
        schedules: 10_000,
        seed: 1,
    };
    for search in [Search::every(10_000), random] {
        explore(search, scenario).unwrap_or_else(|found| panic!("{found}"));
    }
}
