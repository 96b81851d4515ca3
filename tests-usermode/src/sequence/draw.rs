//! Sequences drawn at random.

use fastrand::Rng;
use interlock_abi::{Counters, Routine, queue};

use super::reference::{Outcome, Reference};
use super::step::{Ask, Step};
use crate::fuzz;
use crate::target::Access;

/// How long a request is served that others are queued behind, in milliseconds: much longer than the few steps take
/// that there are meanwhile, by a clock that nobody can stop.
const HOLD_MS: u32 = 200;

/// How many steps there are at the most while a request is served, by such a clock.
const STEPS_HELD: usize = 6;

/// How many steps a sequence that runs everywhere is drawn from.
const STEPS: usize = 40;

/// Draws a sequence that comes to the same on every kernel: the device stays, and no request is served meanwhile without
/// being waited for. A seed always gives the same sequence.
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

/// A sequence that is being drawn, and what has come of it.
struct Sequence {
    steps: Vec<Step>,
    reference: Reference,
    /// How many steps there have been since a request is served.
    held: usize,
}

impl Sequence {
    fn push(&mut self, step: Step) {
        if let Some(resolved) = self.reference.resolve(&step) {
            self.reference.take(&resolved);
            self.steps.push(step);
        }
    }

    /// Adds a step so that its order with what is served is the same by any clock: one queue serves at a time; what is
    /// served is held for long, and what waits behind it is served at once.
    fn push_for_any_clock(&mut self, mut step: Step) {
        // It takes long to find the device.
        if self.held == STEPS_HELD || matches!(step, Step::Open(_)) {
            self.push(Step::Serve);
        }
        if self.finds_nothing(&step) {
            return;
        }
        if let Step::Send { ask, .. } = &mut step
            && let Ask::Pend {
                queue, service_ms, ..
            } = ask
            && let Some(own) = [queue::KEYED, queue::SERIAL]
                .iter()
                .position(|served| served == queue)
        {
            let busy = self.reference.busy();
            if busy[1 - own] {
                self.push(Step::Serve);
            }
            *service_ms = if busy[own] { 0 } else { HOLD_MS };
        }
        self.push(step);
        self.held = if self.reference.serves() {
            self.held + 1
        } else {
            0
        };
    }

    /// Whether a file's requests are cancelled where there are none. By the page of `CancelIoEx` it then fails with
    /// `ERROR_NOT_FOUND`, and so it does on the model; Wine's server says that it has found some.
    fn finds_nothing(&self, step: &Step) -> bool {
        let is_for_all = matches!(step, Step::CancelAll { .. });
        let resolved = self.reference.resolve(step).filter(|_| is_for_all);
        let outcome = resolved.map(|step| self.reference.clone().take(&step));
        outcome == Some(Outcome::Found(false))
    }
}

/// Draws a step that any kernel can take.
pub fn common(rng: &mut Rng) -> Step {
    // There are mostly few files, so that several requests are of the same.
    let file = rng.usize(..4);
    match rng.u8(..50) {
        0..3 => Step::Open(access(rng)),
        3..5 => Step::Close { file },
        5..10 => Step::Cancel {
            request: rng.usize(..8),
        },
        10 => Step::CancelAll { file },
        11 => Step::CancelIo { file },
        12..14 => Step::Serve,
        _ => Step::Send {
            file,
            ask: ask(rng),
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

fn ask(rng: &mut Rng) -> Ask {
    match rng.u8(..50) {
        0 => Ask::Version,
        1..26 => pend(rng),
        26..29 => Ask::CompleteOldest {
            count: rng.u32(1..4),
        },
        29..32 => Ask::CompleteByTag {
            tag: rng.u64(..TAGS),
        },
        32..35 => Ask::Counters,
        35..37 => Ask::Statistics,
        37..40 => Ask::Pop,
        40..42 => Ask::SetRunState {
            // A device that is stopped for long shows little.
            state: u32::from(rng.u8(..4) == 0),
        },
        42..46 => routine(rng),
        46 => threads(rng),
        _ => {
            let malformed = fuzz::malformed(rng);
            Ask::Raw {
                code: malformed.code,
                input: malformed.input,
                output_len: malformed.output_len,
            }
        }
    }
}

/// Tags are few, so that several requests have the same.
const TAGS: u64 = 5;

fn pend(rng: &mut Rng) -> Ask {
    let queue = rng.u32(queue::FIFO..=queue::STACK);
    let keys = match queue {
        queue::KEYED => 6,
        queue::INTERLOCKED => 2,
        _ => 1,
    };
    let is_served = matches!(queue, queue::KEYED | queue::SERIAL);
    Ask::Pend {
        tag: rng.u64(..TAGS),
        queue,
        key: rng.u32(..keys),
        service_ms: if is_served { rng.u32(..20) } else { 0 },
    }
}

fn threads(rng: &mut Rng) -> Ask {
    let routines = Routine::ALL.iter().copied();
    let routines: Vec<Routine> = routines.filter(|one| one.runs_in_threads()).collect();
    Ask::Threads {
        routine: routines[rng.usize(..routines.len())],
        threads: rng.u32(1..=3),
        rounds: rng.u32(1..=4),
    }
}

/// Draws a call, which mostly has what its routine takes; what it takes not it refuses.
fn routine(rng: &mut Rng) -> Ask {
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
    Ask::Routine {
        routine,
        argument,
        reserved: u32::from(routine == Routine::KeRemoveByKeyDeviceQueueIfBusy && rng.bool()),
        values,
    }
}

fn numbers(rng: &mut Rng, count: usize) -> Vec<u64> {
    (0..count).map(|_| number(rng)).collect()
}

/// A small number, or one at the edges of 32 bits.
fn number(rng: &mut Rng) -> u64 {
    const EDGES: [u64; 4] = [0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
    if rng.u8(..4) == 0 {
        EDGES[rng.usize(..EDGES.len())]
    } else {
        rng.u64(..8)
    }
}

/// A block's size, and the sizes and offsets of segments: mostly such that a zone can be made.
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
