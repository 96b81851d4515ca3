//! Open handles of the device.

use std::fs::OpenOptions;
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;

use windows_sys::Wdk::Storage::FileSystem::{NtReadFile, NtWriteFile};
use windows_sys::Wdk::System::IO::NtDeviceIoControlFile;
use windows_sys::Win32::Foundation::ERROR_NOT_FOUND;
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;
use windows_sys::Win32::System::IO::{CancelIo, CancelIoEx};

use super::devices::interface_path;
use super::request::{InFlight, Request};
use crate::error::{Error, Result};
use crate::status::Status;
use crate::target::Access;

/// An open handle of the device. Dropping it closes the handle, whether or not requests are pending.
#[derive(Debug)]
pub struct Device {
    file: Arc<OwnedHandle>,
}

impl Device {
    /// Opens the device by its interface, for overlapped I/O.
    pub fn open_with(access: Access) -> Result<Self> {
        let path = interface_path()?.ok_or_else(|| {
            Error::could_not_run(
                "there is no Interlock device: `harness install` installs it, `harness status` shows its state",
            )
        })?;
        Self::open_at(&path, access)
    }

    /// Opens a device by its path, for overlapped I/O.
    pub fn open_at(path: &str, access: Access) -> Result<Self> {
        let file = OpenOptions::new()
            .read(access != Access::Write)
            .write(access != Access::Read)
            .custom_flags(FILE_FLAG_OVERLAPPED)
            .open(path)
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => Error::could_not_run(
                    "only administrators can open the device: run this as an administrator",
                ),
                _ => Error::could_not_run(format!("cannot open {path}: {error}")),
            })?;
        Ok(Self {
            file: Arc::new(file.into()),
        })
    }

    /// Sends a device control, which may end immediately, later, or when it is cancelled.
    ///
    /// `DeviceIoControl` with an `OVERLAPPED` does the same, but returns the status as a Win32 error, which stands for several
    /// statuses.
    pub fn submit(&self, code: u32, input: &[u8], output: Vec<u8>) -> Result<Request> {
        let io = in_flight(input, output)?;
        let (input, output) = (io.input(), io.output());
        let (input_len, output_len) = (length(input.len())?, length(output.len())?);
        // SAFETY: the handle and the event are open, and the lengths are those of the buffers. The buffers and the I/O
        // status block are in `io`, which `Request` keeps until the request has ended. The kernel reads the input, and
        // writes only to atomics.
        let answer = unsafe {
            NtDeviceIoControlFile(
                self.file.as_raw_handle(),
                io.event().handle(),
                None,
                ptr::null(),
                io.io_status_block(),
                code,
                input.as_ptr().cast(),
                input_len,
                output.as_ptr().cast_mut().cast(),
                output_len,
            )
        };
        Ok(Request::new(&self.file, io, Status(answer.cast_unsigned())))
    }

    /// Sends a read (`ReadFile` with an `OVERLAPPED`).
    pub fn read(&self, output: Vec<u8>) -> Result<Request> {
        let io = in_flight(&[], output)?;
        let output_len = length(io.output().len())?;
        // SAFETY: as in `submit`. The offset is 0, as for each device, and there is no key.
        let answer = unsafe {
            NtReadFile(
                self.file.as_raw_handle(),
                io.event().handle(),
                None,
                ptr::null(),
                io.io_status_block(),
                io.output().as_ptr().cast_mut().cast(),
                output_len,
                &raw const OFFSET,
                ptr::null(),
            )
        };
        Ok(Request::new(&self.file, io, Status(answer.cast_unsigned())))
    }

    /// Sends a write (`WriteFile` with an `OVERLAPPED`).
    pub fn write(&self, input: &[u8]) -> Result<Request> {
        let io = in_flight(input, Vec::new())?;
        let input_len = length(io.input().len())?;
        // SAFETY: as in `read`.
        let answer = unsafe {
            NtWriteFile(
                self.file.as_raw_handle(),
                io.event().handle(),
                None,
                ptr::null(),
                io.io_status_block(),
                io.input().as_ptr().cast(),
                input_len,
                &raw const OFFSET,
                ptr::null(),
            )
        };
        Ok(Request::new(&self.file, io, Status(answer.cast_unsigned())))
    }

    /// Cancels every request of this handle (`CancelIoEx` without an `OVERLAPPED`); returns whether there was any.
    pub fn cancel_all(&self) -> Result<bool> {
        // SAFETY: the handle is open, and a null `OVERLAPPED` means every request.
        let found = unsafe { CancelIoEx(self.file.as_raw_handle(), ptr::null()) };
        cancelled(found, "CancelIoEx")
    }

    /// Cancels every request that the calling thread sent through this handle (`CancelIo`).
    pub fn cancel_threads_own(&self) -> Result {
        // SAFETY: the handle is open.
        let found = unsafe { CancelIo(self.file.as_raw_handle()) };
        cancelled(found, "CancelIo").map(drop)
    }
}

/// The offset of reads and writes.
static OFFSET: i64 = 0;

fn in_flight(input: &[u8], output: Vec<u8>) -> Result<Arc<InFlight>> {
    InFlight::new(input, output).map_err(|error| Error::failed(format!("CreateEvent: {error}")))
}

fn length(length: usize) -> Result<u32> {
    u32::try_from(length).map_err(|_| Error::failed("a buffer is larger than 4 GiB"))
}

/// Returns whether a cancel function found a request.
pub(super) fn cancelled(found: windows_sys::core::BOOL, what: &str) -> Result<bool> {
    if found != 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(ERROR_NOT_FOUND.cast_signed()) {
        return Ok(false);
    }
    Err(Error::failed(format!("{what}: {error}")))
}
