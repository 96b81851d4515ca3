//! The queue *stack*.

use std::thread;

use interlock_abi::{Pend, Pended, RECORDS_PER_OPEN, Routine, queue};

use super::cancel::join;
use super::session::{Session, Tally, expect_cancelled, expect_order, expect_pended};
use super::{Context, Halt, Scenario, Verdict, ensure, scenario};
use crate::status::Status;
use crate::target::{DEADLINE, Device, fifo};

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "stack::last_in_first_out",
        "records that were pushed are popped in the opposite order, until there is none",
        &[
            Routine::ExInterlockedPushEntryList,
            Routine::ExInterlockedPopEntryList,
        ],
        last_in_first_out,
    ),
    scenario(
        "stack::own_handle",
        "each handle has a stack of its own, which goes when the handle is closed",
        &[
            Routine::ExInterlockedPushEntryList,
            Routine::ExInterlockedPopEntryList,
        ],
        own_handle,
    ),
    scenario(
        "stack::at_once",
        "four threads push and pop 250 times each, and every record is popped once",
        &[
            Routine::ExInterlockedPushEntryList,
            Routine::ExInterlockedPopEntryList,
        ],
        at_once,
    ),
    scenario(
        "stack::quota",
        "a handle that has as many records as it may is refused further ones, and no other handle is",
        &[
            Routine::ExInterlockedPushEntryList,
            Routine::ExInterlockedPopEntryList,
        ],
        quota,
    ),
];

/// A request for the stack.
pub fn stacked(tag: u64) -> Pend {
    Pend {
        tag,
        queue: queue::STACK,
        key: 0,
        service_ms: 0,
        reserved: 0,
    }
}

fn last_in_first_out(_: &Context) -> Verdict {
    const COUNT: u64 = 100;
    let session = Session::begin()?;
    expect_empty(&session.device)?;
    let mut pushed = Vec::new();
    for tag in 0..COUNT {
        let request = session.device.pend_on(stacked(tag))?;
        let expected = session.before.completed + tag + 1;
        pushed.push(expect_order(stacked(tag), &request, expected)?);
        expect_stacked(&session.device, pushed.len())?;
    }
    while let Some(expected) = pushed.pop() {
        let popped = pop(&session.device)?;
        ensure(popped == expected, || {
            format!("{popped:?} was popped, not {expected:?}")
        })?;
        expect_stacked(&session.device, pushed.len())?;
    }
    expect_empty(&session.device)?;
    session.settle(Tally {
        completed: COUNT,
        ..Tally::default()
    })
}

fn own_handle(_: &Context) -> Verdict {
    let session = Session::begin()?;
    expect_empty(&session.device)?;
    let other = Device::open()?;
    let mut pushed = Vec::new();
    for (tag, device) in [(1, &other), (2, &session.device), (3, &other)] {
        pushed.push(expect_pended(stacked(tag), &device.pend_on(stacked(tag))?)?);
    }
    let popped = [pop(&session.device)?, pop(&other)?];
    ensure(popped == pushed[1..], || {
        format!("{popped:?} were popped, of {pushed:?}")
    })?;
    let none = session.device.pop()?;
    ensure(none.is_none(), || {
        format!("{none:?} was popped through a handle that did not push it")
    })?;
    expect_stacked(&session.device, 1)?;
    other.close();
    expect_empty(&session.device)?;
    session.settle(Tally {
        completed: 3,
        ..Tally::default()
    })
}

fn quota(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let greedy = Device::open()?;
    let most = u64::from(RECORDS_PER_OPEN);
    // One of them waits: what pends counts as what is stacked does.
    let waiting = greedy.pend(0)?;
    for tag in 1..most {
        expect_pended(stacked(tag), &greedy.pend_on(stacked(tag))?)?;
    }
    for one_more in [stacked(most), fifo(most)] {
        let end = greedy.pend_on(one_more)?.wait(DEADLINE)?;
        let status = end.map(|end| end.status);
        ensure(status == Some(Status::QUOTA_EXCEEDED), || {
            format!("one record too many ended with {status:?}")
        })?;
    }
    expect_pended(stacked(1), &session.device.pend_on(stacked(1))?)?;
    pop(&session.device)?;
    // A record that is popped makes room for one.
    pop(&greedy)?;
    expect_pended(stacked(most), &greedy.pend_on(stacked(most))?)?;
    greedy.close();
    expect_cancelled(0, &waiting)?;
    expect_empty(&session.device)?;
    let in_use = session.device.statistics()?.records_in_use;
    ensure(in_use == 0, || {
        format!("{in_use} records are in use after their handle was closed")
    })?;
    session.settle(Tally {
        completed: most + 1,
        cancelled: 1,
        over_quota: 2,
        ..Tally::default()
    })
}

/// A thread pops no more than it has pushed, so there is always a record for it, if not its own.
fn at_once(_: &Context) -> Verdict {
    const THREADS: u64 = 4;
    const EACH: u64 = 250;
    let session = Session::begin()?;
    expect_empty(&session.device)?;
    let device = &session.device;
    let work = |thread: u64| -> Verdict<Vec<u64>> {
        let push_and_pop = |tag| {
            expect_pended(stacked(tag), &device.pend_on(stacked(tag))?)?;
            Ok(pop(device)?.tag)
        };
        (thread * EACH..(thread + 1) * EACH)
            .map(push_and_pop)
            .collect()
    };
    let tags = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        let tags = threads.into_iter().map(join);
        tags.collect::<Verdict<Vec<_>>>()
    })?;
    let mut tags = tags.concat();
    tags.sort_unstable();
    ensure(tags.iter().copied().eq(0..THREADS * EACH), || {
        format!("a record was popped twice, or never: {tags:?}")
    })?;
    expect_empty(&session.device)?;
    session.settle(Tally {
        completed: THREADS * EACH,
        ..Tally::default()
    })
}

/// Pops a record, which must be there.
pub fn pop(device: &Device) -> Verdict<Pended> {
    let missing = || Halt::Failed("a record that was pushed is not on the stack".into());
    device.pop()?.ok_or_else(missing)
}

fn expect_empty(device: &Device) -> Verdict {
    let popped = device.pop()?;
    ensure(popped.is_none(), || {
        format!("{popped:?} was on the stack, which should be empty")
    })?;
    expect_stacked(device, 0)
}

fn expect_stacked(device: &Device, expected: usize) -> Verdict {
    let stacked = device.statistics()?.stacked;
    ensure(stacked as usize == expected, || {
        format!("{stacked} records are said to be on the stack, not {expected}")
    })
}
