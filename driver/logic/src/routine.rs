//! The NT routines that a request can run, each on objects that are made for that request.
//!
//! [`check`] checks a [`Call`] against the rules of [`Routine`]. [`run`] then makes the objects, calls the routine
//! through its wrapper in [`wdm`], and sets the result.

mod device_queues;
mod lists;
mod locks;
mod numbers;
mod threads;
mod zones;

use interlock_abi::{Call, CallResult, Routine};
use wdm::{Error, PassiveLevel};

pub use threads::{check_threads, run_threads};

/// Checks a call's values against the rules of its routine.
pub fn check(routine: Routine, call: &Call) -> Result<(), Error> {
    let values = usize::try_from(call.count).map(|count| call.values.split_at_checked(count));
    let Ok(Some((nodes, rest))) = values else {
        return Err(Error::INVALID_PARAMETER);
    };
    let may_be_reserved = routine == Routine::KeRemoveByKeyDeviceQueueIfBusy && nodes.is_empty();
    let well_formed = rest.iter().all(|value| *value == 0)
        && call.reserved <= u32::from(may_be_reserved)
        && fits(routine, call.argument, nodes);
    if well_formed {
        Ok(())
    } else {
        Err(Error::INVALID_PARAMETER)
    }
}

/// Returns whether a routine accepts the argument and the nodes.
fn fits(routine: Routine, argument: u64, nodes: &[u64]) -> bool {
    match routine {
        Routine::IoAcquireCancelSpinLock
        | Routine::KeInitializeSpinLock
        | Routine::KeAcquireSpinLock
        | Routine::KeAcquireSpinLockAtDpcLevel
        | Routine::KeReleaseSpinLockFromDpcLevel
        | Routine::KeInitializeDeviceQueue
        | Routine::KeGetCurrentProcessorNumber => argument == 0 && nodes.is_empty(),
        Routine::IoReleaseCancelSpinLock | Routine::KeReleaseSpinLock => {
            (1..=1000).contains(&argument) && nodes.is_empty()
        }
        Routine::IoSetCancelRoutine => argument <= 1 && nodes.is_empty(),
        Routine::ExInterlockedInsertHeadList
        | Routine::ExInterlockedInsertTailList
        | Routine::ExInterlockedPushEntryList => true,
        Routine::ExInterlockedRemoveHeadList
        | Routine::ExInterlockedPopEntryList
        | Routine::KeInsertDeviceQueue
        | Routine::KeRemoveDeviceQueue => argument == 0,
        Routine::ExInitializeZone => {
            argument == 0
                && matches!(nodes, [block, first @ ..] if is_32(*block) && is_segment(first))
        }
        Routine::ExExtendZone | Routine::ExInterlockedExtendZone => {
            argument == 0
                && matches!(nodes, [block, size, offset, more @ ..]
                    if is_32(*block) && is_segment(&[*size, *offset]) && is_segment(more))
        }
        Routine::ExInterlockedAllocateFromZone => {
            argument <= 128 && matches!(nodes, [blocks] if *blocks <= zones::MAX_BLOCKS)
        }
        Routine::ExInterlockedFreeToZone => {
            matches!(nodes, [blocks] if (1..=zones::MAX_BLOCKS).contains(blocks) && argument <= *blocks)
        }
        Routine::KeInsertByKeyDeviceQueue => argument == 0 && all_32(nodes),
        Routine::KeRemoveByKeyDeviceQueue | Routine::KeRemoveByKeyDeviceQueueIfBusy => {
            is_32(argument) && all_32(nodes)
        }
        Routine::KeRemoveEntryDeviceQueue => argument < nodes.len() as u64,
        Routine::ExInterlockedAddUlong | Routine::InterlockedExchange => {
            is_32(argument) && nodes.len() == 1 && all_32(nodes)
        }
        Routine::ExInterlockedAddLargeInteger => nodes.len() == 1,
        Routine::InterlockedIncrement | Routine::InterlockedDecrement => {
            argument == 0 && nodes.len() == 1 && all_32(nodes)
        }
    }
}

fn is_32(value: u64) -> bool {
    u32::try_from(value).is_ok()
}

fn all_32(values: &[u64]) -> bool {
    values.iter().copied().all(is_32)
}

/// Returns whether the values are the size and the offset of a segment.
fn is_segment(values: &[u64]) -> bool {
    matches!(values, [size, offset] if *size <= 65536 && *offset <= 15)
}

/// Runs a routine once, for a [checked](check) call, and sets the fields of `result`, which are zero, to what it returned.
///
/// `IoSetCancelRoutine` is not run here, but on the IRP of the request itself.
// The objects are on the stack. Without inlining, only those of the routine that runs take stack space.
#[inline(never)]
pub fn run(
    routine: Routine,
    call: &Call,
    result: &mut CallResult,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    match routine {
        Routine::IoAcquireCancelSpinLock
        | Routine::IoReleaseCancelSpinLock
        | Routine::KeInitializeSpinLock
        | Routine::KeAcquireSpinLock
        | Routine::KeReleaseSpinLock
        | Routine::KeAcquireSpinLockAtDpcLevel
        | Routine::KeReleaseSpinLockFromDpcLevel => locks::run(routine, call, result, irql),
        Routine::IoSetCancelRoutine => Err(Error::INVALID_DEVICE_REQUEST),
        Routine::ExInterlockedInsertHeadList
        | Routine::ExInterlockedInsertTailList
        | Routine::ExInterlockedRemoveHeadList
        | Routine::ExInterlockedPushEntryList
        | Routine::ExInterlockedPopEntryList => lists::run(routine, call, result, irql),
        Routine::ExInitializeZone
        | Routine::ExExtendZone
        | Routine::ExInterlockedExtendZone
        | Routine::ExInterlockedAllocateFromZone
        | Routine::ExInterlockedFreeToZone => zones::run(routine, call, result, irql),
        Routine::KeInitializeDeviceQueue
        | Routine::KeInsertDeviceQueue
        | Routine::KeInsertByKeyDeviceQueue
        | Routine::KeRemoveDeviceQueue
        | Routine::KeRemoveByKeyDeviceQueue
        | Routine::KeRemoveByKeyDeviceQueueIfBusy
        | Routine::KeRemoveEntryDeviceQueue => device_queues::run(routine, call, result, irql),
        Routine::ExInterlockedAddUlong
        | Routine::ExInterlockedAddLargeInteger
        | Routine::InterlockedIncrement
        | Routine::InterlockedDecrement
        | Routine::InterlockedExchange
        | Routine::KeGetCurrentProcessorNumber => numbers::run(routine, call, result, irql),
    }
}

/// Returns the nodes of a checked call.
fn nodes(call: &Call) -> &[u64] {
    let count = usize::try_from(call.count).unwrap_or(Call::VALUES);
    call.values.get(..count).unwrap_or(&call.values)
}

/// Converts a value that was checked to have 32 bits.
fn narrow(value: u64) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::INVALID_PARAMETER)
}

/// Sets the node that a routine returned, or NULL.
fn set_found(result: &mut CallResult, value: Option<u64>) {
    result.found = value.is_some().into();
    result.value = value.unwrap_or(0);
}

/// Adds a remaining value to a result. There is room for every value that a call can pass; more values mean that an
/// object is corrupt.
fn push_remaining(result: &mut CallResult, value: u64) -> Result<(), Error> {
    let count = usize::try_from(result.count).map_err(|_| Error::INTERNAL_ERROR)?;
    let slot = result.values.get_mut(count);
    *slot.ok_or(Error::INTERNAL_ERROR)? = value;
    result.count += 1;
    Ok(())
}
