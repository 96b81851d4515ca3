//! Routines that a driver has registered for changes of power settings.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-poregisterpowersettingcallback)

use std::{
    ffi::c_void,
    ops::Range,
    ptr::{with_exposed_provenance_mut, without_provenance_mut},
    sync::{Arc, Mutex},
};

use nt::{
    DEVICE_OBJECT, GUID, NTSTATUS, PPOWER_SETTING_CALLBACK, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};

use crate::{
    ex::Registrations,
    host::{Call, Kernel, thread::Attached},
    io::interface::is_same,
    mutex::locked,
    verifier::Rule,
};

/// Where the registrations would be, which are opaque. There is no memory.
const HANDLES: usize = 0xffff_a300_0000_0000;

/// The number of bytes between two registrations.
const SIZE: usize = 0x100;

pub(in crate::io) struct PowerSettings {
    routines: Registrations<(PPOWER_SETTING_CALLBACK, GUID)>,
    /// The values of the settings. The others are a `ULONG` of zero.
    values: Mutex<Vec<(GUID, Vec<u8>)>>,
}

impl Default for PowerSettings {
    fn default() -> Self {
        Self {
            routines: Registrations::new("PoUnregisterPowerSettingCallback"),
            values: Mutex::default(),
        }
    }
}

impl Kernel {
    /// Changes a power setting: calls the routines that drivers have registered for it with `PoRegisterPowerSettingCallback`. A setting
    /// that was not changed is a `ULONG` of zero.
    pub fn set_power_setting(self: &Arc<Self>, setting: &GUID, value: &[u8]) {
        let _attached = Attached::to(self);
        let call = Call::enter("the power manager");
        let settings = &self.io().power_settings;
        {
            let mut values = locked(&settings.values);
            values.retain(|(other, _)| !is_same(other, setting));
            values.push((*setting, value.to_vec()));
        }
        for one in settings.routines.all() {
            if is_same(&one.routine.1, setting) {
                call.tell_of_setting(one.number);
            }
        }
    }
}

impl Call {
    /// Calls the routine of a registration with the value of its setting.
    fn tell_of_setting(&self, number: usize) {
        let settings = &self.kernel.io().power_settings;
        settings.routines.call_one(self, number, |one| {
            let (Some(routine), setting) = one.routine else {
                return;
            };
            let value = {
                let values = locked(&settings.values);
                let value = values.iter().find(|(other, _)| is_same(other, &setting));
                value.map_or_else(|| vec![0; 4], |(_, value)| value.clone())
            };
            // Aligned as a number is.
            let mut words = vec![0_u64; value.len().div_ceil(8)];
            let start = words.as_mut_ptr().cast::<u8>();
            // SAFETY: the words have room for the value.
            unsafe { start.copy_from(value.as_ptr(), value.len()) };
            let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
            let context = with_exposed_provenance_mut(one.context);
            let arguments = (&raw const setting, start.cast(), length, context);
            // SAFETY: the routine is called as the power manager calls it. The value stays until it returns.
            unsafe { Call::in_driver(routine, arguments) };
        });
    }

    /// Stops the system if a routine is still registered when its driver is unloaded.
    pub(in crate::io) fn require_no_power_setting(&self) {
        self.kernel.io().power_settings.routines.require_none(self);
    }

    /// Stops the system if memory is freed that contains the context of a registered routine.
    pub(in crate::io) fn require_no_setting_context_in(&self, memory: &Range<usize>) {
        let routines = &self.kernel.io().power_settings.routines;
        routines.require_no_context_in(self, memory);
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PoRegisterPowerSettingCallback(
    device: *mut DEVICE_OBJECT,
    setting: *const GUID,
    routine: PPOWER_SETTING_CALLBACK,
    context: *mut c_void,
    handle: *mut *mut c_void,
) -> NTSTATUS {
    let call = Call::enter_shared("PoRegisterPowerSettingCallback");
    call.require_at_most(0, Rule::Irql, 0xe5);
    if !device.is_null() {
        call.require_live_device(device);
    }
    call.require_room(setting.cast_mut());
    call.require_room(handle);
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller passes a GUID.
    let setting = unsafe { setting.read() };
    let routines = &call.kernel.io().power_settings.routines;
    let number = routines.add(&call, (routine, setting), 0, context.expose_provenance());
    // SAFETY: the caller passes memory for the handle.
    unsafe { handle.write(without_provenance_mut(HANDLES + number * SIZE)) };
    call.tell_of_setting(number);
    STATUS_SUCCESS
}

/// The routine no longer runs when this one returns, unless the routine itself calls this one.
///
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-pounregisterpowersettingcallback)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn PoUnregisterPowerSettingCallback(handle: *mut c_void) -> NTSTATUS {
    let call = Call::enter_shared("PoUnregisterPowerSettingCallback");
    call.require_at_most(0, Rule::Irql, 0xe5);
    let routines = &call.kernel.io().power_settings.routines;
    let offset = handle.addr().wrapping_sub(HANDLES);
    if !offset.is_multiple_of(SIZE) || !routines.remove(offset / SIZE) {
        return STATUS_INVALID_PARAMETER;
    }
    routines.wait_for_calls(&call, offset / SIZE);
    STATUS_SUCCESS
}
