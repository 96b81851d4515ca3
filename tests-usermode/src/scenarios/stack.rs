//! The queue *stack*.

use interlock_abi::{Pend, Pended, RECORDS_PER_OPEN, queue};

use super::{Scenario, Session, Tally, on_threads};
use crate::client::{Device, fifo, on_queue};
use crate::error::{Error, Result, ensure};
use crate::status::Status;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = scenarios! { "stack":
    last_in_first_out, [ExInterlockedPushEntryList, ExInterlockedPopEntryList],
        "records are popped in the opposite order of their pushes, until the stack is empty";
    own_handle, [ExInterlockedPushEntryList, ExInterlockedPopEntryList],
        "each handle has its own stack, which is freed when the handle is closed";
    concurrent, [ExInterlockedPushEntryList, ExInterlockedPopEntryList],
        "four threads push and pop 250 times each, and every record is popped once";
    quota, [ExInterlockedPushEntryList, ExInterlockedPopEntryList],
        "a handle that has used up its quota of records is refused further ones, and another handle is not";
};

fn stacked(tag: u64) -> Pend {
    on_queue(queue::STACK, tag)
}

/// Pushes a record with a tag.
pub fn push(device: &Device, tag: u64) -> Result<Pended> {
    device.send(stacked(tag))?.expect_completed()
}

/// Pops a record; the stack must not be empty.
pub fn pop(device: &Device) -> Result<Pended> {
    let missing = || Error::failed("a record that was pushed is not on the stack");
    device.pop()?.ok_or_else(missing)
}

fn last_in_first_out(session: &Session) -> Result<Tally> {
    const COUNT: u64 = 100;
    let device = &session.device;
    expect_empty(device)?;
    let mut pushed = Vec::new();
    for tag in 0..COUNT {
        pushed.push(session.expect_nth(tag + 1, &device.send(stacked(tag))?)?);
        expect_stacked(device, pushed.len())?;
    }
    while let Some(expected) = pushed.pop() {
        let popped = pop(device)?;
        ensure(popped == expected, || {
            format!("{popped:?} was popped, not {expected:?}")
        })?;
        expect_stacked(device, pushed.len())?;
    }
    expect_empty(device)?;
    Ok(Tally::completed(COUNT))
}

fn own_handle(session: &Session) -> Result<Tally> {
    let device = &session.device;
    expect_empty(device)?;
    let other = Device::open()?;
    push(&other, 1)?;
    let pushed = [push(device, 2)?, push(&other, 3)?];
    let popped = [pop(device)?, pop(&other)?];
    ensure(popped == pushed, || {
        format!("{popped:?} were popped, not {pushed:?}")
    })?;
    let none = device.pop()?;
    ensure(none.is_none(), || {
        format!("{none:?} was popped through a handle that did not push it")
    })?;
    expect_stacked(device, 1)?;
    other.close();
    expect_empty(device)?;
    Ok(Tally::completed(3))
}

fn quota(session: &Session) -> Result<Tally> {
    let full = Device::open()?;
    let most = u64::from(RECORDS_PER_OPEN);
    // A pending request counts as much as a record on the stack.
    let waiting = full.pend(0)?;
    for tag in 1..most {
        push(&full, tag)?;
    }
    for one_more in [stacked(most), fifo(most)] {
        let refused = full.send(one_more)?;
        refused.expect_refused(&[Status::QUOTA_EXCEEDED])?;
    }
    push(&session.device, 1)?;
    pop(&session.device)?;
    // Popping a record makes room for one.
    pop(&full)?;
    push(&full, most)?;
    full.close();
    waiting.expect_cancelled()?;
    expect_empty(&session.device)?;
    let in_use = session.device.statistics()?.records_in_use;
    ensure(in_use == 0, || {
        format!("{in_use} records are in use after their handle was closed")
    })?;
    Ok(Tally::completed(most + 1).cancelled(1).over_quota(2))
}

/// A thread pops only after it has pushed, so there is always a record for it, even if not its own.
fn concurrent(session: &Session) -> Result<Tally> {
    const THREADS: u64 = 4;
    const EACH: u64 = 250;
    let device = &session.device;
    expect_empty(device)?;
    let tags = on_threads(THREADS, |thread| {
        let tags = thread * EACH..(thread + 1) * EACH;
        let push_and_pop = |tag| push(device, tag).and_then(|_| Ok(pop(device)?.tag));
        tags.map(push_and_pop).collect::<Result<Vec<_>>>()
    })?;
    let mut tags = tags.concat();
    tags.sort_unstable();
    ensure(tags.iter().copied().eq(0..THREADS * EACH), || {
        format!("a record was popped twice, or never: {tags:?}")
    })?;
    expect_empty(device)?;
    Ok(Tally::completed(THREADS * EACH))
}

fn expect_empty(device: &Device) -> Result {
    let popped = device.pop()?;
    ensure(popped.is_none(), || {
        format!("{popped:?} was on the stack, which should be empty")
    })?;
    expect_stacked(device, 0)
}

fn expect_stacked(device: &Device, expected: usize) -> Result {
    let stacked = device.statistics()?.stacked;
    ensure(stacked as usize == expected, || {
        format!("the statistics count {stacked} records on the stack, not {expected}")
    })
}
