//! `PEND` requests that were sent, and the checks of how they end.

use interlock_abi::{Pend, Pended};

use crate::error::{Error, Result, ensure};
use crate::status::Status;
use crate::target::{Completion, Request};

/// A `PEND` request that was sent. Dropping one that has not ended cancels it.
#[derive(Debug)]
pub struct Sent {
    /// The input of the request.
    pub pend: Pend,
    /// The request.
    pub request: Request,
}

impl Sent {
    /// Returns whether the request has ended.
    pub fn is_done(&self) -> bool {
        self.request.is_done()
    }

    /// Cancels the request; returns whether it was found.
    pub fn cancel(&self) -> Result<bool> {
        self.request.cancel()
    }

    /// Waits for the request to end.
    pub fn end(&self) -> Result<Completion> {
        self.request.end(format_args!("request {}", self.pend.tag))
    }

    /// Checks that the request has not ended.
    pub fn expect_pending(&self) -> Result {
        if !self.is_done() {
            return Ok(());
        }
        let Pend { tag, .. } = self.pend;
        let status = self.end()?.status;
        Err(Error::failed(format!(
            "request {tag} should be pending, but ended with {status}"
        )))
    }

    /// Cancels the request, which must be pending, and checks that it ends as cancelled.
    pub fn expect_cancel(&self) -> Result {
        self.expect_found(true)?;
        self.expect_cancelled()
    }

    /// Checks that a cancellation finds the request, which is pending, or does not find it, since it has ended.
    pub fn expect_found(&self, expected: bool) -> Result {
        let found = self.cancel()?;
        ensure(found == expected, || {
            let Pend { tag, .. } = self.pend;
            if expected {
                format!("CancelIoEx did not find request {tag}, which is pending")
            } else {
                format!("CancelIoEx found request {tag}, which has ended")
            }
        })
    }

    /// Checks that the request was completed with success and with the values that it was sent with.
    pub fn expect_completed(&self) -> Result<Pended> {
        let (pend, end) = (self.pend, self.end()?);
        ensure(end.status == Status::SUCCESS, || {
            format!(
                "request {} ended with {}, not with success",
                pend.tag, end.status
            )
        })?;
        let pended: Pended = end.read()?;
        let own = Pended {
            tag: pend.tag,
            queue: pend.queue,
            key: pend.key,
            reserved: 0,
            ..pended
        };
        ensure(pended == own, || format!("{pend:?} ended as {pended:?}"))?;
        Ok(pended)
    }

    /// Checks that the request was completed with success, and that the driver numbered it `expected`.
    pub fn expect_order(&self, expected: u64) -> Result<Pended> {
        let pended = self.expect_completed()?;
        ensure(pended.order == expected, || {
            format!(
                "request {} was completed as number {}, not {expected}",
                pended.tag, pended.order
            )
        })?;
        Ok(pended)
    }

    /// Checks that the request was cancelled: the status, Information 0, and an output buffer that was not written.
    pub fn expect_cancelled(&self) -> Result {
        self.expect_refused(&[Status::CANCELLED])
    }

    /// Checks that the request ended with one of the statuses and without output.
    pub fn expect_refused(&self, allowed: &[Status]) -> Result {
        expect_no_output(&format!("request {}", self.pend.tag), &self.end()?, allowed)
    }

    /// Checks that the request was either completed with success, or cancelled: `None`.
    pub fn expect_completed_or_cancelled(&self) -> Result<Option<Pended>> {
        if self.end()?.status == Status::CANCELLED {
            self.expect_cancelled()?;
            return Ok(None);
        }
        self.expect_completed().map(Some)
    }
}

/// Checks that a request ended with one of the statuses, Information 0, and an output buffer that was not written.
pub fn expect_no_output(what: &str, end: &Completion, allowed: &[Status]) -> Result {
    let Completion {
        status,
        information,
        output,
    } = end;
    ensure(allowed.contains(status), || {
        format!("{what} ended with {status}, not with {allowed:?}")
    })?;
    ensure(*information == 0 && end.rest_is_untouched(), || {
        format!("{what} ended with {status} and Information {information}, output {output:02x?}")
    })
}

/// Checks that none of the requests has ended.
pub fn expect_all_pending<'a>(sent: impl IntoIterator<Item = &'a Sent>) -> Result {
    sent.into_iter().try_for_each(Sent::expect_pending)
}

/// Checks that each of the requests was cancelled.
pub fn expect_all_cancelled<'a>(sent: impl IntoIterator<Item = &'a Sent>) -> Result {
    sent.into_iter().try_for_each(Sent::expect_cancelled)
}
