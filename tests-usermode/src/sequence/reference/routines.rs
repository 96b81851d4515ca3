//! What each routine must return when it runs alone, by the description of [`Routine`].

use interlock_abi::{Call, CallResult, Routine, RunThreads};
use zerocopy::IntoBytes;

use super::super::answer::Answer;
use crate::status::Status;

const PASSIVE_LEVEL: u64 = 0;
const DISPATCH_LEVEL: u64 = 2;

/// The length of a segment's header (`ZONE_SEGMENT_HEADER`).
const HEADER: u64 = 16;

/// Returns how a well-formed call must end.
pub fn answer(routine: Routine, call: &Call) -> Answer {
    if routine == Routine::KeGetCurrentProcessorNumber {
        return Answer::Processor;
    }
    let values = &call.values[..call.count as usize];
    let returned = returned(routine, call.argument, values);
    Answer::Bytes(returned.as_bytes().into())
}

/// Returns how a well-formed `RUN_THREADS` must end.
pub fn threads_answer(run: &RunThreads) -> Answer {
    let (threads, rounds) = (u64::from(run.threads), u64::from(run.rounds));
    let all = threads * rounds;
    let expected = match Routine::from_number(run.routine) {
        Some(
            Routine::ExInterlockedExtendZone
            | Routine::ExInterlockedAllocateFromZone
            | Routine::ExInterlockedFreeToZone
            | Routine::InterlockedExchange,
        ) => None,
        _ => Some(all),
    };
    Answer::Threads {
        rounds: all,
        expected,
    }
}

/// Returns the result of a routine that returned a node, if there was one, and left these values.
fn node(node: Option<u64>, left: &[u64]) -> CallResult {
    CallResult {
        found: u32::from(node.is_some()),
        ..number(node.unwrap_or(0), left)
    }
}

/// Returns the result of a routine that returned a number and left these values.
fn number(value: u64, left: &[u64]) -> CallResult {
    let mut returned = CallResult {
        value,
        ..CallResult::default()
    };
    for (to, from) in returned.values.iter_mut().zip(left) {
        *to = *from;
        returned.count += 1;
    }
    returned
}

fn returned(routine: Routine, argument: u64, values: &[u64]) -> CallResult {
    match routine {
        Routine::IoAcquireCancelSpinLock | Routine::KeAcquireSpinLock => {
            number(PASSIVE_LEVEL, &[DISPATCH_LEVEL])
        }
        Routine::IoReleaseCancelSpinLock => number(PASSIVE_LEVEL, &[]),
        Routine::KeReleaseSpinLock => node(Some(PASSIVE_LEVEL), &[]),
        // A request that stays pending has no result here.
        Routine::IoSetCancelRoutine => node(Some(0), &[]),
        Routine::KeInitializeSpinLock | Routine::KeReleaseSpinLockFromDpcLevel => number(1, &[]),
        Routine::KeAcquireSpinLockAtDpcLevel | Routine::KeInitializeDeviceQueue => number(0, &[]),
        Routine::ExInterlockedInsertHeadList
        | Routine::ExInterlockedInsertTailList
        | Routine::ExInterlockedRemoveHeadList
        | Routine::ExInterlockedPushEntryList
        | Routine::ExInterlockedPopEntryList => list(routine, argument, values),
        Routine::ExInitializeZone
        | Routine::ExExtendZone
        | Routine::ExInterlockedExtendZone
        | Routine::ExInterlockedAllocateFromZone
        | Routine::ExInterlockedFreeToZone => zone(routine, argument, values),
        Routine::KeInsertDeviceQueue
        | Routine::KeInsertByKeyDeviceQueue
        | Routine::KeRemoveDeviceQueue
        | Routine::KeRemoveByKeyDeviceQueue
        | Routine::KeRemoveByKeyDeviceQueueIfBusy
        | Routine::KeRemoveEntryDeviceQueue => device_queue(routine, argument, values),
        _ => one_number(routine, argument, values[0]),
    }
}

fn list(routine: Routine, argument: u64, values: &[u64]) -> CallResult {
    let (first, last) = (values.first().copied(), values.last().copied());
    let from_top = values.iter().rev().copied();
    match routine {
        Routine::ExInterlockedInsertHeadList => node(first, &[&[argument], values].concat()),
        Routine::ExInterlockedInsertTailList => node(last, &[values, &[argument]].concat()),
        Routine::ExInterlockedRemoveHeadList => node(first, values.get(1..).unwrap_or(&[])),
        Routine::ExInterlockedPushEntryList => {
            let stack: Vec<u64> = [argument].into_iter().chain(from_top).collect();
            node(last, &stack)
        }
        _ => node(last, &from_top.skip(1).collect::<Vec<u64>>()),
    }
}

fn zone(routine: Routine, argument: u64, values: &[u64]) -> CallResult {
    match (routine, values) {
        (Routine::ExInterlockedAllocateFromZone, &[blocks]) => CallResult {
            found: u32::from((1..=blocks).contains(&argument)),
            ..number(argument.min(blocks), &[])
        },
        (Routine::ExInterlockedFreeToZone, _) => CallResult {
            found: u32::from(argument > 0),
            ..number(argument, &[])
        },
        (_, &[block, size, offset]) => match initialized(block, size, offset) {
            Some(blocks) => number(blocks, &[]),
            None => refused(0),
        },
        (_, &[block, size, offset, more, more_offset]) => {
            let Some(blocks) = initialized(block, size, offset) else {
                return refused(0);
            };
            match initialized(block, more, more_offset).filter(|_| more.is_multiple_of(8)) {
                Some(added) => number(blocks + added, &[]),
                None => refused(blocks),
            }
        }
        _ => CallResult::default(),
    }
}

fn refused(blocks: u64) -> CallResult {
    CallResult {
        status: Status::INVALID_PARAMETER.0,
        ..number(blocks, &[])
    }
}

/// Returns the number of blocks of a zone that is initialized with this segment; `None` if the segment is refused.
fn initialized(block: u64, size: u64, offset: u64) -> Option<u64> {
    let aligned = block.is_multiple_of(8) && offset.is_multiple_of(8);
    let fits = block != 0 && block <= size && size >= HEADER;
    (aligned && fits).then(|| (size - HEADER) / block)
}

fn device_queue(routine: Routine, argument: u64, values: &[u64]) -> CallResult {
    let mut queued = values.to_vec();
    match routine {
        Routine::KeInsertDeviceQueue | Routine::KeInsertByKeyDeviceQueue => {
            let queued = values.get(1..).unwrap_or(&[]);
            let mut left = queued.to_vec();
            if routine == Routine::KeInsertByKeyDeviceQueue {
                left.sort_unstable();
            }
            CallResult {
                found: u32::from(!values.is_empty()),
                ..number(queued.len() as u64, &left)
            }
        }
        Routine::KeRemoveEntryDeviceQueue => {
            queued.remove(usize::try_from(argument).unwrap_or_default());
            node(Some(0), &queued)
        }
        _ if queued.is_empty() => CallResult {
            status: Status::DEVICE_NOT_READY.0,
            ..CallResult::default()
        },
        Routine::KeRemoveDeviceQueue => node(Some(values[0]), &values[1..]),
        _ => {
            queued.sort_unstable();
            let next = queued.iter().position(|key| *key >= argument);
            let removed = queued.remove(next.unwrap_or(0));
            node(Some(removed), &queued)
        }
    }
}

fn one_number(routine: Routine, argument: u64, value: u64) -> CallResult {
    const LOW: u64 = 0xffff_ffff;
    let (returned, left) = match routine {
        Routine::ExInterlockedAddUlong => (value, (value + argument) & LOW),
        Routine::ExInterlockedAddLargeInteger => (value, value.wrapping_add(argument)),
        Routine::InterlockedIncrement => ((value + 1) & LOW, (value + 1) & LOW),
        Routine::InterlockedDecrement => {
            let less = value.wrapping_sub(1) & LOW;
            (less, less)
        }
        _ => (value, argument),
    };
    number(returned, &[left])
}
