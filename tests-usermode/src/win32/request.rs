//! Requests that may be pending.

use std::io;
use std::mem;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use windows_sys::Win32::System::IO::{CancelIoEx, IO_STATUS_BLOCK, OVERLAPPED};

use super::event::Event;
use crate::error::{Error, Result};
use crate::status::Status;
use crate::target::{Completion, DEADLINE};

/// An `OVERLAPPED`, which begins with the `IO_STATUS_BLOCK` that the kernel writes. Its fields are atomics, so that they can be read
/// while the request is pending.
#[derive(Debug)]
#[repr(C)]
struct Overlapped {
    status: AtomicU32,
    status_high: AtomicU32,
    information: AtomicUsize,
    offset: u64,
    event: usize,
}

const _: () = assert!(size_of::<Overlapped>() == size_of::<OVERLAPPED>());
const _: () = assert!(align_of::<Overlapped>() == align_of::<OVERLAPPED>());
const _: () = assert!(
    mem::offset_of!(Overlapped, information) == mem::offset_of!(IO_STATUS_BLOCK, Information)
);

/// The memory that the kernel may read or write until the request ends. It is in an `Arc`, so it does not move, and the kernel writes
/// only to atomics, so shared references to it are valid.
#[derive(Debug)]
pub struct InFlight {
    overlapped: Overlapped,
    event: Event,
    input: Box<[u8]>,
    output: Box<[AtomicU8]>,
}

impl InFlight {
    /// Allocates the memory of a request.
    pub fn new(input: &[u8], output: Vec<u8>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            overlapped: Overlapped {
                status: AtomicU32::new(Status::PENDING.0),
                status_high: AtomicU32::new(0),
                information: AtomicUsize::new(0),
                offset: 0,
                event: 0,
            },
            event: Event::new()?,
            input: input.into(),
            output: output.into_iter().map(AtomicU8::new).collect(),
        }))
    }

    /// Returns the event that is set when the request ends.
    pub const fn event(&self) -> &Event {
        &self.event
    }

    /// Returns the input buffer.
    pub const fn input(&self) -> &[u8] {
        &self.input
    }

    /// Returns the output buffer.
    pub const fn output(&self) -> &[AtomicU8] {
        &self.output
    }

    /// Returns the I/O status block, which the kernel writes.
    pub const fn io_status_block(&self) -> *mut IO_STATUS_BLOCK {
        (&raw const self.overlapped).cast_mut().cast()
    }

    /// Returns the address by which `CancelIoEx` identifies the request.
    const fn overlapped(&self) -> *const OVERLAPPED {
        (&raw const self.overlapped).cast()
    }

    /// Returns the status, which is `STATUS_PENDING` until the request ends. The kernel writes it last, so the rest is valid once it
    /// has changed (`HasOverlappedIoCompleted` and `GetOverlappedResult` rely on the same).
    fn status(&self) -> Status {
        Status(self.overlapped.status.load(Ordering::Acquire))
    }
}

/// A request that was sent. Dropping one that has not ended cancels it and waits for its end.
#[derive(Debug)]
pub struct Request {
    /// The handle that it was sent through, which may have been closed.
    file: Weak<OwnedHandle>,
    io: Arc<InFlight>,
    /// The status, if the request was refused: then the I/O status block is not written.
    refused: Option<Status>,
}

impl Request {
    /// Returns a request for which `NtDeviceIoControlFile` has returned `answer`.
    pub(super) fn new(file: &Arc<OwnedHandle>, io: Arc<InFlight>, answer: Status) -> Self {
        Self {
            file: Arc::downgrade(file),
            io,
            refused: answer.is_error().then_some(answer),
        }
    }

    /// Cancels the request (`CancelIoEx`); returns whether it was found. After its handle was closed, it is not.
    pub fn cancel(&self) -> Result<bool> {
        let Some(file) = self.file.upgrade() else {
            return Ok(false);
        };
        // SAFETY: `file` keeps the handle open, and the address is only compared with those of pending requests.
        let found = unsafe { CancelIoEx(file.as_raw_handle(), self.io.overlapped()) };
        super::device::cancelled(found, "CancelIoEx")
    }

    /// Returns whether the request has ended.
    pub fn is_done(&self) -> bool {
        self.refused.is_some() || self.io.status() != Status::PENDING
    }

    /// Waits for the request to end; `None` if the timeout expires.
    pub fn wait(&self, timeout: Duration) -> Result<Option<Completion>> {
        if !self.ends_within(timeout)? {
            return Ok(None);
        }
        let information = self.io.overlapped.information.load(Ordering::Acquire);
        let bytes = self.io.output.iter();
        Ok(Some(Completion {
            status: self.refused.unwrap_or_else(|| self.io.status()),
            information,
            output: bytes.map(|byte| byte.load(Ordering::Relaxed)).collect(),
        }))
    }

    fn ends_within(&self, timeout: Duration) -> Result<bool> {
        let failed = |error| Error::failed(format!("waiting for a request: {error}"));
        let start = Instant::now();
        while !self.is_done() {
            let left = timeout.saturating_sub(start.elapsed());
            if !self.io.event.wait(left).map_err(failed)? {
                return Ok(self.is_done());
            }
            if !self.is_done() {
                // The event was set for an earlier request. If this one has ended in the meantime, its status was
                // written before the event was set, so the loop condition detects it.
                self.io.event.reset().map_err(failed)?;
            }
        }
        Ok(true)
    }
}

/// Whether a request was lost. The drop of the next ones does not wait, since they may be lost as well.
static LOST: AtomicBool = AtomicBool::new(false);

impl Drop for Request {
    fn drop(&mut self) {
        if self.is_done() {
            return;
        }
        // A failure is ignored, since the request may still end.
        let _ = self.cancel();
        let timeout = if LOST.load(Ordering::Relaxed) {
            Duration::ZERO
        } else {
            DEADLINE
        };
        if !self.ends_within(timeout).unwrap_or(false) {
            LOST.store(true, Ordering::Relaxed);
            // The kernel may still write to this memory, so it is leaked.
            mem::forget(Arc::clone(&self.io));
        }
    }
}
