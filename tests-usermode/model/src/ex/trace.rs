//! Providers of Event Tracing for Windows. No session of the model enables a provider, so that no event is logged.

use std::{ffi::c_void, sync::Mutex};

use nt::{
    EVENT_DATA_DESCRIPTOR, GUID, NTSTATUS, PETWENABLECALLBACK, STATUS_INVALID_HANDLE,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
};

use crate::{
    host::Call,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

const APC_LEVEL: u8 = 1;

/// The maximum number of data descriptors of an event.
const MOST_DATA: u32 = 128;

/// The handles of the registered providers, and the last one that was given.
#[derive(Default)]
pub(in crate::ex) struct Providers(Mutex<(Vec<u64>, u64)>);

impl Call {
    fn is_provider(&self, handle: u64) -> bool {
        locked(&self.kernel.ex().providers.0).0.contains(&handle)
    }

    /// Stops the system if the driver that is unloaded has registered a provider.
    pub(crate) fn require_no_provider(&self) {
        let left = locked(&self.kernel.ex().providers.0).0.first().copied();
        self.require(left.is_none(), Rule::EventProvider, || {
            let handle = left.unwrap_or_default();
            let what = format!(
                "the driver is unloaded, and has not called EtwUnregister for the provider {handle:#x}"
            );
            (BugCheck::verifier(0xdd, [0, 0, handle]), what)
        });
    }

    fn write_event(&self, handle: u64, count: u32, data: *mut EVENT_DATA_DESCRIPTOR) -> NTSTATUS {
        if !self.is_provider(handle) {
            return STATUS_INVALID_HANDLE;
        }
        if count > MOST_DATA {
            return STATUS_INVALID_PARAMETER;
        }
        let count = if data.is_null() { 0 } else { count as usize };
        // SAFETY: the caller passes this number of descriptors.
        for data in unsafe { self.elements(data, count) } {
            let place = usize::try_from(data.Ptr).unwrap_or_default();
            let place = std::ptr::with_exposed_provenance::<u8>(place);
            if self.irql() > APC_LEVEL && data.Size != 0 {
                self.require_nonpaged(place);
            }
            self.require_array(place, data.Size as usize);
        }
        STATUS_SUCCESS
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-etwregister)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn EtwRegister(
    provider: *const GUID,
    _callback: PETWENABLECALLBACK,
    _context: *mut c_void,
    handle: *mut u64,
) -> NTSTATUS {
    let call = Call::enter("EtwRegister").at_most(0);
    if provider.is_null() || handle.is_null() {
        return STATUS_INVALID_PARAMETER;
    }
    if call.kernel.fails() {
        return nt::STATUS_NO_MEMORY;
    }
    let mut providers = locked(&call.kernel.ex().providers.0);
    providers.1 += 1;
    let new = providers.1;
    providers.0.push(new);
    drop(providers);
    call.require_room(handle);
    // SAFETY: the caller passes memory for the handle.
    unsafe { handle.write(new) };
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-etwunregister)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn EtwUnregister(handle: u64) -> NTSTATUS {
    let call = Call::enter("EtwUnregister").at_most(0);
    let is_known = call.is_provider(handle);
    call.require(is_known, Rule::EventProvider, || {
        let what = format!("{handle:#x} is not the handle of a provider that is registered");
        (BugCheck::verifier(0xdc, [0; 3]), what)
    });
    let mut providers = locked(&call.kernel.ex().providers.0);
    providers.0.retain(|other| *other != handle);
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-etwwrite)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn EtwWrite(
    handle: u64,
    _event: *const c_void,
    _activity: *const GUID,
    count: u32,
    data: *mut EVENT_DATA_DESCRIPTOR,
) -> NTSTATUS {
    Call::enter("EtwWrite").write_event(handle, count, data)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-etwwritetransfer)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn EtwWriteTransfer(
    handle: u64,
    _event: *const c_void,
    _activity: *const GUID,
    _related: *const GUID,
    count: u32,
    data: *mut EVENT_DATA_DESCRIPTOR,
) -> NTSTATUS {
    Call::enter("EtwWriteTransfer").write_event(handle, count, data)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-etwproviderenabled)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn EtwProviderEnabled(_handle: u64, _level: u8, _keyword: u64) -> u8 {
    let _call = Call::enter("EtwProviderEnabled");
    0
}
