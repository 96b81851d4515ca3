//! Zones: checks which segments a zone accepts, and that each block has one owner at a time.

use core::{
    ptr::from_ref,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use interlock_abi::{Call, CallResult, Routine};
use pinned_init::stack_pin_init;
use wdm::{Error, InterlockedStack, Node, PassiveLevel, RawZone, Segment, Zone, ZoneBox};

use super::{narrow, nodes, threads::Run};

/// The largest number of blocks that a call can request.
pub const MAX_BLOCKS: u64 = 64;

/// Runs a routine of a zone once, for a checked call.
// Without inlining, the stack space for the blocks is not part of the other routines' frames.
#[inline(never)]
pub fn run(
    routine: Routine,
    call: &Call,
    result: &mut CallResult,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    match (routine, nodes(call)) {
        (Routine::ExInitializeZone, &[block, size, offset]) => {
            initialize(block, (size, offset), result, irql)
        }
        (
            Routine::ExExtendZone | Routine::ExInterlockedExtendZone,
            &[block, size, offset, more_size, more_offset],
        ) => {
            let segments = [(size, offset), (more_size, more_offset)];
            extend(routine, block, segments, result, irql)
        }
        (Routine::ExInterlockedAllocateFromZone, &[blocks]) => {
            allocate(blocks, call.argument, result, irql)
        }
        (Routine::ExInterlockedFreeToZone, &[blocks]) => free(blocks, call.argument, result, irql),
        _ => Err(Error::INVALID_DEVICE_REQUEST),
    }
}

/// A segment's size, and its offset from a multiple of 16.
type Place = (u64, u64);

fn segment((size, offset): Place, irql: &mut PassiveLevel) -> Result<Segment, Error> {
    Segment::new(narrow(size)?, narrow(offset)?, irql)
}

fn initialize(
    block: u64,
    first: Place,
    result: &mut CallResult,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    let segment = segment(first, irql)?;
    let zone = RawZone::new(narrow(block)?, segment, irql);
    result.value = zone.as_ref().map_or(0, RawZone::blocks).into();
    set_status(result, zone.map(drop))
}

fn extend(
    routine: Routine,
    block: u64,
    [first, more]: [Place; 2],
    result: &mut CallResult,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    let (first, more) = (segment(first, irql)?, segment(more, irql)?);
    let mut zone = match RawZone::new(narrow(block)?, first, irql) {
        Ok(zone) => zone,
        Err(error) => return set_status(result, Err(error)),
    };
    let extended = if routine == Routine::ExExtendZone {
        zone.extend(more, irql)
    } else {
        zone.extend_interlocked(more, irql)
    };
    result.value = zone.blocks().into();
    set_status(result, extended)
}

/// Sets the status that a routine returned. If there was no memory, the routine was not called.
fn set_status(result: &mut CallResult, returned: Result<(), Error>) -> Result<(), Error> {
    match returned {
        Err(Error::INSUFFICIENT_RESOURCES) => return returned,
        Err(error) => result.status = error.to_raw().cast_unsigned(),
        Ok(()) => {}
    }
    Ok(())
}

/// The blocks that a call has allocated.
type Held = [Option<ZoneBox<u64>>; 64];
const _: () = assert!(size_of::<Held>() as u64 == MAX_BLOCKS * 8);

fn allocate(
    blocks: u64,
    times: u64,
    result: &mut CallResult,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    let zone = Zone::new(narrow(blocks)?, &[], irql)?;
    let mut held: Held = [const { None }; 64];
    let mut last_got = false;
    for time in 0..times {
        last_got = allocate_one(&zone, time, &mut held)?;
        result.value += u64::from(last_got);
    }
    result.found = (last_got && all_differ(&held)).into();
    Ok(())
}

fn free(
    blocks: u64,
    count: u64,
    result: &mut CallResult,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    let zone = Zone::new(narrow(blocks)?, &[], irql)?;
    let mut held: Held = [const { None }; 64];
    while allocate_one(&zone, 0, &mut held)? {}
    let mut last_freed = None;
    for (block, _) in held.iter_mut().zip(0..count) {
        last_freed = block.take().as_ref().map(address);
    }
    while allocate_one(&zone, 0, &mut held)? {
        result.value += 1;
    }
    // The freed blocks were the first ones in `held`, so the first block that was allocated again is in the first
    // place.
    let first_got = held.first().and_then(Option::as_ref).map(address);
    result.found = (last_freed.is_some() && first_got == last_freed).into();
    Ok(())
}

/// Allocates a block, if there is one, and stores it in the first free place.
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

/// A block of a zone that threads share, with the number of the thread that owns it.
type Marked = Node<AtomicU32>;

const NO_MARK: u32 = u32::MAX;

/// Allocates a block, marks it and frees it, in every round of every thread. Returns the expected result.
pub fn in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<u64, Error> {
    if run.routine == Routine::ExInterlockedExtendZone {
        return extend_in_threads(run, irql);
    }
    let zone = Zone::new(run.threads, &[], irql)?;
    run.each_round(irql, &|thread, _: &mut PassiveLevel| {
        use_block(run, &zone, thread);
    })?;
    run.add_actual(count_blocks(&zone));
    Ok(run.threads.into())
}

/// How often each thread extends one zone. A zone keeps its segments until it is dropped, so further extensions use
/// a new zone.
const EXTENSIONS: u32 = 1024;

fn extend_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<u64, Error> {
    let mut expected = 0;
    let mut left = run.rounds;
    while left != 0 {
        let rounds = left.min(EXTENSIONS);
        expected += 1 + u64::from(run.threads) * u64::from(rounds);
        extend_one_zone(run, rounds, irql)?;
        left -= rounds;
    }
    Ok(expected)
}

/// Extends a zone of one block by one block and uses one, in `rounds` rounds of every thread.
fn extend_one_zone(run: &Run, rounds: u32, irql: &mut PassiveLevel) -> Result<(), Error> {
    let zone = Zone::new(1, &[], irql)?;
    let no_memory = AtomicBool::new(false);
    run.each_thread(irql, &|thread, irql: &mut PassiveLevel| {
        for _ in 0..rounds {
            match zone.extend(1, irql) {
                Ok(()) => use_block(run, &zone, thread),
                Err(Error::INSUFFICIENT_RESOURCES) => no_memory.store(true, Relaxed),
                Err(_) => run.check(false),
            }
        }
    })?;
    if no_memory.into_inner() {
        return Err(Error::INSUFFICIENT_RESOURCES);
    }
    run.add_actual(count_blocks(&zone));
    Ok(())
}

/// Allocates a block, which must exist for every thread, and checks that no other thread owns it.
fn use_block(run: &Run, zone: &Zone<Marked>, thread: u32) {
    let Some(block) = zone.allocate(Node::new(AtomicU32::new(NO_MARK))) else {
        return run.check(false);
    };
    run.check(block.swap(thread, Relaxed) == NO_MARK);
    run.check(block.swap(NO_MARK, Relaxed) == thread);
}

/// Returns the number of blocks in a zone of which no block is in use.
fn count_blocks(zone: &Zone<Marked>) -> u64 {
    stack_pin_init!(let all = InterlockedStack::new());
    let mut count = 0;
    while let Some(block) = zone.allocate(Node::new(AtomicU32::new(NO_MARK))) {
        all.push(block);
        count += 1;
    }
    count
}
