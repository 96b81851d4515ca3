//! The power manager: requests for the system's and a device's power states.

use std::{
    collections::HashMap,
    sync::{Mutex, atomic::Ordering},
};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IRP, IRP_MJ_POWER, IRP_MN_QUERY_POWER, IRP_MN_SET_POWER,
    NTSTATUS, STATUS_DELETE_PENDING, STATUS_NOT_SUPPORTED,
};

use crate::{
    host::{Call, footprint, thread::Attached},
    io::{
        BusAnswer, Device,
        bus::IRP_MN_WAIT_WAKE,
        device::DeviceInner,
        irp::{IrpParameters, IrpRecord},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// A power state, by its value in `SYSTEM_POWER_STATE` (S0 is 1) or `DEVICE_POWER_STATE` (D0 is 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// A state of the system.
    System(u32),
    /// A state of a device.
    Device(u32),
}

/// `PowerSystemWorking` and `PowerDeviceD0`.
const WORKING: u32 = 1;

impl PowerState {
    /// The `POWER_STATE_TYPE` and the `POWER_STATE`.
    fn values(self) -> (u32, u32) {
        match self {
            Self::System(state) => (0, state),
            Self::Device(state) => (1, state),
        }
    }
}

/// The states that drivers have reported by `PoSetPowerState`, by the address of the device object.
#[derive(Default)]
pub(crate) struct PowerStates(Mutex<HashMap<usize, i32>>);

impl DeviceInner {
    /// Sends a power request, and waits until it ends.
    fn request_power(&self, call: &Call, minor: u8, state: PowerState) -> NTSTATUS {
        let parameters = IrpParameters {
            power: state.values(),
            ..IrpParameters::new(IRP_MJ_POWER, minor)
        };
        let top = self.top();
        let record = call.new_irp(top, parameters, None, &[], Vec::new());
        // SAFETY: the IRP was not sent yet.
        unsafe { nt::irp::set_status(record.raw(), STATUS_NOT_SUPPORTED) };
        let status = call.send_and_wait(top, &record);
        call.verify_power(self.pdo().addr(), &record, status);
        status
    }
}

impl Call {
    /// Stops the system if a request for a power state was failed, or was completed without the bus driver. A removed
    /// device is exempt, since [its driver completes the
    /// request](https://learn.microsoft.com/windows-hardware/drivers/kernel/dispatchpower-routines).
    pub(in crate::io) fn verify_power(&self, pdo: usize, record: &IrpRecord, status: NTSTATUS) {
        if status == STATUS_DELETE_PENDING {
            return;
        }
        let IrpParameters { minor, power, .. } = record.parameters();
        let rule = if power.1 == WORKING {
            Rule::PowerUpFail
        } else {
            Rule::PowerDownFail
        };
        let by_bus = self.kernel.io().buses.power(pdo, minor);
        let is_by_bus = matches!(by_bus, Some(BusAnswer::Fail(_)));
        let fails = status < 0 && !is_by_bus;
        self.require(!(fails && minor == IRP_MN_SET_POWER), rule, || {
            format!("{record} is completed with {status:#x}, but must not fail")
        });
        // The driver of a child is its bus driver.
        let object = std::ptr::without_provenance_mut(pdo);
        let is_child = self.kernel.io().devices.driver_of(object).is_some();
        let reached_bus = is_child || record.reached_bus.load(Ordering::Relaxed);
        let is_replaced = minor == IRP_MN_QUERY_POWER && status == STATUS_NOT_SUPPORTED;
        self.require(!is_replaced || is_by_bus, rule, || {
            let code = if reached_bus { 0x21a } else { 0x232 };
            let what = format!(
                "{record} is completed with STATUS_NOT_SUPPORTED, which is reserved for requests that no driver has handled: pass it \
                 down, or fail it with another status"
            );
            (BugCheck::io(code, [0, record.address() as u64, 0]), what)
        });
        let is_wait = minor == IRP_MN_WAIT_WAKE;
        let kept = !is_wait && !reached_bus && status >= 0;
        self.require(!kept, rule, || {
            format!(
                "{record} is completed with {status:#x}, but was not passed down to the bus driver"
            )
        });
    }
}

impl Device {
    /// Asks the drivers whether the system or the device can enter a power state (`IRP_MN_QUERY_POWER`); returns the final
    /// status.
    pub fn query_power(&self, state: PowerState) -> NTSTATUS {
        let _attached = Attached::to(self.kernel());
        let call = Call::enter("the power manager");
        self.inner().request_power(&call, IRP_MN_QUERY_POWER, state)
    }

    /// Makes the drivers enter a power state of the system or of the device (`IRP_MN_SET_POWER`). Returns the final status.
    pub fn set_power(&self, state: PowerState) -> NTSTATUS {
        let _attached = Attached::to(self.kernel());
        let call = Call::enter("the power manager");
        self.inner().request_power(&call, IRP_MN_SET_POWER, state)
    }

    /// Sends a power request with another minor function; returns its final status.
    pub fn power(&self, minor: u8) -> NTSTATUS {
        let _attached = Attached::to(self.kernel());
        let call = Call::enter("the power manager");
        let state = PowerState::System(WORKING);
        self.inner().request_power(&call, minor, state)
    }

    /// Sets how the bus driver handles the power requests of a minor function.
    pub fn bus_answers_power(&self, minor: u8, answer: BusAnswer) {
        footprint::touch_everything();
        let pdo = self.inner().pdo().addr();
        self.kernel().io().buses.set_power(pdo, minor, answer);
    }

    /// Returns the `DEVICE_POWER_STATE` that the driver has reported by `PoSetPowerState` for its device object, if any.
    #[must_use]
    pub fn told_power(&self) -> Option<u32> {
        footprint::touch_everything();
        let states = locked(&self.kernel().io().power_states.0);
        states
            .get(&self.object())
            .map(|state| state.cast_unsigned())
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-posetpowerstate)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PoSetPowerState(device: *mut DEVICE_OBJECT, kind: i32, state: i32) -> i32 {
    let call = Call::enter("PoSetPowerState");
    let is_working = state.cast_unsigned() == WORKING;
    let highest = if is_working { DISPATCH_LEVEL } else { 1 };
    call.require_at_most(highest, Rule::Irql, 0x2_0009);
    call.require_live_device(device);
    let is_valid = kind == nt::DevicePowerState && (1..=4).contains(&state);
    call.require(is_valid, Rule::PowerState, || {
        format!("type {kind} and state {state} are not a state of a device")
    });
    let old = locked(&call.kernel.io().power_states.0).insert(device.addr(), state);
    // PowerDeviceUnspecified.
    old.unwrap_or(0)
}

/// It is `IoCallDriver` since Windows Vista.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-pocalldriver)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PoCallDriver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the caller owns the IRP.
    unsafe { nt::IofCallDriver(device, irp) }
}

/// It does nothing since Windows Vista.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-postartnextpowerirp)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PoStartNextPowerIrp(irp: *mut IRP) {
    let call = Call::enter_noted("PoStartNextPowerIrp").at_most(DISPATCH_LEVEL);
    call.live_irp(irp);
}
