//! Power: the requests of the power manager (`IRP_MJ_POWER`).
//!
//! | minor function | action | the request is then |
//! | --- | --- | --- |
//! | `QUERY_POWER` | asks the device | passed on, or completed with the device's error |
//! | `SET_POWER` to less power | notifies the device | passed on |
//! | `SET_POWER` to D0 or S0 | waits for the lower drivers, then notifies the device | completed |
//! | `SET_POWER` to a sleeping state, for the owner of the power policy | notifies the device, waits for the lower drivers, requests D3 | completed after D3 is entered |
//! | any other | none | passed on |
//!
//! If the device was removed by surprise, every request is passed on, and the device is not called. After `IRP_MN_REMOVE_DEVICE` was
//! passed down, every request fails with `STATUS_DELETE_PENDING`.
//!
//! WDK: [Passing Power IRPs](https://learn.microsoft.com/windows-hardware/drivers/kernel/passing-power-irps).

use core::ffi::c_void;

use crate::{
    Device, Error, NtStatus,
    io::{
        dispatch::complete_unheld,
        extension::Extension,
        forward::{forward_with, pass_down},
        pnp::complete,
        power_policy::Power,
    },
    ke::irql::{self, CallerLevel},
};

/// A power state that the system or a device enters.
///
/// WDK: [POWER_STATE](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_power_state).
#[doc(alias = "POWER_STATE")]
#[doc(alias = "POWER_STATE_TYPE")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// A state of the system.
    System(SystemPowerState),
    /// A state of the device.
    Device(DevicePowerState),
}

/// A power state of the system, from the most powered one.
///
/// WDK: [SYSTEM_POWER_STATE](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ne-wdm-_system_power_state).
#[doc(alias = "SYSTEM_POWER_STATE")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SystemPowerState {
    /// The system works (S0).
    Working = 1,
    /// The system sleeps (S1).
    Sleeping1,
    /// The system sleeps (S2).
    Sleeping2,
    /// The system sleeps (S3).
    Sleeping3,
    /// The system hibernates (S4).
    Hibernate,
    /// The system is shut down (S5).
    Shutdown,
}

/// A power state of a device, from the most powered one.
///
/// WDK: [DEVICE_POWER_STATE](https://learn.microsoft.com/windows-hardware/drivers/ddi/wudfddi/ne-wudfddi-_device_power_state).
///
/// # Examples
///
/// ```
/// use wdm::{DevicePowerState, PowerState};
///
/// /// Returns whether the device loses the contents of its registers.
/// fn loses_registers(state: PowerState) -> bool {
///     matches!(state, PowerState::Device(state) if state >= DevicePowerState::D3)
/// }
/// ```
#[doc(alias = "DEVICE_POWER_STATE")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DevicePowerState {
    /// The device works.
    D0 = 1,
    /// The device uses less power than in D0.
    D1,
    /// The device uses less power than in D1.
    D2,
    /// The device is off, or uses the least power.
    D3,
}

impl PowerState {
    /// Returns whether the system or the device works in this state: S0 or D0.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn is_working(self) -> bool {
        self == Self::System(SystemPowerState::Working)
            || self == Self::Device(DevicePowerState::D0)
    }

    /// Returns the state in a power request; `None` for one that is not known.
    fn new(power: nt::irp::Power) -> Option<Self> {
        const SYSTEM: i32 = 0;
        const DEVICE: i32 = 1;
        Some(match (power.kind, power.state) {
            (SYSTEM, 1) => Self::System(SystemPowerState::Working),
            (SYSTEM, 2) => Self::System(SystemPowerState::Sleeping1),
            (SYSTEM, 3) => Self::System(SystemPowerState::Sleeping2),
            (SYSTEM, 4) => Self::System(SystemPowerState::Sleeping3),
            (SYSTEM, 5) => Self::System(SystemPowerState::Hibernate),
            (SYSTEM, 6) => Self::System(SystemPowerState::Shutdown),
            (DEVICE, 1) => Self::Device(DevicePowerState::D0),
            (DEVICE, 2) => Self::Device(DevicePowerState::D1),
            (DEVICE, 3) => Self::Device(DevicePowerState::D2),
            (DEVICE, 4) => Self::Device(DevicePowerState::D3),
            _ => return None,
        })
    }
}

/// `IRP_MJ_POWER`.
///
/// # Safety
/// Called by the power manager or a driver above, at most at `DISPATCH_LEVEL`, for a device object of this crate whose state is a
/// `D`.
pub(crate) unsafe extern "C" fn power<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
) -> i32 {
    // SAFETY: the caller holds a reference to the device object during the call.
    let extension = unsafe { Extension::of(object) };
    // As for a PnP request, the lower device object may not be known yet.
    if !extension.is_attached() || !extension.holds.acquire(irp) {
        // SAFETY: this routine owns the IRP, and the IRQL is at most DISPATCH_LEVEL.
        return unsafe { complete_unheld(irp, NtStatus::DELETE_PENDING) };
    }
    let lower = match extension.lower_for_request() {
        Ok(lower) => lower,
        Err(error) => {
            // SAFETY: as above.
            let status = unsafe { complete_unheld(irp, error.into()) };
            // SAFETY: the hold was acquired above.
            unsafe { Extension::release(object, irp) };
            return status;
        }
    };
    // SAFETY: the state is a `D`; the IRP's hold keeps it until it is released.
    let device = unsafe { extension.device::<D>() };
    // SAFETY: the caller guarantees the IRQL, and this driver holds no spin lock.
    let irql = &mut unsafe { CallerLevel::assume() };
    // SAFETY: this routine owns the IRP.
    let minor = unsafe { nt::irp::minor_function(irp) };
    // SAFETY: this routine owns the IRP. For other minor functions the value is not used.
    let state = PowerState::new(unsafe { nt::irp::power(irp) });
    let status = match (minor, state) {
        // A driver still passes power requests down after its device was removed by surprise. SAFETY: this routine owns the IRP.
        _ if extension.is_removed() => unsafe { pass_down(lower, irp) },
        (nt::IRP_MN_QUERY_POWER, Some(state)) => {
            let answer = device.query_power(state, irql);
            // SAFETY: the IRP has a hold.
            unsafe { Extension::called(object) };
            match answer {
                // SAFETY: this routine owns the IRP.
                Ok(()) => unsafe { pass_down(lower, irp) },
                // SAFETY: as above, and no spin lock is held.
                Err(error) => unsafe { complete(irp, error.to_raw()) },
            }
        }
        (nt::IRP_MN_SET_POWER, Some(state)) if state.is_working() => {
            // SAFETY: this routine owns the IRP, and gives it up with its hold, which the completion routine releases.
            return unsafe { forward_with(lower, irp, powered_up::<D>, core::ptr::null_mut()) };
        }
        (nt::IRP_MN_SET_POWER, Some(state)) => {
            // The page of PoSetPowerState says that a driver calls it before the device leaves D0.
            // SAFETY: the IRP's hold keeps the device object.
            unsafe { report(object, state) };
            device.set_power(state, irql);
            // SAFETY: the IRP has a hold.
            unsafe { Extension::called(object) };
            if let PowerState::System(_) = state
                && let Some(routine) = extension.object.power().lower_drivers_sleep()
            {
                // SAFETY: this routine owns the IRP, so no other thread can complete it before it is marked.
                unsafe { nt::irp::IoMarkIrpPending(irp) };
                // SAFETY: this routine owns the IRP, and gives it up with its hold, which is released when it is completed.
                let _ = unsafe { forward_with(lower, irp, routine, core::ptr::null_mut()) };
                return nt::STATUS_PENDING;
            }
            // SAFETY: this routine owns the IRP.
            unsafe { pass_down(lower, irp) }
        }
        // SAFETY: as above.
        _ => unsafe { pass_down(lower, irp) },
    };
    // SAFETY: the hold was acquired above.
    unsafe { Extension::release(object, irp) };
    status
}

/// The completion routine of a request to enter D0 or S0, after the lower drivers have done so.
///
/// # Safety
/// Called by the I/O manager, once, at most at `DISPATCH_LEVEL`, with no spin lock held. The IRP has a hold.
unsafe extern "C" fn powered_up<D: Device>(
    object: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
    _context: *mut c_void,
) -> i32 {
    // SAFETY: this is a completion routine of the IRP.
    if unsafe { nt::irp::pending_returned(irp) } {
        // SAFETY: this routine owns the IRP until it returns.
        unsafe { nt::irp::IoMarkIrpPending(irp) };
    }
    // SAFETY: as above.
    let result = Error::check(unsafe { nt::irp::status(irp) });
    // SAFETY: as above. The stack location is the one that the dispatch routine has read.
    if let Some(state) = PowerState::new(unsafe { nt::irp::power(irp) }) {
        // SAFETY: the IRP's hold keeps the device object.
        let extension = unsafe { Extension::of(object) };
        // SAFETY: the state is a `D`; the IRP's hold keeps it until the release below.
        let device = unsafe { extension.device::<D>() };
        // SAFETY: guaranteed by the I/O manager.
        let irql = &mut unsafe { CallerLevel::assume() };
        match (result, state) {
            (Ok(()), _) => {
                device.set_power(state, irql);
                // SAFETY: as above.
                unsafe { report(object, state) };
            }
            // The owner of the power policy notifies the device after it has recorded the failure.
            (Err(error), PowerState::Device(_)) if !extension.object.power().is_owned() => {
                device.power_up_failed(error, irql);
            }
            _ => {}
        }
        // SAFETY: the IRP has a hold.
        unsafe { Extension::called(object) };
        if matches!(state, PowerState::System(_)) {
            Power::system_works(&extension.object);
        }
    }
    // SAFETY: the IRP's hold, which only this call releases, has kept the device until now.
    unsafe { Extension::release(object, irp) };
    nt::STATUS_SUCCESS
}

/// Tells the power manager the state of a device (`PoSetPowerState`).
///
/// # Safety
/// The device object is valid, and the IRQL is at most `DISPATCH_LEVEL`.
pub(crate) unsafe fn report(object: *mut nt::DEVICE_OBJECT, state: PowerState) {
    let PowerState::Device(state) = state else {
        return;
    };
    // The routine is allowed at DISPATCH_LEVEL for D0 alone. The power manager sends no request for another state there.
    if state == DevicePowerState::D0 || irql::current() < irql::DISPATCH_LEVEL {
        // SAFETY: guaranteed by the caller.
        let _ = unsafe { nt::PoSetPowerState(object, nt::DevicePowerState, state as i32) };
    }
}
