//! Requests that user mode has sent: waits and cancellation.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nt::STATUS_PENDING;

use crate::{
    host::{Call, Kernel, thread::Attached, wait::Wait},
    io::irp::IrpRecord,
    mutex::locked,
};

/// The timeout of a wait that should not end.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The NTSTATUS.
    pub status: i32,
    /// The number of bytes that the driver reports as written; 0 if the request failed without pending, since the I/O
    /// status block is then not written.
    pub information: usize,
    /// The output buffer.
    pub output: Vec<u8>,
}

/// A request that was sent.
pub struct Request {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) sent: Result<Arc<IrpRecord>, Completion>,
    /// The status that the dispatch routine returned.
    pub(crate) answer: i32,
}

impl Request {
    /// Returns the status of the system call: `STATUS_PENDING`, or the final status of the request.
    #[must_use]
    pub fn answer(&self) -> i32 {
        self.answer
    }

    /// Returns whether the request has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended().is_some()
    }

    /// Returns the result of the request; `None` while it has not ended.
    #[must_use]
    pub fn ended(&self) -> Option<Completion> {
        let record = match &self.sent {
            Ok(record) => record,
            Err(completion) => return Some(completion.clone()),
        };
        record.touch();
        self.completion_of(record)
    }

    /// Returns the result of an IRP. The caller records the access.
    fn completion_of(&self, record: &IrpRecord) -> Option<Completion> {
        let state = locked(&record.state);
        let (status, information) = state.completion?;
        let refused = self.answer != STATUS_PENDING && status.cast_unsigned() >> 30 == 3;
        Some(Completion {
            status,
            information: if refused { 0 } else { information },
            output: state.output.clone(),
        })
    }

    /// Returns the final status of the request; `None` while it has not ended.
    #[must_use]
    pub fn status(&self) -> Option<i32> {
        match &self.sent {
            Ok(record) => {
                record.touch();
                locked(&record.state).completion.map(|(status, _)| status)
            }
            Err(completion) => Some(completion.status),
        }
    }

    /// Waits until the request ends; returns `None` if it does not end in time, or the system has stopped.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<Completion> {
        let Ok(record) = &self.sent else {
            return self.ended();
        };
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter_noted("NtWaitForSingleObject");
        let start = Instant::now();
        let deadline = start.checked_add(timeout).unwrap_or(start + LONGEST);
        let wait = Wait::Irp(record.address());
        let completion = call.wait_until(wait, deadline, || self.completion_of(record));
        self.kernel.close_deferred(&call);
        completion
    }

    /// Writes into the user's buffer of a request with direct I/O while the driver has it, as another thread of the process
    /// can do at any time.
    pub fn write_buffer(&self, offset: usize, bytes: &[u8]) {
        let _attached = Attached::to(&self.kernel);
        if let Ok(record) = &self.sent
            && let Some(direct) = &record.direct
        {
            direct.write_as_user(record, offset, bytes);
        }
    }

    /// Requests the cancellation. Returns whether the request had not ended yet.
    pub fn cancel(&self) -> bool {
        let Ok(record) = &self.sent else {
            return false;
        };
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter_noted("NtCancelIoFileEx");
        record.touch();
        if record.is_completed() {
            return false;
        }
        call.cancel_irp(record);
        self.kernel.close_deferred(&call);
        true
    }

    /// Calls `IoCancelIrp` for the request; returns whether a Cancel routine was called.
    pub fn cancel_irp(&self) -> bool {
        let Ok(record) = &self.sent else {
            return false;
        };
        let _attached = Attached::to(&self.kernel);
        let call = Call::enter_noted("IoCancelIrp");
        let called = call.cancel_irp(record);
        self.kernel.close_deferred(&call);
        called
    }

    /// Performs the first half of `IoCancelIrp`, in the worst case: sets `Irp->Cancel` and takes the Cancel routine without
    /// the cancel spin lock, which is acquired when the routine is [called](Cancelling::finish). So a single thread can
    /// perform, between the two halves, the steps of another thread.
    #[must_use]
    pub fn begin_cancel(&self) -> Cancelling<'_> {
        let _attached = Attached::to(&self.kernel);
        let _call = Call::enter_noted("IoCancelIrp");
        let routine = self.sent.as_ref().ok().and_then(|record| {
            record.set_cancel();
            record.take_cancel_routine()
        });
        Cancelling {
            request: self,
            routine,
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}

/// An `IoCancelIrp` that has taken the Cancel routine but has not called it yet.
pub struct Cancelling<'a> {
    request: &'a Request,
    routine: nt::PDRIVER_CANCEL,
}

impl Cancelling<'_> {
    /// Calls the Cancel routine, if there was one.
    #[must_use]
    pub fn finish(self) -> bool {
        let (Some(routine), Ok(record)) = (self.routine, &self.request.sent) else {
            return false;
        };
        let _attached = Attached::to(&self.request.kernel);
        let call = Call::enter_noted("IoCancelIrp");
        let old_irql = call.acquire_cancel_lock();
        call.call_cancel_routine(record, routine, old_irql);
        self.request.kernel.close_deferred(&call);
        true
    }
}
