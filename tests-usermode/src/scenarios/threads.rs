//! Each routine in several system threads at once, on one object.

use interlock_abi::{Routine, RunThreads};

use super::{Scenario, Session, Tally};
use crate::error::{Result, ensure};

const THREADS: u32 = 4;

/// The expected value of the count that a routine must reach.
#[derive(Clone, Copy)]
enum Outcome {
    /// The number of rounds.
    Rounds,
    /// Any number greater than zero.
    Some,
}

/// A scenario for each routine, named after it.
macro_rules! threads {
    ($($routine:ident $outcome:ident: $summary:literal,)*) => {
        scenarios! { "threads": $(
            $routine => |session| run(session, Routine::$routine, Outcome::$outcome), [$routine], $summary;
        )* }
    };
}

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = threads! {
    IoAcquireCancelSpinLock Rounds: "no count is lost under the cancel spin lock",
    IoReleaseCancelSpinLock Rounds: "the next owner of the cancel spin lock sees what the last one counted",
    KeAcquireSpinLock Rounds: "no count is lost under a spin lock",
    KeReleaseSpinLock Rounds: "the next owner of a spin lock sees what the last one counted",
    KeAcquireSpinLockAtDpcLevel Rounds: "no count is lost under a spin lock at DISPATCH_LEVEL",
    KeReleaseSpinLockFromDpcLevel Rounds: "the next owner of a lock sees what the last one counted at DISPATCH_LEVEL",
    ExInterlockedInsertHeadList Rounds: "no node that is inserted at the head is lost, or removed twice",
    ExInterlockedInsertTailList Rounds: "no node that is inserted at the tail is lost, or removed twice",
    ExInterlockedRemoveHeadList Rounds: "no node is removed by two threads, and every node by one",
    ExInterlockedPushEntryList Rounds: "no node that is pushed is lost, or popped twice",
    ExInterlockedPopEntryList Rounds: "no node is popped by two threads, and every node by one",
    ExInterlockedExtendZone Some: "blocks that are added during allocations are all in the zone, each once",
    ExInterlockedAllocateFromZone Some: "no block is allocated by two threads, and none is lost",
    ExInterlockedFreeToZone Some: "no block that is freed is lost, or allocated twice",
    KeInsertDeviceQueue Rounds: "every request that is inserted is served once, one at a time",
    KeInsertByKeyDeviceQueue Rounds: "every request that is inserted by key is served once, one at a time",
    KeRemoveDeviceQueue Rounds: "every request is removed once, and the device is never busy with two",
    KeRemoveByKeyDeviceQueue Rounds: "every request is removed by key once, and two are never served",
    KeRemoveByKeyDeviceQueueIfBusy Rounds: "every request is removed once, whether or not the queue is busy",
    KeRemoveEntryDeviceQueue Rounds: "a request is either removed or served, never both",
    ExInterlockedAddUlong Rounds: "no 32-bit addition is lost",
    ExInterlockedAddLargeInteger Rounds: "no 64-bit addition is lost",
    InterlockedIncrement Rounds: "no increment is lost",
    InterlockedDecrement Rounds: "no decrement is lost",
    InterlockedExchange Some: "every exchanged number is returned once, or is the last",
    KeGetCurrentProcessorNumber Rounds: "the processor exists, on every thread",
};

/// Returns how often each thread runs a routine: often enough for the threads to run at the same time, since a thread takes some
/// hundred microseconds to start. A routine whose rounds wait for another thread is run less often.
const fn usual_rounds(routine: Routine) -> u64 {
    match routine {
        Routine::ExInterlockedExtendZone
        | Routine::KeInsertDeviceQueue
        | Routine::KeInsertByKeyDeviceQueue
        | Routine::KeRemoveDeviceQueue
        | Routine::KeRemoveByKeyDeviceQueue
        | Routine::KeRemoveByKeyDeviceQueueIfBusy
        | Routine::KeRemoveEntryDeviceQueue => 2000,
        _ => 100_000,
    }
}

/// Runs a routine in several threads and checks the result.
fn run(session: &Session, routine: Routine, outcome: Outcome) -> Result<Tally> {
    let rounds = session.rounds(usual_rounds(routine));
    let rounds = u32::try_from(rounds).map_or(RunThreads::MAX_ROUNDS, |rounds| {
        rounds.min(RunThreads::MAX_ROUNDS)
    });
    let ran = session.device.run_threads(routine, THREADS, rounds)?;
    let all = u64::from(THREADS) * u64::from(rounds);
    let expected = match outcome {
        Outcome::Rounds => ran.expected == all,
        Outcome::Some => ran.expected > 0,
    };
    let right = ran.rounds == all && expected && ran.actual == ran.expected && ran.violations == 0;
    ensure(right, || {
        let name = routine.name();
        format!("{name} in {THREADS} threads, {rounds} times each: {ran:?}")
    })?;
    Ok(Tally::NONE)
}
