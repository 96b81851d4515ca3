//! Malformed requests, and the status that the driver must refuse each of them with.

mod call;
mod draw;

use std::sync::LazyLock;

use fastrand::Rng;
use interlock_abi::{
    Call, CompleteOldest, MAX_SERVICE_MS, Pend, Routine, RunState, RunThreads, ioctl, queue,
};
use zerocopy::FromBytes;

use crate::client::{Ioctl, fifo};
use crate::status::Status;

/// `FILE_DEVICE_UNKNOWN`: neither Windows nor Wine handles such a code before the driver does.
const DEVICE_TYPE: u32 = 0x22;

/// A well-formed request of every code. Only the lengths matter: an input must have exactly this length, an output this
/// length at least.
static KNOWN: LazyLock<Vec<Ioctl>> = LazyLock::new(|| {
    let routines = Routine::ALL.iter();
    let calls = routines.map(|routine| Ioctl::call(*routine, &Call::default()));
    let others = [
        Ioctl::get_version(),
        Ioctl::pend(fifo(0)),
        Ioctl::complete_oldest(1),
        Ioctl::complete_by_tag(0),
        Ioctl::get_counters(),
        Ioctl::get_statistics(),
        Ioctl::pop(),
        Ioctl::set_run_state(RunState::RUNNING),
        Ioctl::run_threads(Routine::KeAcquireSpinLock, 1, 1),
    ];
    others.into_iter().chain(calls).collect()
});

/// Returns the status that the driver must refuse a request with; `None` if it must accept it. The checks are those of
/// `interlock_abi`, in their order.
pub fn refusal(ioctl: &Ioctl) -> Option<Status> {
    let Some(known) = KNOWN.iter().find(|known| known.code == ioctl.code) else {
        return Some(Status::INVALID_DEVICE_REQUEST);
    };
    if ioctl.input.len() != known.input.len() {
        return Some(Status::INFO_LENGTH_MISMATCH);
    }
    if ioctl.output_len < known.output_len {
        return Some(Status::BUFFER_TOO_SMALL);
    }
    let valid = is_valid(ioctl.code, &ioctl.input);
    (!valid).then_some(Status::INVALID_PARAMETER)
}

/// Returns whether every field of an input, which has the right length, is valid for the code.
fn is_valid(code: u32, input: &[u8]) -> bool {
    if let Some(routine) = Routine::from_ioctl(code) {
        return read(input, |call| call::is_valid(routine, call));
    }
    match code {
        ioctl::PEND => read(input, is_valid_pend),
        ioctl::COMPLETE_OLDEST => read(input, |input: &CompleteOldest| {
            input.count != 0 && input.reserved == 0
        }),
        ioctl::SET_RUN_STATE => read(input, |input: &RunState| {
            input.state <= RunState::STOPPED && input.reserved == 0
        }),
        ioctl::RUN_THREADS => read(input, is_valid_run),
        _ => true,
    }
}

/// Returns whether the input, read as a `T`, meets a condition.
fn read<T: FromBytes>(input: &[u8], holds: impl FnOnce(&T) -> bool) -> bool {
    T::read_from_bytes(input).is_ok_and(|input| holds(&input))
}

fn is_valid_pend(pend: &Pend) -> bool {
    let (last_key, longest) = match pend.queue {
        queue::FIFO | queue::STACK => (0, 0),
        queue::KEYED => (u32::MAX, MAX_SERVICE_MS),
        queue::SERIAL => (0, MAX_SERVICE_MS),
        queue::INTERLOCKED => (1, 0),
        _ => return false,
    };
    pend.key <= last_key && pend.service_ms <= longest && pend.reserved == 0
}

fn is_valid_run(input: &RunThreads) -> bool {
    Routine::from_number(input.routine).is_some_and(Routine::runs_in_threads)
        && (1..=RunThreads::MAX_THREADS).contains(&input.threads)
        && (1..=RunThreads::MAX_ROUNDS).contains(&input.rounds)
        && input.reserved == 0
}

/// Draws a request that the driver must refuse, and the status that it must refuse it with.
pub fn malformed(rng: &mut Rng) -> (Ioctl, Status) {
    loop {
        let ioctl = draw::ioctl(rng);
        if let Some(expected) = refusal(&ioctl) {
            return (ioctl, expected);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use fastrand::Rng;
    use interlock_abi::{CompleteOldest, Pend, Routine, RunState, RunThreads, ioctl, queue};
    use zerocopy::{Immutable, IntoBytes};

    use super::{KNOWN, malformed, refusal};
    use crate::client::{Ioctl, fifo};
    use crate::status::Status;

    /// Returns the status that a request must be refused with.
    fn refused(code: u32, input: &[u8], output_len: usize) -> Option<Status> {
        let input = input.into();
        refusal(&Ioctl {
            code,
            input,
            output_len,
        })
    }

    /// Returns whether a request with this input, and a long enough output, must be accepted.
    fn accepts(code: u32, input: &(impl IntoBytes + Immutable)) -> bool {
        refused(code, input.as_bytes(), 32).is_none()
    }

    #[test]
    fn the_first_check_that_fails_decides() {
        let good = fifo(7);
        let bad = Pend {
            reserved: 1 << 31,
            ..good
        };
        let (bad, good) = (bad.as_bytes(), good.as_bytes());
        // `PEND` with the next function code is unknown: `COMPLETE_OLDEST` requires other access.
        let (pend, unknown) = (ioctl::PEND, ioctl::PEND + 4);
        // Each line corrects the first error of the line before.
        let invalid_request = Some(Status::INVALID_DEVICE_REQUEST);
        assert_eq!(refused(unknown, &bad[1..], 0), invalid_request);
        let mismatch = Some(Status::INFO_LENGTH_MISMATCH);
        assert_eq!(refused(pend, &bad[1..], 0), mismatch);
        assert_eq!(refused(pend, bad, 31), Some(Status::BUFFER_TOO_SMALL));
        assert_eq!(refused(pend, bad, 32), Some(Status::INVALID_PARAMETER));
        assert_eq!(refused(pend, good, 32), None);
    }

    #[test]
    fn each_field_that_the_abi_restricts_is_checked() {
        let oldest = |count, reserved| {
            let request = CompleteOldest { count, reserved };
            refused(ioctl::COMPLETE_OLDEST, request.as_bytes(), 8)
        };
        assert_eq!(oldest(1, 0), None);
        assert_eq!(oldest(0, 0), Some(Status::INVALID_PARAMETER));
        assert_eq!(oldest(1, 1), Some(Status::INVALID_PARAMETER));
        assert_eq!(refusal(&Ioctl::complete_by_tag(u64::MAX)), None);
        assert_eq!(refused(ioctl::GET_VERSION, &[], 16), None);
        let mismatch = Some(Status::INFO_LENGTH_MISMATCH);
        assert_eq!(refused(ioctl::GET_VERSION, &[0], 16), mismatch);
        let too_small = Some(Status::BUFFER_TOO_SMALL);
        assert_eq!(refused(ioctl::GET_COUNTERS, &[], 55), too_small);
        assert_eq!(refused(ioctl::GET_COUNTERS, &[], 56), None);
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
            accepts(ioctl::PEND, &pend)
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
    fn run_threads_accepts_thread_routines_within_bounds() {
        let allowed = |routine, threads, rounds, reserved| {
            let input = RunThreads {
                routine,
                threads,
                rounds,
                reserved,
            };
            accepts(ioctl::RUN_THREADS, &input)
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
        let allowed =
            |state, reserved| accepts(ioctl::SET_RUN_STATE, &RunState { state, reserved });
        assert!(allowed(0, 0) && allowed(1, 0));
        assert!(!allowed(2, 0) && !allowed(0, 1));
    }

    #[test]
    fn every_refusal_of_every_code_is_drawn() {
        let mut rng = Rng::with_seed(1);
        let mut drawn: HashMap<(u32, Status), u32> = HashMap::new();
        for _ in 0..100_000 {
            let (request, expected) = malformed(&mut rng);
            assert_eq!(refusal(&request), Some(expected));
            assert_eq!(request.code >> 16, super::DEVICE_TYPE);
            *drawn.entry((request.code, expected)).or_default() += 1;
        }
        let times = |code: u32, status| drawn.get(&(code, status)).copied().unwrap_or(0);
        for known in KNOWN.iter() {
            let code = known.code;
            assert!(times(code, Status::INFO_LENGTH_MISMATCH) > 100, "{code:#x}");
            let short = times(code, Status::BUFFER_TOO_SMALL);
            assert_eq!(short > 100, known.output_len > 0, "{code:#x}");
            let invalid = times(code, Status::INVALID_PARAMETER);
            let restricted = !known.input.is_empty() && code != ioctl::COMPLETE_BY_TAG;
            assert_eq!(invalid > 100, restricted, "{code:#x}");
        }
        let unknown = |((_, status), times): (&(u32, Status), &u32)| {
            (*status == Status::INVALID_DEVICE_REQUEST).then_some(*times)
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
