//! Event objects.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::{HANDLE, WAIT_OBJECT_0, WAIT_TIMEOUT};
use windows_sys::Win32::System::Threading::{CreateEventW, ResetEvent, WaitForSingleObject};

/// Events that are in no use: making and closing one takes longer than many a request.
static SPARE: Mutex<Vec<OwnedHandle>> = Mutex::new(Vec::new());

fn spare() -> MutexGuard<'static, Vec<OwnedHandle>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A manual-reset event, which the I/O manager resets when it is given a request and sets when the
/// request ends. Dropping it leaves it to another request.
///
/// It may be set too early: whoever had it before may have learnt from the I/O status block that his
/// request had ended, just before the event told it. So it is the I/O status block that counts.
#[derive(Debug)]
pub struct Event {
    /// There until this is dropped.
    object: Option<OwnedHandle>,
}

impl Event {
    /// An event that nobody else uses.
    pub fn new() -> io::Result<Self> {
        let object = match spare().pop() {
            Some(object) => object,
            None => create()?,
        };
        Ok(Self {
            object: Some(object),
        })
    }

    /// The handle, for a call that borrows it.
    pub fn handle(&self) -> HANDLE {
        let object = self.object.as_ref();
        object.map_or(ptr::null_mut(), AsRawHandle::as_raw_handle)
    }

    /// Makes the event not set.
    pub fn reset(&self) -> io::Result<()> {
        // SAFETY: `self` keeps the handle open.
        if unsafe { ResetEvent(self.handle()) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Waits until the event is set; returns whether it was in time.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        // All ones means for ever, which nothing here may ask for.
        let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX - 1);
        // SAFETY: `self` keeps the handle open.
        match unsafe { WaitForSingleObject(self.handle(), millis) } {
            WAIT_OBJECT_0 => Ok(true),
            WAIT_TIMEOUT => Ok(false),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        spare().extend(self.object.take());
    }
}

/// Creates an event object.
fn create() -> io::Result<OwnedHandle> {
    // SAFETY: neither attributes nor a name are given, and both may be null.
    let handle = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open, and nobody else knows of it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
