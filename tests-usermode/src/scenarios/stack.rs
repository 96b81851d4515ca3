//! The queue *stack*.

use std::thread;

use interlock_abi::{Pend, Pended, Routine, queue};

use super::cancel::join;
use super::session::{Session, Tally, expect_order, expect_pended};
use super::{Context, Halt, Scenario, Verdict, ensure, scenario};
use crate::target::Device;

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
        "stack::other_handle",
        "a record is popped through another handle than it was pushed, even one that is closed",
        &[
            Routine::ExInterlockedPushEntryList,
            Routine::ExInterlockedPopEntryList,
        ],
        other_handle,
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

fn other_handle(_: &Context) -> Verdict {
    let session = Session::begin()?;
    expect_empty(&session.device)?;
    let other = Device::open()?;
    let mut pushed = Vec::new();
    for (tag, device) in [(1, &other), (2, &session.device), (3, &other)] {
        pushed.push(expect_pended(stacked(tag), &device.pend_on(stacked(tag))?)?);
    }
    let [first, second, third] = pushed[..] else {
        return Err(Halt::Failed("three requests were sent".into()));
    };
    let popped = [pop(&session.device)?, pop(&other)?];
    other.close();
    let popped = [popped[0], popped[1], pop(&session.device)?];
    ensure(popped == [third, second, first], || {
        format!("{popped:?} were popped, not {pushed:?} in the opposite order")
    })?;
    expect_empty(&session.device)?;
    session.settle(Tally {
        completed: 3,
        ..Tally::default()
    })
}

/// A thread pops no more than it has pushed, so there is always a record for it, if not its own.
fn at_once(_: &Context) -> Verdict {
    const THREADS: u64 = 4;
    const EACH: u64 = 250;
    let session = Session::begin()?;
    expect_empty(&session.device)?;
    let work = |thread: u64| -> Verdict<Vec<u64>> {
        let device = Device::open()?;
        let push_and_pop = |tag| {
            expect_pended(stacked(tag), &device.pend_on(stacked(tag))?)?;
            Ok(pop(&device)?.tag)
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
