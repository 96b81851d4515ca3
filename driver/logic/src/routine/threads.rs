//! A routine run from several system threads at a time, on one object.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use interlock_abi::{Routine, RunThreads, ThreadsRan};
use wdm::{Error, PassiveLevel, thread};

use super::{device_queues, lists, locks, numbers, zones};

/// Holds the numbers of a run against their bounds.
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

/// Runs a routine from several threads, for an input that has been [checked](check_threads).
pub fn run_threads(input: &RunThreads, irql: &mut PassiveLevel) -> Result<ThreadsRan, Error> {
    let routine = Routine::from_number(input.routine).ok_or(Error::INVALID_PARAMETER)?;
    let run = Run::new(routine, input.threads, input.rounds);
    match routine {
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
    }
}

/// One run: what was asked for, and what its threads have seen.
pub struct Run {
    /// The routine that is run.
    pub routine: Routine,
    /// How many threads run it.
    pub threads: u32,
    /// How often each runs it.
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

    /// How many rounds all threads run together.
    pub fn total(&self) -> u64 {
        u64::from(self.threads) * u64::from(self.rounds)
    }

    /// Calls a closure in every thread, with the thread's number.
    // What is kept of the threads takes half a page of stack, and is not to be added to its callers' own.
    #[inline(never)]
    pub fn each_thread<F>(&self, irql: &mut PassiveLevel, body: &F) -> Result<(), Error>
    where
        F: Fn(u32, &mut PassiveLevel) + Sync,
    {
        thread::run(self.threads, irql, body)
    }

    /// Calls a closure in every round of every thread, with the thread's number.
    pub fn each_round<F>(&self, irql: &mut PassiveLevel, turn: &F) -> Result<(), Error>
    where
        F: Fn(u32, &mut PassiveLevel) + Sync,
    {
        self.each_thread(irql, &|thread, irql: &mut PassiveLevel| {
            for _ in 0..self.rounds {
                turn(thread, irql);
            }
        })
    }

    /// Adds to what has come of the run.
    pub fn came(&self, number: u64) {
        self.actual.fetch_add(number, Relaxed);
    }

    /// Counts a violation, unless what must be is so.
    pub fn must(&self, be: bool) {
        if !be {
            self.violations.fetch_add(1, Relaxed);
        }
    }

    /// What there is to say once all threads have ended.
    pub fn ran(&self, expected: u64) -> ThreadsRan {
        ThreadsRan {
            rounds: self.total(),
            expected,
            actual: self.actual.load(Relaxed),
            violations: self.violations.load(Relaxed),
        }
    }
}
