//! The device-control requests of `interlock_abi`, as they are sent.

use interlock_abi::{
    Call, CallResult, CompleteByTag, CompleteOldest, Completed, Counters, Pend, Pended, Routine,
    RunState, RunThreads, Statistics, ThreadResults, Version, ioctl, queue,
};
use zerocopy::{Immutable, IntoBytes};

/// A device-control request: an IOCTL code and its buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ioctl {
    /// The IOCTL code.
    pub code: u32,
    /// The input buffer.
    pub input: Vec<u8>,
    /// The length of the output buffer.
    pub output_len: usize,
}

impl Ioctl {
    fn new<Output>(code: u32, input: &(impl IntoBytes + Immutable)) -> Self {
        Self {
            code,
            input: input.as_bytes().into(),
            output_len: size_of::<Output>(),
        }
    }

    /// `GET_VERSION`
    pub fn get_version() -> Self {
        Self::new::<Version>(ioctl::GET_VERSION, &())
    }

    /// `PEND`
    pub fn pend(pend: Pend) -> Self {
        Self::new::<Pended>(ioctl::PEND, &pend)
    }

    /// `COMPLETE_OLDEST`
    pub fn complete_oldest(count: u32) -> Self {
        let input = CompleteOldest { count, reserved: 0 };
        Self::new::<Completed>(ioctl::COMPLETE_OLDEST, &input)
    }

    /// `COMPLETE_BY_TAG`
    pub fn complete_by_tag(tag: u64) -> Self {
        Self::new::<()>(ioctl::COMPLETE_BY_TAG, &CompleteByTag { tag })
    }

    /// `GET_COUNTERS`
    pub fn get_counters() -> Self {
        Self::new::<Counters>(ioctl::GET_COUNTERS, &())
    }

    /// `GET_STATISTICS`
    pub fn get_statistics() -> Self {
        Self::new::<Statistics>(ioctl::GET_STATISTICS, &())
    }

    /// `POP`
    pub fn pop() -> Self {
        Self::new::<Pended>(ioctl::POP, &())
    }

    /// `SET_RUN_STATE`
    pub fn set_run_state(state: u32) -> Self {
        let input = RunState { state, reserved: 0 };
        Self::new::<RunState>(ioctl::SET_RUN_STATE, &input)
    }

    /// The IOCTL of a routine
    pub fn call(routine: Routine, call: &Call) -> Self {
        Self::new::<CallResult>(routine.ioctl(), call)
    }

    /// `RUN_THREADS`
    pub fn run_threads(routine: Routine, threads: u32, rounds: u32) -> Self {
        let input = RunThreads {
            routine: routine as u32,
            threads,
            rounds,
            reserved: 0,
        };
        Self::new::<ThreadResults>(ioctl::RUN_THREADS, &input)
    }
}

/// Returns a request for a queue, with neither a key nor a service time.
pub const fn on_queue(queue: u32, tag: u64) -> Pend {
    Pend {
        tag,
        queue,
        key: 0,
        service_ms: 0,
        reserved: 0,
    }
}

/// Returns a request for the queue *fifo*.
pub const fn fifo(tag: u64) -> Pend {
    on_queue(queue::FIFO, tag)
}
