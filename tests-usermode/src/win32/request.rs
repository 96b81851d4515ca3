//! Requests that the kernel may still be working on.

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

/// An `OVERLAPPED`, whose first half is the `IO_STATUS_BLOCK` that the kernel writes to: atomics, so
/// that it can be looked at meanwhile.
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

/// Everything that the kernel may read or write until the request ends. It is behind an `Arc`, so it
/// does not move, and what the kernel writes are atomics, so a shared reference to it is no lie.
#[derive(Debug)]
pub struct InFlight {
    overlapped: Overlapped,
    event: Event,
    input: Box<[u8]>,
    output: Box<[AtomicU8]>,
}

impl InFlight {
    /// Makes the memory for one request.
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

    /// The event that says that the request has ended.
    pub const fn event(&self) -> &Event {
        &self.event
    }

    /// The input buffer.
    pub const fn input(&self) -> &[u8] {
        &self.input
    }

    /// The output buffer.
    pub const fn output(&self) -> &[AtomicU8] {
        &self.output
    }

    /// Where the kernel writes how the request ended.
    pub const fn io_status_block(&self) -> *mut IO_STATUS_BLOCK {
        (&raw const self.overlapped).cast_mut().cast()
    }

    /// What `CancelIoEx` knows the request by.
    const fn overlapped(&self) -> *const OVERLAPPED {
        (&raw const self.overlapped).cast()
    }

    /// The status so far. The kernel writes it last, so once it is not `STATUS_PENDING` the rest is
    /// there too (`HasOverlappedIoCompleted` and `GetOverlappedResult` rely on the same).
    fn status(&self) -> Status {
        Status(self.overlapped.status.load(Ordering::Acquire))
    }
}

/// A request that was sent. Dropping one that has not ended cancels it and waits for its end.
#[derive(Debug)]
pub struct Request {
    /// The handle that it was sent through; it may have been closed since.
    file: Weak<OwnedHandle>,
    io: Arc<InFlight>,
    /// The status that it was refused with, if it was: then nothing else is written.
    refused: Option<Status>,
}

impl Request {
    /// A request that the kernel has answered with `answer`.
    pub(super) fn new(file: &Arc<OwnedHandle>, io: Arc<InFlight>, answer: Status) -> Self {
        Self {
            file: Arc::downgrade(file),
            io,
            refused: answer.is_error().then_some(answer),
        }
    }

    /// Asks for this request's cancellation (`CancelIoEx`); returns whether it was still there to be
    /// cancelled. Once its handle is closed there is nothing to ask.
    pub fn cancel(&self) -> Result<bool> {
        let Some(file) = self.file.upgrade() else {
            return Ok(false);
        };
        // SAFETY: `file` keeps the handle open, and the address is only compared with those of the
        // requests that are under way.
        let found = unsafe { CancelIoEx(file.as_raw_handle(), self.io.overlapped()) };
        super::device::cancelled(found, "CancelIoEx")
    }

    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        self.refused.is_some() || self.io.status() != Status::PENDING
    }

    /// Waits for its end; `None` when it does not come in time.
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
                // It was set on behalf of an earlier request. If this one has ended since, that was
                // noted before the event was set, and is seen when the loop looks again.
                self.io.event.reset().map_err(failed)?;
            }
        }
        Ok(true)
    }
}

/// Whether a request was given up. Where one is lost so may be a thousand others, and nobody wants to
/// wait for each of them as long as for the first.
static LOST: AtomicBool = AtomicBool::new(false);

impl Drop for Request {
    fn drop(&mut self) {
        if self.is_done() {
            return;
        }
        // Whatever this answers, what counts is whether the request ends.
        let _ = self.cancel();
        let patience = if LOST.load(Ordering::Relaxed) {
            Duration::ZERO
        } else {
            DEADLINE
        };
        if !self.ends_within(patience).unwrap_or(false) {
            LOST.store(true, Ordering::Relaxed);
            // The kernel may still write to this memory, so it is given up instead of freed.
            mem::forget(Arc::clone(&self.io));
        }
    }
}
