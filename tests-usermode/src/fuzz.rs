//! Requests that the driver must refuse, and the status that it must refuse each of them with.

use fastrand::Rng;
use interlock_abi::{
    CompleteByTag, CompleteOldest, Completed, Counters, Pend, Pended, Version, ioctl,
};

use crate::status::Status;

/// `FILE_DEVICE_UNKNOWN`: neither Windows nor Wine looks at such a code before the driver does.
const DEVICE_TYPE: u32 = 0x22;

/// What a code takes and gives: the exact length of its input, the least length of its output.
const CODES: [(u32, usize, usize); 5] = [
    (ioctl::GET_VERSION, 0, size_of::<Version>()),
    (ioctl::PEND, size_of::<Pend>(), size_of::<Pended>()),
    (
        ioctl::COMPLETE_OLDEST,
        size_of::<CompleteOldest>(),
        size_of::<Completed>(),
    ),
    (ioctl::COMPLETE_BY_TAG, size_of::<CompleteByTag>(), 0),
    (ioctl::GET_COUNTERS, 0, size_of::<Counters>()),
];

/// No buffer is made longer than this.
const LONGEST: usize = 96;

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
    let Some(&(_, input_len, output_min)) = CODES.iter().find(|known| known.0 == code) else {
        return Some(Status::INVALID_DEVICE_REQUEST);
    };
    if input.len() != input_len {
        return Some(Status::INFO_LENGTH_MISMATCH);
    }
    if output_len < output_min {
        return Some(Status::BUFFER_TOO_SMALL);
    }
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let bad_field = match code {
        // `Pend::reserved`
        ioctl::PEND => !is_zero(&input[8..]),
        // `CompleteOldest::count`, `CompleteOldest::reserved`
        ioctl::COMPLETE_OLDEST => is_zero(&input[..4]) || !is_zero(&input[4..]),
        _ => false,
    };
    bad_field.then_some(Status::INVALID_PARAMETER)
}

/// Draws a request that the driver must refuse.
pub fn malformed(rng: &mut Rng) -> Malformed {
    loop {
        let (code, input_len, output_min) = code(rng);
        let input_len = length(rng, input_len);
        let input = input(rng, input_len);
        let output_len = length(rng, output_min);
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

/// A code of the driver's more often than not, else any code of its device type. The second and third
/// numbers are the lengths to start from.
fn code(rng: &mut Rng) -> (u32, usize, usize) {
    if rng.u8(..4) != 0 {
        return CODES[rng.usize(..CODES.len())];
    }
    // Half of the others differ from a code of the driver's in the access or the method alone.
    let function = if rng.bool() {
        rng.u32(0x800..=0x804)
    } else {
        rng.u32(..0x1000)
    };
    let (access, method) = (rng.u32(..4), rng.u32(..4));
    let code = (DEVICE_TYPE << 16) | (access << 14) | (function << 2) | method;
    (code, rng.usize(..=32), rng.usize(..=32))
}

/// The right length, one that is off by one, or any.
fn length(rng: &mut Rng, right: usize) -> usize {
    match rng.u8(..8) {
        0..4 => right,
        4 => right + 1,
        5 => right.saturating_sub(1),
        _ => rng.usize(..=LONGEST),
    }
}

/// Zeros, noise, or zeros with a single bit set: what tells a field's first byte from its last.
fn input(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    match rng.u8(..3) {
        0 => {}
        1 => rng.fill(&mut bytes),
        _ if len > 0 => bytes[rng.usize(..len)] = 1 << rng.u8(..8),
        _ => {}
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use fastrand::Rng;
    use interlock_abi::{CompleteByTag, CompleteOldest, Pend, ioctl};
    use zerocopy::IntoBytes;

    use super::{CODES, malformed, refusal};
    use crate::status::Status;

    #[test]
    fn the_first_check_that_fails_decides() {
        let bad = Pend {
            tag: 7,
            reserved: 1 << 63,
        };
        let good = Pend {
            tag: 7,
            reserved: 0,
        };
        let (bad, good) = (bad.as_bytes(), good.as_bytes());
        // `PEND` with the next function code is nobody's: `COMPLETE_OLDEST` asks for other access.
        let (pend, nobodys) = (ioctl::PEND, ioctl::PEND + 4);
        // Each line mends the first thing that is wrong with the line before.
        let invalid_request = Some(Status::INVALID_DEVICE_REQUEST);
        assert_eq!(refusal(nobodys, &bad[1..], 0), invalid_request);
        let mismatch = Some(Status::INFO_LENGTH_MISMATCH);
        assert_eq!(refusal(pend, &bad[1..], 0), mismatch);
        assert_eq!(refusal(pend, bad, 15), Some(Status::BUFFER_TOO_SMALL));
        assert_eq!(refusal(pend, bad, 16), Some(Status::INVALID_PARAMETER));
        assert_eq!(refusal(pend, good, 16), None);
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
        assert_eq!(refusal(ioctl::GET_COUNTERS, &[], 47), too_small);
        assert_eq!(refusal(ioctl::GET_COUNTERS, &[], 48), None);
    }

    #[test]
    fn every_refusal_of_every_code_is_drawn() {
        let mut rng = Rng::with_seed(1);
        let mut drawn: HashMap<(u32, u32), u32> = HashMap::new();
        for _ in 0..10_000 {
            let request = malformed(&mut rng);
            let refused = refusal(request.code, &request.input, request.output_len);
            assert_eq!(refused, Some(request.expected));
            assert_eq!(request.code >> 16, super::DEVICE_TYPE);
            *drawn.entry((request.code, request.expected.0)).or_default() += 1;
        }
        let times = |code: u32, status: Status| drawn.get(&(code, status.0)).copied().unwrap_or(0);
        for (code, _, output_min) in CODES {
            assert!(times(code, Status::INFO_LENGTH_MISMATCH) > 100, "{code:#x}");
            let short = times(code, Status::BUFFER_TOO_SMALL);
            assert_eq!(short > 100, output_min > 0, "{code:#x}");
        }
        for code in [ioctl::PEND, ioctl::COMPLETE_OLDEST] {
            assert!(times(code, Status::INVALID_PARAMETER) > 100, "{code:#x}");
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
