//! Random sequences.

use fastrand::Rng;
use interlock_abi::{Counters, Routine, queue};

use super::reference::{Outcome, Reference};
use super::step::{Control, Step};
use crate::fuzz;
use crate::target::Access;

/// The service time, in milliseconds, of a request behind which others are queued. On a real clock, it is much longer than the few steps
/// that are executed during it.
const HOLD_MS: u32 = 200;

/// The maximum number of steps during a service on a real clock.
const STEPS_HELD: usize = 6;

/// How many steps are drawn for a sequence that runs on every kernel.
const STEPS: usize = 40;

/// Draws a sequence that has the same outcome on every kernel: the device is not removed, and every service is waited for. A
/// seed always gives the same sequence.
pub fn everywhere(seed: u64) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let mut sequence = Sequence {
        steps: Vec::new(),
        reference: Reference::new(Counters::default()),
        held: 0,
    };
    sequence.push(Step::Open(Access::ReadWrite));
    for _ in 0..STEPS {
        sequence.push_for_any_clock(common(&mut rng));
    }
    for step in sequence.reference.clean_up() {
        sequence.push(step);
    }
    sequence.steps
}

/// A sequence that is being drawn, and its state.
struct Sequence {
    steps: Vec<Step>,
    reference: Reference,
    /// How many steps were drawn since the current service began.
    held: usize,
}

impl Sequence {
    fn push(&mut self, step: Step) {
        if let Some(resolved) = self.reference.resolve(&step) {
            self.reference.execute(&resolved);
            self.steps.push(step);
        }
    }

    /// Adds a step so that its order relative to a service is the same on every clock: one queue serves at a time; the first request
    /// has a long service time, and the requests behind it have none.
    fn push_for_any_clock(&mut self, mut step: Step) {
        // Opening the device takes a long time, since it has to be found first. `CancelIo` waits on Windows until the thread's requests
        // have ended, also the one that is being served.
        if self.held == STEPS_HELD || matches!(step, Step::Open(_) | Step::CancelIo { .. }) {
            self.push(Step::Drain);
        }
        if self.finds_nothing(&step) {
            return;
        }
        if let Step::Send { control, .. } = &mut step
            && let Control::Pend {
                queue, service_ms, ..
            } = control
            && let Some(own) = [queue::KEYED, queue::SERIAL]
                .iter()
                .position(|served| served == queue)
        {
            let busy = self.reference.busy();
            if busy[1 - own] {
                self.push(Step::Drain);
            }
            *service_ms = if busy[own] { 0 } else { HOLD_MS };
        }
        self.push(step);
        self.held = if self.reference.is_serving() {
            self.held + 1
        } else {
            0
        };
    }

    /// Returns whether the step cancels the requests of a file that has none. `CancelIoEx` is documented to fail with
    /// `ERROR_NOT_FOUND` then, and does so on the model; under Wine it succeeds.
    fn finds_nothing(&self, step: &Step) -> bool {
        let is_for_all = matches!(step, Step::CancelAll { .. });
        let resolved = self.reference.resolve(step).filter(|_| is_for_all);
        let outcome = resolved.map(|step| self.reference.clone().execute(&step));
        outcome == Some(Outcome::Found(false))
    }
}

/// Draws a step that every kernel can execute.
pub fn common(rng: &mut Rng) -> Step {
    // Few files, so that several requests have the same one.
    let file = rng.usize(..4);
    match rng.u8(..50) {
        0..3 => Step::Open(access(rng)),
        3..5 => Step::Close { file },
        5..10 => Step::Cancel {
            request: rng.usize(..8),
        },
        10 => Step::CancelAll { file },
        11 => Step::CancelIo { file },
        12..14 => Step::Drain,
        _ => Step::Send {
            file,
            control: control(rng),
        },
    }
}

fn access(rng: &mut Rng) -> Access {
    match rng.u8(..6) {
        0 => Access::Read,
        1 => Access::Write,
        _ => Access::ReadWrite,
    }
}

fn control(rng: &mut Rng) -> Control {
    match rng.u8(..50) {
        0 => Control::Version,
        1..26 => pend(rng),
        26..29 => Control::CompleteOldest {
            count: rng.u32(1..4),
        },
        29..32 => Control::CompleteByTag {
            tag: rng.u64(..TAGS),
        },
        32..35 => Control::Counters,
        35..37 => Control::Statistics,
        37..40 => Control::Pop,
        40..42 => Control::SetRunState {
            // A stopped device refuses most requests, so it is rarely stopped.
            state: u32::from(rng.u8(..4) == 0),
        },
        42..46 => routine(rng),
        46 => threads(rng),
        _ => {
            let (malformed, _) = fuzz::malformed(rng);
            Control::Raw {
                code: malformed.code,
                input: malformed.input,
                output_len: malformed.output_len,
            }
        }
    }
}

/// Few tags, so that several requests have the same one.
const TAGS: u64 = 5;

fn pend(rng: &mut Rng) -> Control {
    let queue = rng.u32(queue::FIFO..=queue::STACK);
    let keys = match queue {
        queue::KEYED => 6,
        queue::INTERLOCKED => 2,
        _ => 1,
    };
    let is_served = matches!(queue, queue::KEYED | queue::SERIAL);
    Control::Pend {
        tag: rng.u64(..TAGS),
        queue,
        key: rng.u32(..keys),
        service_ms: if is_served { rng.u32(..20) } else { 0 },
    }
}

fn threads(rng: &mut Rng) -> Control {
    let routines = Routine::ALL.iter().copied();
    let routines: Vec<Routine> = routines.filter(|one| one.runs_in_threads()).collect();
    Control::Threads {
        routine: routines[rng.usize(..routines.len())],
        threads: rng.u32(1..=3),
        rounds: rng.u32(1..=4),
    }
}

/// Draws a call, which is mostly valid for its routine.
fn routine(rng: &mut Rng) -> Control {
    let routine = Routine::ALL[rng.usize(..Routine::ALL.len())];
    let nodes = rng.usize(..6);
    let (argument, values) = match routine {
        Routine::IoAcquireCancelSpinLock
        | Routine::KeInitializeSpinLock
        | Routine::KeAcquireSpinLock
        | Routine::KeAcquireSpinLockAtDpcLevel
        | Routine::KeReleaseSpinLockFromDpcLevel
        | Routine::KeInitializeDeviceQueue
        | Routine::KeGetCurrentProcessorNumber => (0, Vec::new()),
        Routine::IoReleaseCancelSpinLock | Routine::KeReleaseSpinLock => {
            (rng.u64(1..9), Vec::new())
        }
        Routine::IoSetCancelRoutine => (rng.u64(..2), Vec::new()),
        Routine::ExInterlockedRemoveHeadList
        | Routine::ExInterlockedPopEntryList
        | Routine::KeInsertDeviceQueue
        | Routine::KeInsertByKeyDeviceQueue
        | Routine::KeRemoveDeviceQueue => (0, numbers(rng, nodes)),
        Routine::KeRemoveEntryDeviceQueue => (rng.u64(..6), numbers(rng, nodes)),
        Routine::ExInitializeZone => (0, segments(rng, 1)),
        Routine::ExExtendZone | Routine::ExInterlockedExtendZone => (0, segments(rng, 2)),
        Routine::ExInterlockedAllocateFromZone | Routine::ExInterlockedFreeToZone => {
            (rng.u64(..10), vec![rng.u64(..10)])
        }
        Routine::InterlockedIncrement | Routine::InterlockedDecrement => (0, numbers(rng, 1)),
        Routine::ExInterlockedAddUlong
        | Routine::ExInterlockedAddLargeInteger
        | Routine::InterlockedExchange => (number(rng), numbers(rng, 1)),
        _ => (number(rng), numbers(rng, nodes)),
    };
    Control::Routine {
        routine,
        argument,
        reserved: u32::from(routine == Routine::KeRemoveByKeyDeviceQueueIfBusy && rng.bool()),
        values,
    }
}

fn numbers(rng: &mut Rng, count: usize) -> Vec<u64> {
    (0..count).map(|_| number(rng)).collect()
}

/// Draws a small number, or one at the edges of 32 bits.
fn number(rng: &mut Rng) -> u64 {
    const EDGES: [u64; 4] = [0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
    if rng.u8(..4) == 0 {
        EDGES[rng.usize(..EDGES.len())]
    } else {
        rng.u64(..8)
    }
}

/// Draws a block's size, and the sizes and offsets of segments, which are mostly valid for a zone.
fn segments(rng: &mut Rng, count: usize) -> Vec<u64> {
    let mut multiple_of_8 = |most: u64| {
        let odd = u64::from(rng.u8(..8) == 0);
        rng.u64(..most) * 8 + odd
    };
    let mut values = vec![multiple_of_8(5)];
    for _ in 0..count {
        values.extend([multiple_of_8(40), multiple_of_8(2)]);
    }
    values
}
