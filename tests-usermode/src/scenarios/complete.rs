//! Requests that are completed.

use super::session::{Session, Tally, expect_order, expect_pended, expect_pending, pend};
use super::{Context, Scenario, Verdict, ensure, scenario};
use crate::target::{Device, Request, fifo};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "complete::in_order",
        "requests of two handles are completed oldest first, and no more than asked for",
        &[],
        in_order,
    ),
    scenario(
        "complete::more_than_pending",
        "asking for more than pends completes what there is and says how many that were",
        &[],
        more_than_pending,
    ),
    scenario(
        "complete::by_tag",
        "requests are completed by tag in any order, each with its own tag, the others untouched",
        &[],
        by_tag,
    ),
    scenario(
        "complete::same_tag",
        "of requests with the same tag, the oldest is completed first",
        &[],
        same_tag,
    ),
    scenario(
        "complete::unknown_tag",
        "a tag that nobody has is not found, and that is counted nowhere",
        &[],
        unknown_tag,
    ),
];

/// Requests of two handles, by turns, completed a few at a time: oldest first, no more than asked for.
fn in_order(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let other = Device::open()?;
    let mut requests = Vec::new();
    for tag in 0..64 {
        let device = if tag % 2 == 0 {
            &session.device
        } else {
            &other
        };
        requests.append(&mut pend(device, [tag])?);
    }
    let mut done = 0;
    for count in [1_u32, 7, 24, 32] {
        let completed = other.complete_oldest(count)?;
        ensure(completed == count, || {
            format!("{completed} requests were completed, not {count}")
        })?;
        let step = count as usize;
        expect_in_order(
            &requests[done..done + step],
            session.before.completed + done as u64,
        )?;
        for (tag, request) in &requests[done..done + step] {
            // The counters are wider than the sequence, which wraps.
            let expected = session.before.submitted.wrapping_add(*tag);
            let sequence = expect_pended(fifo(*tag), request)?.sequence;
            ensure(
                u64::from(sequence) == expected & u64::from(u32::MAX),
                || format!("request {tag} was accepted after {sequence} others, not {expected}"),
            )?;
        }
        done += step;
        for (tag, request) in &requests[done..] {
            expect_pending(*tag, request)?;
        }
    }
    session.settle(Tally {
        completed: 64,
        ..Tally::default()
    })
}

/// More is asked for than pends.
fn more_than_pending(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let requests = session.pend(0..5)?;
    for (asked, expected) in [(u32::MAX, 5), (1, 0)] {
        let completed = session.device.complete_oldest(asked)?;
        ensure(completed == expected, || {
            format!("asked for {asked}, {completed} requests were completed, not {expected}")
        })?;
    }
    expect_in_order(&requests, session.before.completed)?;
    session.settle(Tally {
        completed: 5,
        ..Tally::default()
    })
}

/// Every third request, then the rest from the youngest to the oldest.
fn by_tag(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let tags = [3, u64::MAX, 0, 7, 1 << 32, 5, 1 << 63, 9, 2];
    let requests = session.pend(tags)?;
    let third = (0..tags.len()).step_by(3);
    let rest = (0..tags.len()).rev().filter(|index| index % 3 != 0);
    let order: Vec<usize> = third.chain(rest).collect();
    for (done, index) in order.iter().enumerate() {
        let (tag, request) = &requests[*index];
        complete_tag(&session.device, *tag)?;
        let expected = session.before.completed + done as u64 + 1;
        expect_order(fifo(*tag), request, expected)?;
        for later in &order[done + 1..] {
            let (tag, request) = &requests[*later];
            expect_pending(*tag, request)?;
        }
    }
    session.settle(Tally {
        completed: tags.len() as u64,
        ..Tally::default()
    })
}

/// The same tag three times among others.
fn same_tag(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let requests = session.pend([8, 7, 9, 7, 7])?;
    for (done, index) in [1, 3, 4, 2, 0].into_iter().enumerate() {
        let (tag, request) = &requests[index];
        expect_pending(*tag, request)?;
        complete_tag(&session.device, *tag)?;
        expect_order(
            fifo(*tag),
            request,
            session.before.completed + done as u64 + 1,
        )?;
    }
    session.settle(Tally {
        completed: 5,
        ..Tally::default()
    })
}

/// A tag that nobody has, with nothing pending and with something pending.
fn unknown_tag(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let not_found = |tag| {
        let found = session.device.complete_by_tag(tag)?;
        ensure(!found, || format!("a request with tag {tag} was completed"))
    };
    not_found(5)?;
    let requests = session.pend([4, 6])?;
    not_found(5)?;
    for (tag, request) in &requests {
        expect_pending(*tag, request)?;
    }
    complete_tag(&session.device, 4)?;
    not_found(4)?;
    complete_tag(&session.device, 6)?;
    expect_in_order(&requests, session.before.completed)?;
    session.settle(Tally {
        completed: 2,
        ..Tally::default()
    })
}

/// Completes the oldest request with a tag, which must be there.
pub fn complete_tag(device: &Device, tag: u64) -> Verdict {
    let found = device.complete_by_tag(tag)?;
    ensure(found, || {
        format!("the pending request with tag {tag} was not found")
    })
}

/// Checks that the requests were completed in this order, the first one right after `before` others.
pub fn expect_in_order(requests: &[(u64, Request)], before: u64) -> Verdict {
    for (expected, (tag, request)) in (before + 1..).zip(requests) {
        expect_order(fifo(*tag), request, expected)?;
    }
    Ok(())
}
