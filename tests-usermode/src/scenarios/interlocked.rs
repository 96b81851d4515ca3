//! The queue *interlocked*.

use std::thread;

use interlock_abi::{Pend, Routine, queue};

use super::cancel::join;
use super::session::{Session, Tally, expect_each_order_once, expect_order, expect_pended, send};
use super::{Context, Scenario, Verdict, scenario};
use crate::target::Device;

const TAIL: u32 = 0;
const HEAD: u32 = 1;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "interlocked::either_end",
        "a request is completed whether it was inserted at the head or at the tail",
        &[
            Routine::ExInterlockedInsertHeadList,
            Routine::ExInterlockedInsertTailList,
            Routine::ExInterlockedRemoveHeadList,
        ],
        either_end,
    ),
    scenario(
        "interlocked::at_once",
        "1,000 requests of four threads at once, at both ends, are each completed once",
        &[
            Routine::ExInterlockedInsertHeadList,
            Routine::ExInterlockedInsertTailList,
            Routine::ExInterlockedRemoveHeadList,
        ],
        at_once,
    ),
];

fn interlocked(tag: u64, key: u32) -> Pend {
    Pend {
        tag,
        queue: queue::INTERLOCKED,
        key,
        service_ms: 0,
        reserved: 0,
    }
}

/// Each is sent when the one before has ended, so they end in this order.
fn either_end(_: &Context) -> Verdict {
    let session = Session::begin()?;
    let ends = [TAIL, HEAD, HEAD, TAIL];
    for (tag, key) in (0..).zip(ends) {
        let pend = interlocked(tag, key);
        let request = session.device.pend_on(pend)?;
        expect_order(pend, &request, session.before.completed + tag + 1)?;
    }
    session.settle(Tally {
        completed: 4,
        ..Tally::default()
    })
}

/// Nobody waits before all are sent.
fn at_once(_: &Context) -> Verdict {
    const THREADS: u64 = 4;
    const EACH: u64 = 250;
    let session = Session::begin()?;
    let work = |thread: u64| -> Verdict<Vec<u64>> {
        let device = Device::open()?;
        let tags = thread * EACH..(thread + 1) * EACH;
        let key = |tag| if tag % 2 == 0 { TAIL } else { HEAD };
        let pends: Vec<Pend> = tags.map(|tag| interlocked(tag, key(tag))).collect();
        let requests = send(&device, &pends)?;
        let orders = requests.iter();
        orders
            .map(|(pend, request)| Ok(expect_pended(*pend, request)?.order))
            .collect()
    };
    let orders = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        let orders = threads.into_iter().map(join);
        orders.collect::<Verdict<Vec<_>>>()
    })?;
    expect_each_order_once(session.before.completed, orders.concat())?;
    session.settle(Tally {
        completed: THREADS * EACH,
        ..Tally::default()
    })
}
