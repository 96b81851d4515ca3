//! Requests that are completed.

use super::session::{Session, Tally, expect_pending, expect_success, pend};
use super::{Context, Verdict, ensure};
use crate::target::{Device, Request};

/// Requests of two handles, by turns, completed a few at a time: oldest first, no more than asked for.
pub fn in_order(_: &Context) -> Verdict {
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
pub fn more_than_pending(_: &Context) -> Verdict {
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
pub fn by_tag(_: &Context) -> Verdict {
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
        expect_order(*tag, request, expected)?;
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
pub fn same_tag(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let requests = session.pend([8, 7, 9, 7, 7])?;
    for (done, index) in [1, 3, 4, 2, 0].into_iter().enumerate() {
        let (tag, request) = &requests[index];
        expect_pending(*tag, request)?;
        complete_tag(&session.device, *tag)?;
        expect_order(*tag, request, session.before.completed + done as u64 + 1)?;
    }
    session.settle(Tally {
        completed: 5,
        ..Tally::default()
    })
}

/// A tag that nobody has, with nothing pending and with something pending.
pub fn unknown_tag(_: &Context) -> Verdict {
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
        expect_order(*tag, request, expected)?;
    }
    Ok(())
}

fn expect_order(tag: u64, request: &Request, expected: u64) -> Verdict {
    let order = expect_success(tag, request)?;
    ensure(order == expected, || {
        format!("request {tag} was completed as number {order}, not {expected}")
    })
}
