//! Event objects.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::{HANDLE, WAIT_OBJECT_0, WAIT_TIMEOUT};
use windows_sys::Win32::System::Threading::{CreateEventW, ResetEvent, WaitForSingleObject};

/// Unused events: creating and closing one takes longer than many requests.
static SPARE: Mutex<Vec<OwnedHandle>> = Mutex::new(Vec::new());

fn spare() -> MutexGuard<'static, Vec<OwnedHandle>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A manual-reset event, which the I/O manager resets when it receives a request and sets when the request ends. Dropping it makes
/// it available to another request.
///
/// It may be set too early: the previous request may have been seen to end by its I/O status block, just before the event was set.
/// So only the I/O status block shows that a request has ended.
#[derive(Debug)]
pub struct Event {
    /// `None` while this is dropped.
    object: Option<OwnedHandle>,
}

impl Event {
    /// Returns an event that no other request uses.
    pub fn new() -> io::Result<Self> {
        let object = match spare().pop() {
            Some(object) => object,
            None => create()?,
        };
        Ok(Self {
            object: Some(object),
        })
    }

    /// Returns the handle, which stays open while `self` exists.
    pub fn handle(&self) -> HANDLE {
        let object = self.object.as_ref();
        object.map_or(ptr::null_mut(), AsRawHandle::as_raw_handle)
    }

    /// Resets the event.
    pub fn reset(&self) -> io::Result<()> {
        // SAFETY: `self` keeps the handle open.
        if unsafe { ResetEvent(self.handle()) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Waits until the event is set; returns false if the timeout expires.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        // u32::MAX is INFINITE.
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
    // SAFETY: the attributes and the name may be null.
    let handle = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open, and nothing else uses it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
