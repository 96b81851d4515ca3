//! Runs a routine in several system threads in parallel, on one object.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use interlock_abi::{Routine, RunThreads, ThreadResults};
use wdm::{Error, PassiveLevel, thread};

use super::{device_queues, lists, locks, numbers, zones};

/// Checks the input of a run.
pub fn check_threads(input: &RunThreads) -> Result<(), Error> {
    let runs = Routine::from_number(input.routine).is_some_and(Routine::runs_in_threads);
    let in_bounds = (1..=RunThreads::MAX_THREADS).contains(&input.threads)
        && (1..=RunThreads::MAX_ROUNDS).contains(&input.rounds);
    if runs && in_bounds && input.reserved == 0 {
        Ok(())
    } else {
        Err(Error::INVALID_PARAMETER)
    }
}

/// Runs a routine from several threads, for a [checked](check_threads) input.
// Without inlining, the objects are not part of the stack frame for every request.
#[inline(never)]
pub fn run_threads(input: &RunThreads, irql: &mut PassiveLevel) -> Result<ThreadResults, Error> {
    let routine = Routine::from_number(input.routine).ok_or(Error::INVALID_PARAMETER)?;
    let run = Run::new(routine, input.threads, input.rounds);
    let expected = match routine {
        Routine::IoAcquireCancelSpinLock
        | Routine::IoReleaseCancelSpinLock
        | Routine::KeAcquireSpinLock
        | Routine::KeReleaseSpinLock
        | Routine::KeAcquireSpinLockAtDpcLevel
        | Routine::KeReleaseSpinLockFromDpcLevel => locks::in_threads(&run, irql),
        Routine::ExInterlockedInsertHeadList
        | Routine::ExInterlockedInsertTailList
        | Routine::ExInterlockedRemoveHeadList
        | Routine::ExInterlockedPushEntryList
        | Routine::ExInterlockedPopEntryList => lists::in_threads(&run, irql),
        Routine::ExInterlockedExtendZone
        | Routine::ExInterlockedAllocateFromZone
        | Routine::ExInterlockedFreeToZone => zones::in_threads(&run, irql),
        Routine::KeInsertDeviceQueue
        | Routine::KeInsertByKeyDeviceQueue
        | Routine::KeRemoveDeviceQueue
        | Routine::KeRemoveByKeyDeviceQueue
        | Routine::KeRemoveByKeyDeviceQueueIfBusy
        | Routine::KeRemoveEntryDeviceQueue => device_queues::in_threads(&run, irql),
        Routine::ExInterlockedAddUlong
        | Routine::ExInterlockedAddLargeInteger
        | Routine::InterlockedIncrement
        | Routine::InterlockedDecrement
        | Routine::InterlockedExchange
        | Routine::KeGetCurrentProcessorNumber => numbers::in_threads(&run, irql),
        Routine::IoSetCancelRoutine
        | Routine::KeInitializeSpinLock
        | Routine::ExInitializeZone
        | Routine::ExExtendZone
        | Routine::KeInitializeDeviceQueue => Err(Error::INVALID_PARAMETER),
    }?;
    Ok(run.result(expected))
}

/// The closure that a thread runs, with the thread's number.
type Body<'a> = dyn Fn(u32, &mut PassiveLevel) + Sync + 'a;

/// The parameters and the results of a run.
pub struct Run {
    /// The routine that is run.
    pub routine: Routine,
    /// The number of threads.
    pub threads: u32,
    /// The number of rounds of each thread.
    pub rounds: u32,
    actual: AtomicU64,
    violations: AtomicU64,
}

impl Run {
    fn new(routine: Routine, threads: u32, rounds: u32) -> Self {
        Self {
            routine,
            threads,
            rounds,
            actual: AtomicU64::new(0),
            violations: AtomicU64::new(0),
        }
    }

    /// Returns the number of rounds of all threads.
    pub fn total(&self) -> u64 {
        u64::from(self.threads) * u64::from(self.rounds)
    }

    /// Calls a closure once in every thread, with the thread's number.
    // `thread::run` takes 600 bytes of stack. Without inlining it is not part of the callers' stack frames. Not generic, so that it is
    // compiled once.
    #[inline(never)]
    pub fn each_thread(&self, irql: &mut PassiveLevel, body: &Body<'_>) -> Result<(), Error> {
        thread::run(self.threads, irql, &|thread, irql: &mut PassiveLevel| {
            body(thread, irql);
        })
    }

    /// Calls a closure in every round of every thread, with the thread's number.
    pub fn each_round(&self, irql: &mut PassiveLevel, turn: &Body<'_>) -> Result<(), Error> {
        self.each_thread(irql, &|thread, irql: &mut PassiveLevel| {
            for _ in 0..self.rounds {
                turn(thread, irql);
            }
        })
    }

    /// Adds to the actual result of the run.
    pub fn add_actual(&self, number: u64) {
        self.actual.fetch_add(number, Relaxed);
    }

    /// Counts a violation unless the condition holds.
    pub fn check(&self, holds: bool) {
        if !holds {
            self.violations.fetch_add(1, Relaxed);
        }
    }

    /// Returns the output of the run, after all threads have ended.
    fn result(&self, expected: u64) -> ThreadResults {
        ThreadResults {
            rounds: self.total(),
            expected,
            actual: self.actual.load(Relaxed),
            violations: self.violations.load(Relaxed),
        }
    }
}
