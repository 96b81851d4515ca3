//! Requests that are completed.

use super::{Scenario, Session, Tally};
use crate::client::{Device, Sent, expect_all_pending};
use crate::error::{Result, ensure};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = scenarios! { "complete":
    in_order, [],
        "requests of two handles are completed oldest first, and no more of them than requested";
    more_than_pending, [],
        "COMPLETE_OLDEST of more requests than are pending completes all of them and returns their number";
    by_tag, [],
        "requests are completed by tag in any order, each with its own tag, the others untouched";
    same_tag, [],
        "of requests with the same tag, the oldest is completed first";
    unknown_tag, [],
        "a tag that no request has is not found, and no counter changes";
};

/// Two handles send requests in turn, and a few are completed at a time.
fn in_order(session: &Session) -> Result<Tally> {
    let other = Device::open()?;
    let in_turn = [&session.device, &other].into_iter().cycle();
    let requests = in_turn.zip(0..64).map(|(device, tag)| device.pend(tag));
    let requests: Vec<Sent> = requests.collect::<Result<_>>()?;
    expect_all_pending(&requests)?;
    let (mut rest, mut done) = (&requests[..], 0);
    for count in [1, 7, 24, 32] {
        let (oldest, younger) = rest.split_at(count);
        other.expect_complete_oldest(u32::try_from(count).unwrap_or(u32::MAX), count)?;
        session.expect_in_order(done, oldest)?;
        for sent in oldest {
            // The counters have more bits than the sequence number, which wraps.
            let tag = sent.pend.tag;
            let expected = session.before.submitted.wrapping_add(tag) & u64::from(u32::MAX);
            let sequence = sent.expect_completed()?.sequence;
            ensure(u64::from(sequence) == expected, || {
                format!("request {tag} has the sequence number {sequence}, not {expected}")
            })?;
        }
        expect_all_pending(younger)?;
        rest = younger;
        done += count as u64;
    }
    Ok(Tally::completed(64))
}

fn more_than_pending(session: &Session) -> Result<Tally> {
    let requests = session.device.pend_all(0..5)?;
    session.complete_all(&requests)?;
    session.device.expect_complete_oldest(1, 0)?;
    Ok(Tally::completed(5))
}

/// Every third request is completed, then the others from the youngest to the oldest.
fn by_tag(session: &Session) -> Result<Tally> {
    let tags = [3, u64::MAX, 0, 7, 1 << 32, 5, 1 << 63, 9, 2];
    complete_by_tag(session, &tags, &[0, 3, 6, 8, 7, 5, 4, 2, 1])
}

fn same_tag(session: &Session) -> Result<Tally> {
    complete_by_tag(session, &[8, 7, 9, 7, 7], &[1, 3, 4, 2, 0])
}

/// Sends requests with these tags, and completes the tag of each index; the request at that index must end.
fn complete_by_tag(session: &Session, tags: &[u64], order: &[usize]) -> Result<Tally> {
    let requests = session.device.pend_all(tags.iter().copied())?;
    for (done, index) in order.iter().enumerate() {
        let sent = &requests[*index];
        session.device.expect_complete_by_tag(sent.pend.tag, true)?;
        session.expect_nth(done as u64 + 1, sent)?;
        expect_all_pending(order[done + 1..].iter().map(|later| &requests[*later]))?;
    }
    Ok(Tally::completed(tags.len() as u64))
}

/// An unknown tag, first without a pending request and then with some.
fn unknown_tag(session: &Session) -> Result<Tally> {
    let complete = |tag, expected| session.device.expect_complete_by_tag(tag, expected);
    complete(5, false)?;
    let requests = session.device.pend_all([4, 6])?;
    complete(5, false)?;
    expect_all_pending(&requests)?;
    complete(4, true)?;
    complete(4, false)?;
    complete(6, true)?;
    session.expect_in_order(0, &requests)?;
    Ok(Tally::completed(2))
}
