//! Requests that are cancelled.

use super::{Scenario, Session, Tally, on_threads};
use crate::client::{Device, expect_all_cancelled, expect_all_pending};
use crate::error::{Result, ensure};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = scenarios! { "cancel":
    one_of_many, [IoSetCancelRoutine, IoReleaseCancelSpinLock],
        "CancelIoEx of one request ends that one and leaves its neighbours pending, in order";
    threads_own, [IoSetCancelRoutine, IoReleaseCancelSpinLock],
        "CancelIo ends the requests of the calling thread and leaves another thread's pending";
    all_of_a_handle, [IoSetCancelRoutine, IoReleaseCancelSpinLock],
        "CancelIoEx of a whole handle ends its requests and leaves another handle's pending";
    immediate, [IoSetCancelRoutine, IoReleaseCancelSpinLock],
        "a request that is cancelled as soon as it is sent ends as cancelled, 10,000 times";
    twice, [IoSetCancelRoutine, IoReleaseCancelSpinLock],
        "a second cancellation of the same request changes nothing";
    completed, [IoSetCancelRoutine],
        "cancelling a request that was completed finds nothing and changes nothing";
};

/// The first, the last and some in the middle are cancelled; the others are completed in order.
fn one_of_many(session: &Session) -> Result<Tally> {
    const CANCELLED: [u64; 5] = [5, 0, 15, 6, 10];
    let mut requests = session.device.pend_all(0..16)?;
    for tag in CANCELLED {
        let index = requests.iter().position(|sent| sent.pend.tag == tag);
        let cancelled = requests.remove(index.unwrap_or_default());
        cancelled.expect_pending()?;
        cancelled.expect_cancel()?;
        expect_all_pending(&requests)?;
    }
    session.complete_all(&requests)?;
    Ok(Tally::completed(11).cancelled(5))
}

/// Two threads send requests through the same handle; one of them cancels its own.
fn threads_own(session: &Session) -> Result<Tally> {
    // This thread sends them, since the requests of a thread end when it exits.
    let kept = session.device.pend_all(0..10)?;
    on_threads(1, |_| {
        let own = session.device.pend_all(100..110)?;
        session.device.cancel_threads_own()?;
        expect_all_cancelled(&own)
    })?;
    expect_all_pending(&kept)?;
    session.complete_all(&kept)?;
    Ok(Tally::completed(10).cancelled(10))
}

/// Two handles have requests pending; all requests of one handle are cancelled.
fn all_of_a_handle(session: &Session) -> Result<Tally> {
    let other = Device::open()?;
    let (mut kept, mut cancelled) = (Vec::new(), Vec::new());
    for tag in 0..20 {
        kept.append(&mut session.device.pend_all([tag])?);
        cancelled.append(&mut other.pend_all([tag])?);
    }
    let found = other.cancel_all()?;
    ensure(found, || "CancelIoEx found no request of the handle".into())?;
    expect_all_cancelled(&cancelled)?;
    expect_all_pending(&kept)?;
    session.complete_all(&kept)?;
    Ok(Tally::completed(20).cancelled(20))
}

fn immediate(session: &Session) -> Result<Tally> {
    let rounds = session.rounds(10_000);
    for tag in 0..rounds {
        session.device.pend(tag)?.expect_cancel()?;
    }
    Ok(Tally::NONE.cancelled(rounds))
}

/// The request is cancelled again both before and after its end is waited for.
fn twice(session: &Session) -> Result<Tally> {
    let rounds = session.rounds(100);
    for tag in 0..rounds {
        let sent = session.device.pend(tag)?;
        sent.expect_found(true)?;
        // The request may have ended, so both results are correct.
        sent.cancel()?;
        sent.expect_cancelled()?;
        sent.expect_found(false)?;
        sent.expect_cancelled()?;
    }
    Ok(Tally::NONE.cancelled(rounds))
}

fn completed(session: &Session) -> Result<Tally> {
    let rounds = session.rounds(100);
    for tag in 0..rounds {
        let sent = session.device.pend(tag)?;
        sent.expect_pending()?;
        session.device.expect_complete_by_tag(tag, true)?;
        let pended = sent.expect_completed()?;
        sent.expect_found(false)?;
        sent.expect_order(pended.order)?;
    }
    Ok(Tally::completed(rounds))
}
