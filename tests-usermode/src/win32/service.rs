//! The driver's service, in the service control manager.

use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::ERROR_SERVICE_DOES_NOT_EXIST;
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, OpenSCManagerW, OpenServiceW, QueryServiceStatus, SC_HANDLE,
    SC_MANAGER_CONNECT, SERVICE_QUERY_STATUS, SERVICE_RUNNING, SERVICE_START_PENDING,
    SERVICE_STATUS, SERVICE_STOP_PENDING, SERVICE_STOPPED,
};

use super::{last_error, succeeded, wide};
use crate::error::{Error, Result};
use crate::target::ServiceState;

/// A handle from the service control manager.
struct Handle(SC_HANDLE);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open and not used again. A failure cannot be reported.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// Queries the state of the driver's service.
pub fn service_state() -> Result<ServiceState> {
    // SAFETY: null names mean this machine and its active database.
    let manager = unsafe { OpenSCManagerW(ptr::null(), ptr::null(), SC_MANAGER_CONNECT) };
    if manager.is_null() {
        return Err(last_error("OpenSCManager"));
    }
    let manager = Handle(manager);
    let name = wide(interlock_abi::SERVICE);
    // SAFETY: the manager's handle is open, and the name ends with a NUL.
    let service = unsafe { OpenServiceW(manager.0, name.as_ptr(), SERVICE_QUERY_STATUS) };
    if service.is_null() {
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(ERROR_SERVICE_DOES_NOT_EXIST.cast_signed()) {
            return Ok(ServiceState::NotInstalled);
        }
        return Err(Error::failed(format!("OpenService: {error}")));
    }
    let service = Handle(service);
    let mut status = SERVICE_STATUS::default();
    // SAFETY: the service's handle is open, and `status` is writable.
    let answer = unsafe { QueryServiceStatus(service.0, &raw mut status) };
    succeeded(answer, "QueryServiceStatus")?;
    Ok(match status.dwCurrentState {
        SERVICE_RUNNING => ServiceState::Running,
        SERVICE_STOPPED => ServiceState::Stopped,
        SERVICE_START_PENDING => ServiceState::Starting,
        SERVICE_STOP_PENDING => ServiceState::Stopping,
        other => ServiceState::Other(other),
    })
}
