//! The queue *interlocked*.

use interlock_abi::{Pend, queue};

use super::{Scenario, Session, Tally, on_threads};
use crate::client::{Device, on_queue};
use crate::error::Result;

const TAIL: u32 = 0;
const HEAD: u32 = 1;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = scenarios! { "interlocked":
    either_end, [ExInterlockedInsertHeadList, ExInterlockedInsertTailList, ExInterlockedRemoveHeadList],
        "a request is completed whether it was inserted at the head or at the tail";
    concurrent, [ExInterlockedInsertHeadList, ExInterlockedInsertTailList, ExInterlockedRemoveHeadList],
        "1,000 requests of four threads at once, at both ends, are each completed once";
};

fn interlocked(tag: u64, key: u32) -> Pend {
    Pend {
        key,
        ..on_queue(queue::INTERLOCKED, tag)
    }
}

/// Each request is sent after the one before has ended, so they end in this order.
fn either_end(session: &Session) -> Result<Tally> {
    for (tag, key) in (0..).zip([TAIL, HEAD, HEAD, TAIL]) {
        let sent = session.device.send(interlocked(tag, key))?;
        session.expect_nth(tag + 1, &sent)?;
    }
    Ok(Tally::completed(4))
}

/// Each thread waits only after it has sent all of its requests.
fn concurrent(session: &Session) -> Result<Tally> {
    const THREADS: u64 = 4;
    const EACH: u64 = 250;
    let orders = on_threads(THREADS, |thread| {
        let device = Device::open()?;
        let tags = thread * EACH..(thread + 1) * EACH;
        let key = |tag| if tag % 2 == 0 { TAIL } else { HEAD };
        let requests = device.send_all(tags.map(|tag| interlocked(tag, key(tag))))?;
        let orders = requests
            .iter()
            .map(|sent| Ok(sent.expect_completed()?.order));
        orders.collect::<Result<Vec<_>>>()
    })?;
    session.expect_each_order_once(&orders.concat())?;
    Ok(Tally::completed(THREADS * EACH))
}
