//! Zones: what a zone takes for a segment, and that each block has one owner at a time.

use core::{
    ptr::from_ref,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use interlock_abi::{Call, Returned, Routine, ThreadsRan};
use pinned_init::stack_pin_init;
use wdm::{Error, InterlockedStack, Node, NtStatus, PassiveLevel, RawZone, Segment, Zone, ZoneBox};

use super::{narrow, nodes, returned, threads::Run};

/// How many blocks a call can ask for.
pub const MAX_BLOCKS: u64 = 64;

/// Runs a zone's routine once, for a call that has been checked.
pub fn run(routine: Routine, call: &Call, irql: &mut PassiveLevel) -> Result<Returned, Error> {
    match (routine, nodes(call)) {
        (Routine::ExInitializeZone, &[block, size, offset]) => {
            initialize(block, (size, offset), irql)
        }
        (
            Routine::ExExtendZone | Routine::ExInterlockedExtendZone,
            &[block, size, offset, more_size, more_offset],
        ) => {
            let segments = [(size, offset), (more_size, more_offset)];
            extend(routine, block, segments, irql)
        }
        (Routine::ExInterlockedAllocateFromZone, &[blocks]) => {
            allocate(blocks, call.argument, irql)
        }
        (Routine::ExInterlockedFreeToZone, &[blocks]) => free(blocks, call.argument, irql),
        _ => Err(Error::INVALID_DEVICE_REQUEST),
    }
}

/// A segment's size, and its offset from a multiple of 16.
type Place = (u64, u64);

fn segment((size, offset): Place, irql: &mut PassiveLevel) -> Result<Segment, Error> {
    Segment::new(narrow(size)?, narrow(offset)?, irql)
}

fn initialize(block: u64, first: Place, irql: &mut PassiveLevel) -> Result<Returned, Error> {
    let segment = segment(first, irql)?;
    let zone = RawZone::new(narrow(block)?, segment, irql);
    let blocks = zone.as_ref().map_or(0, RawZone::blocks);
    answered(zone.map(drop), blocks)
}

fn extend(
    routine: Routine,
    block: u64,
    [first, more]: [Place; 2],
    irql: &mut PassiveLevel,
) -> Result<Returned, Error> {
    let (first, more) = (segment(first, irql)?, segment(more, irql)?);
    let mut zone = match RawZone::new(narrow(block)?, first, irql) {
        Ok(zone) => zone,
        Err(status) => return answered(Err(status), 0),
    };
    let extended = if routine == Routine::ExExtendZone {
        zone.extend(more, irql)
    } else {
        zone.extend_interlocked(more, irql)
    };
    answered(extended, zone.blocks())
}

/// The answer of a routine that returned a status. Where there was no memory it was not called.
fn answered(result: Result<(), Error>, blocks: u32) -> Result<Returned, Error> {
    let status = match result {
        Ok(()) => NtStatus::SUCCESS,
        Err(Error::INSUFFICIENT_RESOURCES) => return Err(Error::INSUFFICIENT_RESOURCES),
        Err(error) => error.into(),
    };
    Ok(Returned {
        status: status.to_raw().cast_unsigned(),
        ..returned(blocks.into())
    })
}

/// The blocks that are in use.
type Held = [Option<ZoneBox<u64>>; 64];
const _: () = assert!(size_of::<Held>() as u64 == MAX_BLOCKS * 8);

fn allocate(blocks: u64, times: u64, irql: &mut PassiveLevel) -> Result<Returned, Error> {
    let zone = Zone::new(narrow(blocks)?, &[], irql)?;
    let mut held: Held = [const { None }; 64];
    let mut got = 0;
    let mut last_got = false;
    for time in 0..times {
        last_got = allocate_one(&zone, time, &mut held)?;
        got += u64::from(last_got);
    }
    Ok(Returned {
        found: (last_got && all_differ(&held)).into(),
        ..returned(got)
    })
}

fn free(blocks: u64, count: u64, irql: &mut PassiveLevel) -> Result<Returned, Error> {
    let zone = Zone::new(narrow(blocks)?, &[], irql)?;
    let mut held: Held = [const { None }; 64];
    while allocate_one(&zone, 0, &mut held)? {}
    let mut last_freed = None;
    for (block, _) in held.iter_mut().zip(0..count) {
        last_freed = block.take().as_ref().map(address);
    }
    let mut got = 0;
    while allocate_one(&zone, 0, &mut held)? {
        got += 1;
    }
    // The blocks freed were the first of `held`, so the first allocated again is where the first was.
    let first_got = held.first().and_then(Option::as_ref).map(address);
    Ok(Returned {
        found: (last_freed.is_some() && first_got == last_freed).into(),
        ..returned(got)
    })
}

/// Allocates a block, if there is one, into the first place that is free.
fn allocate_one(zone: &Zone<u64>, value: u64, held: &mut Held) -> Result<bool, Error> {
    let Some(block) = zone.allocate(value) else {
        return Ok(false);
    };
    let place = held.iter_mut().find(|place| place.is_none());
    *place.ok_or(Error::INTERNAL_ERROR)? = Some(block);
    Ok(true)
}

fn address(block: &ZoneBox<u64>) -> *const u64 {
    from_ref::<u64>(block)
}

fn all_differ(held: &Held) -> bool {
    let addresses = || held.iter().flatten().map(address);
    addresses()
        .enumerate()
        .all(|(index, address)| addresses().take(index).all(|earlier| earlier != address))
}

/// A block of a zone that threads share, with the mark of the thread that has it.
type Marked = Node<AtomicU32>;

const NO_MARK: u32 = u32::MAX;

/// Allocates a block, marks it and frees it, in every round of every thread.
pub fn in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<ThreadsRan, Error> {
    if run.routine == Routine::ExInterlockedExtendZone {
        return extend_in_threads(run, irql);
    }
    let zone = Zone::new(run.threads, &[], irql)?;
    run.each_round(irql, &|thread, _: &mut PassiveLevel| {
        use_block(run, &zone, thread);
    })?;
    run.came(count_blocks(&zone));
    Ok(run.ran(run.threads.into()))
}

/// How often each thread extends one zone. A zone keeps its segments until it goes, so after that comes a new
/// one.
const EXTENSIONS: u32 = 1024;

fn extend_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<ThreadsRan, Error> {
    let mut expected = 0;
    let mut left = run.rounds;
    while left != 0 {
        let rounds = left.min(EXTENSIONS);
        expected += 1 + u64::from(run.threads) * u64::from(rounds);
        extend_one_zone(run, rounds, irql)?;
        left -= rounds;
    }
    Ok(run.ran(expected))
}

/// Extends a zone of one block by another one, in so many rounds of every thread, and uses one.
fn extend_one_zone(run: &Run, rounds: u32, irql: &mut PassiveLevel) -> Result<(), Error> {
    let zone = Zone::new(1, &[], irql)?;
    let no_memory = AtomicBool::new(false);
    run.each_thread(irql, &|thread, irql: &mut PassiveLevel| {
        for _ in 0..rounds {
            match zone.extend(1, irql) {
                Ok(()) => use_block(run, &zone, thread),
                Err(Error::INSUFFICIENT_RESOURCES) => no_memory.store(true, Relaxed),
                Err(_) => run.must(false),
            }
        }
    })?;
    if no_memory.into_inner() {
        return Err(Error::INSUFFICIENT_RESOURCES);
    }
    run.came(count_blocks(&zone));
    Ok(())
}

/// Allocates a block, which must be there for every thread, and sees that nobody else has it.
fn use_block(run: &Run, zone: &Zone<Marked>, thread: u32) {
    let Some(block) = zone.allocate(Node::new(AtomicU32::new(NO_MARK))) else {
        return run.must(false);
    };
    run.must(block.swap(thread, Relaxed) == NO_MARK);
    run.must(block.swap(NO_MARK, Relaxed) == thread);
}

/// How many blocks can be allocated from a zone of which none is in use.
fn count_blocks(zone: &Zone<Marked>) -> u64 {
    stack_pin_init!(let all = InterlockedStack::new());
    let mut count = 0;
    while let Some(block) = zone.allocate(Node::new(AtomicU32::new(NO_MARK))) {
        all.push(block);
        count += 1;
    }
    count
}
