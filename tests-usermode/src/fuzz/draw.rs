//! Random requests, most of which have one error or none.

use fastrand::Rng;
use interlock_abi::{Call, Pend, Routine, RunThreads, ioctl};
use zerocopy::IntoBytes;

use super::{DEVICE_TYPE, KNOWN};
use crate::client::Ioctl;

/// The maximum length of a buffer.
const LONGEST: usize = 320;

/// Draws a request.
pub fn ioctl(rng: &mut Rng) -> Ioctl {
    let (code, input_len, output_len) = code(rng);
    let mut input = input(rng, code, input_len);
    let len = length(rng, input_len);
    input.resize(len, 0);
    Ioctl {
        code,
        input,
        output_len: length(rng, output_len),
    }
}

/// Draws a code, mostly one of the driver's, and the lengths of its buffers.
fn code(rng: &mut Rng) -> (u32, usize, usize) {
    let (others, routines) = KNOWN.split_at(KNOWN.len() - Routine::ALL.len());
    let known = match rng.u8(..8) {
        0..3 => &others[rng.usize(..others.len())],
        3..6 => &routines[rng.usize(..routines.len())],
        _ => return (any_code(rng), rng.usize(..=32), rng.usize(..=32)),
    };
    (known.code, known.input.len(), known.output_len)
}

/// Draws a code of the driver's device type; half of these differ from a code of the driver only in access or method.
fn any_code(rng: &mut Rng) -> u32 {
    let function = match rng.u8(..4) {
        0 => rng.u32(0x800..=0x808),
        1 => rng.u32(0x900..=0x920),
        _ => rng.u32(..0x1000),
    };
    let (access, method) = (rng.u32(..4), rng.u32(..4));
    (DEVICE_TYPE << 16) | (access << 14) | (function << 2) | method
}

/// Draws the right length, a length that is off by one, or any.
fn length(rng: &mut Rng, right: usize) -> usize {
    match rng.u8(..8) {
        0..4 => right,
        4 => right + 1,
        5 => right.saturating_sub(1),
        _ => rng.usize(..=LONGEST),
    }
}

/// Zeros, random bytes, zeros with a single bit set (which distinguishes a field's first byte from its last), or nearly the
/// structure that the code takes.
fn input(rng: &mut Rng, code: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    match rng.u8(..6) {
        0 => {}
        1 => rng.fill(&mut bytes),
        2 if len > 0 => bytes[rng.usize(..len)] = 1 << rng.u8(..8),
        _ if Routine::from_ioctl(code).is_some() => return call(rng).as_bytes().into(),
        _ if code == ioctl::PEND => return pend(rng).as_bytes().into(),
        _ if code == ioctl::RUN_THREADS => return run_threads(rng).as_bytes().into(),
        _ => {}
    }
    bytes
}

/// Draws a number at the limit of some field.
fn edge(rng: &mut Rng) -> u64 {
    const MAX: u64 = u32::MAX as u64;
    const EDGES: [u64; 18] = [
        0,
        1,
        2,
        8,
        15,
        16,
        17,
        64,
        65,
        128,
        129,
        1000,
        1001,
        65536,
        65537,
        MAX,
        MAX + 1,
        u64::MAX,
    ];
    EDGES[rng.usize(..EDGES.len())]
}

/// Draws the same for a field of 32 bits.
fn edge_32(rng: &mut Rng) -> u32 {
    u32::try_from(edge(rng)).unwrap_or(100_001)
}

/// Draws a call with a few values; sometimes one more after them, or a reserved field that is not zero.
fn call(rng: &mut Rng) -> Call {
    const COUNTS: [u32; 8] = [0, 1, 1, 2, 3, 5, 16, 17];
    let count = COUNTS[rng.usize(..COUNTS.len())];
    let mut call = Call {
        count,
        argument: if rng.bool() { 0 } else { edge(rng) },
        reserved: if rng.u8(..8) == 0 { edge_32(rng) } else { 0 },
        ..Call::default()
    };
    for (_, value) in (0..count).zip(&mut call.values) {
        *value = edge(rng);
    }
    if rng.u8(..8) == 0 {
        call.values[rng.usize(..Call::VALUES)] = edge(rng);
    }
    call
}

fn pend(rng: &mut Rng) -> Pend {
    Pend {
        tag: rng.u64(..),
        queue: rng.u32(..=5),
        key: edge_32(rng),
        service_ms: if rng.bool() { 0 } else { edge_32(rng) },
        reserved: if rng.u8(..8) == 0 { edge_32(rng) } else { 0 },
    }
}

fn run_threads(rng: &mut Rng) -> RunThreads {
    RunThreads {
        routine: rng.u32(..=32),
        threads: edge_32(rng),
        rounds: edge_32(rng),
        reserved: if rng.u8(..8) == 0 { edge_32(rng) } else { 0 },
    }
}
