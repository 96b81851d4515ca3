//! Requests that the driver must refuse, and the status that it must refuse each of them with.

mod call;
mod draw;

use fastrand::Rng;
use interlock_abi::{
    Call, CompleteByTag, CompleteOldest, Completed, Counters, MAX_SERVICE_MS, Pend, Pended,
    Returned, Routine, RunState, RunThreads, Statistics, ThreadsRan, Version, ioctl, queue,
};
use zerocopy::FromBytes;

use crate::status::Status;

/// `FILE_DEVICE_UNKNOWN`: neither Windows nor Wine looks at such a code before the driver does.
const DEVICE_TYPE: u32 = 0x22;

/// What a code takes and gives: the exact length of its input, the least length of its output.
type Shape = (u32, usize, usize);

/// Every code but those of the routines.
const CODES: [Shape; 9] = [
    (ioctl::GET_VERSION, 0, size_of::<Version>()),
    (ioctl::PEND, size_of::<Pend>(), size_of::<Pended>()),
    (
        ioctl::COMPLETE_OLDEST,
        size_of::<CompleteOldest>(),
        size_of::<Completed>(),
    ),
    (ioctl::COMPLETE_BY_TAG, size_of::<CompleteByTag>(), 0),
    (ioctl::GET_COUNTERS, 0, size_of::<Counters>()),
    (ioctl::GET_STATISTICS, 0, size_of::<Statistics>()),
    (ioctl::POP, 0, size_of::<Pended>()),
    (
        ioctl::SET_RUN_STATE,
        size_of::<RunState>(),
        size_of::<RunState>(),
    ),
    (
        ioctl::RUN_THREADS,
        size_of::<RunThreads>(),
        size_of::<ThreadsRan>(),
    ),
];

/// What the code of a routine takes and gives.
fn shape_of(routine: Routine) -> Shape {
    (routine.ioctl(), size_of::<Call>(), size_of::<Returned>())
}

/// Every code.
fn shapes() -> impl Iterator<Item = Shape> {
    let routines = Routine::ALL.iter().map(|routine| shape_of(*routine));
    CODES.into_iter().chain(routines)
}

/// A request that is wrong in some way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The IOCTL code.
    pub code: u32,
    /// What the input buffer holds.
    pub input: Vec<u8>,
    /// How long the output buffer is.
    pub output_len: usize,
    /// What the driver must answer.
    pub expected: Status,
}

/// What the driver must refuse a request with, or `None` where it must not refuse it: the checks of
/// `interlock_abi` in their order.
pub fn refusal(code: u32, input: &[u8], output_len: usize) -> Option<Status> {
    let Some((_, input_len, output_min)) = shapes().find(|known| known.0 == code) else {
        return Some(Status::INVALID_DEVICE_REQUEST);
    };
    if input.len() != input_len {
        return Some(Status::INFO_LENGTH_MISMATCH);
    }
    if output_len < output_min {
        return Some(Status::BUFFER_TOO_SMALL);
    }
    (!may_have(code, input)).then_some(Status::INVALID_PARAMETER)
}

/// Whether the input of a code, which has the right length, has no value that it may not have.
fn may_have(code: u32, input: &[u8]) -> bool {
    if let Some(routine) = Routine::from_ioctl(code) {
        return read(input, |call| call::may_be(routine, call));
    }
    match code {
        ioctl::PEND => read(input, may_pend),
        ioctl::COMPLETE_OLDEST => read(input, |input: &CompleteOldest| {
            input.count != 0 && input.reserved == 0
        }),
        ioctl::SET_RUN_STATE => read(input, |input: &RunState| {
            input.state <= RunState::STOPPED && input.reserved == 0
        }),
        ioctl::RUN_THREADS => read(input, may_run),
        _ => true,
    }
}

/// Whether the input, read as a `T`, is as it should be.
fn read<T: FromBytes>(input: &[u8], holds: impl FnOnce(&T) -> bool) -> bool {
    T::read_from_bytes(input).is_ok_and(|input| holds(&input))
}

fn may_pend(pend: &Pend) -> bool {
    let (last_key, longest) = match pend.queue {
        queue::FIFO | queue::STACK => (0, 0),
        queue::KEYED => (u32::MAX, MAX_SERVICE_MS),
        queue::SERIAL => (0, MAX_SERVICE_MS),
        queue::INTERLOCKED => (1, 0),
        _ => return false,
    };
    pend.key <= last_key && pend.service_ms <= longest && pend.reserved == 0
}

fn may_run(input: &RunThreads) -> bool {
    Routine::from_number(input.routine).is_some_and(Routine::runs_in_threads)
        && (1..=RunThreads::MAX_THREADS).contains(&input.threads)
        && (1..=RunThreads::MAX_ROUNDS).contains(&input.rounds)
        && input.reserved == 0
}

/// Draws a request that the driver must refuse.
pub fn malformed(rng: &mut Rng) -> Malformed {
    loop {
        let (code, input, output_len) = draw::request(rng);
        if let Some(expected) = refusal(code, &input, output_len) {
            return Malformed {
                code,
                input,
                output_len,
                expected,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use fastrand::Rng;
    use interlock_abi::{
        CompleteByTag, CompleteOldest, Pend, Routine, RunState, RunThreads, ioctl, queue,
    };
    use zerocopy::IntoBytes;

    use super::{malformed, refusal, shapes};
    use crate::status::Status;
    use crate::target::fifo;

    #[test]
    fn the_first_check_that_fails_decides() {
        let good = fifo(7);
        let bad = Pend {
            reserved: 1 << 31,
            ..good
        };
        let (bad, good) = (bad.as_bytes(), good.as_bytes());
        // `PEND` with the next function code is nobody's: `COMPLETE_OLDEST` asks for other access.
        let (pend, nobodys) = (ioctl::PEND, ioctl::PEND + 4);
        // Each line mends the first thing that is wrong with the line before.
        let invalid_request = Some(Status::INVALID_DEVICE_REQUEST);
        assert_eq!(refusal(nobodys, &bad[1..], 0), invalid_request);
        let mismatch = Some(Status::INFO_LENGTH_MISMATCH);
        assert_eq!(refusal(pend, &bad[1..], 0), mismatch);
        assert_eq!(refusal(pend, bad, 31), Some(Status::BUFFER_TOO_SMALL));
        assert_eq!(refusal(pend, bad, 32), Some(Status::INVALID_PARAMETER));
        assert_eq!(refusal(pend, good, 32), None);
    }

    #[test]
    fn each_field_that_the_abi_restricts_is_checked() {
        let oldest = |count, reserved| {
            let request = CompleteOldest { count, reserved };
            refusal(ioctl::COMPLETE_OLDEST, request.as_bytes(), 8)
        };
        assert_eq!(oldest(1, 0), None);
        assert_eq!(oldest(0, 0), Some(Status::INVALID_PARAMETER));
        assert_eq!(oldest(1, 1), Some(Status::INVALID_PARAMETER));
        let any_tag = CompleteByTag { tag: u64::MAX };
        assert_eq!(refusal(ioctl::COMPLETE_BY_TAG, any_tag.as_bytes(), 0), None);
        assert_eq!(refusal(ioctl::GET_VERSION, &[], 16), None);
        let mismatch = Some(Status::INFO_LENGTH_MISMATCH);
        assert_eq!(refusal(ioctl::GET_VERSION, &[0], 16), mismatch);
        let too_small = Some(Status::BUFFER_TOO_SMALL);
        assert_eq!(refusal(ioctl::GET_COUNTERS, &[], 55), too_small);
        assert_eq!(refusal(ioctl::GET_COUNTERS, &[], 56), None);
    }

    #[test]
    fn a_request_has_the_key_and_the_service_time_that_its_queue_has() {
        let allowed = |queue, key, service_ms| {
            let pend = Pend {
                queue,
                key,
                service_ms,
                ..fifo(u64::MAX)
            };
            refusal(ioctl::PEND, pend.as_bytes(), 32).is_none()
        };
        // A queue, the largest key, the longest service time.
        for (queue, key, service_ms) in [(0, 0, 0), (2, 0, 1000), (3, 1, 0), (4, 0, 0)] {
            assert!(allowed(queue, key, service_ms), "{queue}");
            assert!(!allowed(queue, key + 1, service_ms), "{queue}");
            assert!(!allowed(queue, key, service_ms + 1), "{queue}");
        }
        assert!(allowed(queue::KEYED, u32::MAX, 1000));
        assert!(!allowed(queue::KEYED, u32::MAX, 1001));
        assert!(!allowed(5, 0, 0));
    }

    #[test]
    fn threads_run_what_runs_in_threads_within_bounds() {
        let allowed = |routine, threads, rounds, reserved| {
            let input = RunThreads {
                routine,
                threads,
                rounds,
                reserved,
            };
            refusal(ioctl::RUN_THREADS, input.as_bytes(), 32).is_none()
        };
        let add = Routine::ExInterlockedAddUlong as u32;
        assert!(allowed(add, 1, 1, 0));
        assert!(allowed(add, 16, 100_000, 0));
        for (threads, rounds, reserved) in
            [(0, 1, 0), (17, 1, 0), (1, 0, 0), (1, 100_001, 0), (1, 1, 1)]
        {
            assert!(!allowed(add, threads, rounds, reserved));
        }
        assert!(!allowed(Routine::ExExtendZone as u32, 1, 1, 0));
        assert!(!allowed(31, 1, 1, 0));
    }

    #[test]
    fn the_run_state_is_one_of_two() {
        let allowed = |state, reserved| {
            let input = RunState { state, reserved };
            refusal(ioctl::SET_RUN_STATE, input.as_bytes(), 8).is_none()
        };
        assert!(allowed(0, 0) && allowed(1, 0));
        assert!(!allowed(2, 0) && !allowed(0, 1));
    }

    #[test]
    fn every_refusal_of_every_code_is_drawn() {
        let mut rng = Rng::with_seed(1);
        let mut drawn: HashMap<(u32, u32), u32> = HashMap::new();
        for _ in 0..100_000 {
            let request = malformed(&mut rng);
            let refused = refusal(request.code, &request.input, request.output_len);
            assert_eq!(refused, Some(request.expected));
            assert_eq!(request.code >> 16, super::DEVICE_TYPE);
            *drawn.entry((request.code, request.expected.0)).or_default() += 1;
        }
        let times = |code: u32, status: Status| drawn.get(&(code, status.0)).copied().unwrap_or(0);
        for (code, input_len, output_min) in shapes() {
            assert!(times(code, Status::INFO_LENGTH_MISMATCH) > 100, "{code:#x}");
            let short = times(code, Status::BUFFER_TOO_SMALL);
            assert_eq!(short > 100, output_min > 0, "{code:#x}");
            let invalid = times(code, Status::INVALID_PARAMETER);
            let restricted = input_len > 0 && code != ioctl::COMPLETE_BY_TAG;
            assert_eq!(invalid > 100, restricted, "{code:#x}");
        }
        let unknown = |((_, status), times): (&(u32, u32), &u32)| {
            (*status == Status::INVALID_DEVICE_REQUEST.0).then_some(*times)
        };
        assert!(drawn.iter().filter_map(unknown).sum::<u32>() > 1000);
    }

    #[test]
    fn a_seed_draws_the_same_requests_again() {
        let draw = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..100).map(|_| malformed(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
