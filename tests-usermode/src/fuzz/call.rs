//! Which calls of a routine are valid.

use interlock_abi::{Call, Routine};

/// The longest segment of a zone.
const LONGEST_SEGMENT: u64 = 65536;
/// The largest offset of a segment from a multiple of 16.
const LAST_OFFSET: u64 = 15;
/// The maximum number of blocks of a zone that is allocated from.
const MAX_BLOCKS: u64 = 64;
/// The maximum number of allocations from a zone.
const MAX_ALLOCATIONS: u64 = 128;
/// The maximum number of times that a lock is acquired.
const MAX_TURNS: u64 = 1000;

/// Returns whether a call of a routine is valid.
pub fn is_valid(routine: Routine, call: &Call) -> bool {
    let Some(values) = values(call) else {
        return false;
    };
    let on_an_idle_queue = routine == Routine::KeRemoveByKeyDeviceQueueIfBusy && call.count == 0;
    let reserved = call.reserved == 0 || (call.reserved == 1 && on_an_idle_queue);
    reserved && argument_and_values(routine, call.argument, values)
}

/// Returns the values of a call, if their count is valid and the others are zero.
fn values(call: &Call) -> Option<&[u64]> {
    let (values, rest) = call
        .values
        .split_at_checked(usize::try_from(call.count).ok()?)?;
    rest.iter().all(|value| *value == 0).then_some(values)
}

/// Returns whether the argument and the values are valid for a routine.
fn argument_and_values(routine: Routine, argument: u64, values: &[u64]) -> bool {
    match routine {
        Routine::IoAcquireCancelSpinLock
        | Routine::KeInitializeSpinLock
        | Routine::KeAcquireSpinLock
        | Routine::KeAcquireSpinLockAtDpcLevel
        | Routine::KeReleaseSpinLockFromDpcLevel
        | Routine::KeInitializeDeviceQueue
        | Routine::KeGetCurrentProcessorNumber => argument == 0 && values.is_empty(),

        Routine::IoReleaseCancelSpinLock | Routine::KeReleaseSpinLock => {
            (1..=MAX_TURNS).contains(&argument) && values.is_empty()
        }
        Routine::IoSetCancelRoutine => argument <= 1 && values.is_empty(),

        Routine::ExInterlockedInsertHeadList
        | Routine::ExInterlockedInsertTailList
        | Routine::ExInterlockedPushEntryList => true,

        Routine::ExInterlockedRemoveHeadList
        | Routine::ExInterlockedPopEntryList
        | Routine::KeInsertDeviceQueue
        | Routine::KeRemoveDeviceQueue => argument == 0,

        Routine::KeInsertByKeyDeviceQueue => argument == 0 && are_32_bits(values),
        Routine::KeRemoveByKeyDeviceQueue | Routine::KeRemoveByKeyDeviceQueueIfBusy => {
            is_32_bits(argument) && are_32_bits(values)
        }
        Routine::KeRemoveEntryDeviceQueue => argument < values.len() as u64,

        Routine::ExInitializeZone => argument == 0 && is_zone(values),
        Routine::ExExtendZone | Routine::ExInterlockedExtendZone => {
            argument == 0 && is_zone_and_segment(values)
        }
        Routine::ExInterlockedAllocateFromZone => {
            is_one(values, |blocks| blocks <= MAX_BLOCKS) && argument <= MAX_ALLOCATIONS
        }
        Routine::ExInterlockedFreeToZone => is_one(values, |blocks| {
            (1..=MAX_BLOCKS).contains(&blocks) && argument <= blocks
        }),

        Routine::ExInterlockedAddUlong | Routine::InterlockedExchange => {
            is_one(values, is_32_bits) && is_32_bits(argument)
        }
        Routine::ExInterlockedAddLargeInteger => is_one(values, |_| true),
        Routine::InterlockedIncrement | Routine::InterlockedDecrement => {
            is_one(values, is_32_bits) && argument == 0
        }
    }
}

fn is_32_bits(value: u64) -> bool {
    u32::try_from(value).is_ok()
}

fn are_32_bits(values: &[u64]) -> bool {
    values.iter().all(|value| is_32_bits(*value))
}

/// Returns whether there is exactly one value, and it meets a condition.
fn is_one(values: &[u64], condition: impl FnOnce(u64) -> bool) -> bool {
    matches!(values, [value] if condition(*value))
}

/// Returns whether the values are the size of a block, and a segment.
fn is_zone(values: &[u64]) -> bool {
    matches!(values, [block, size, offset] if is_32_bits(*block) && is_segment(*size, *offset))
}

/// Returns whether the values are the size of a block, a segment, and another segment.
fn is_zone_and_segment(values: &[u64]) -> bool {
    match values {
        [zone @ .., size, offset] => is_zone(zone) && is_segment(*size, *offset),
        _ => false,
    }
}

fn is_segment(size: u64, offset: u64) -> bool {
    size <= LONGEST_SEGMENT && offset <= LAST_OFFSET
}

#[cfg(test)]
mod tests {
    use interlock_abi::{Call, Routine};

    use super::is_valid;

    fn call(argument: u64, values: &[u64]) -> Call {
        let mut call = Call {
            argument,
            ..Call::default()
        };
        for (to, from) in call.values.iter_mut().zip(values) {
            *to = *from;
            call.count += 1;
        }
        call
    }

    #[test]
    fn a_field_that_a_routine_does_not_name_is_zero() {
        let routine = Routine::KeAcquireSpinLock;
        assert!(is_valid(routine, &call(0, &[])));
        assert!(!is_valid(routine, &call(1, &[])));
        assert!(!is_valid(routine, &call(0, &[0])));
        let routine = Routine::ExInterlockedRemoveHeadList;
        assert!(is_valid(routine, &call(0, &[1, 2])));
        assert!(!is_valid(routine, &call(1, &[1, 2])));
    }

    #[test]
    fn values_end_at_the_count() {
        let routine = Routine::ExInterlockedInsertHeadList;
        let full = call(u64::MAX, &[u64::MAX; 16]);
        assert!(is_valid(routine, &full));
        assert!(!is_valid(routine, &Call { count: 17, ..full }));
        assert!(!is_valid(routine, &Call { count: 15, ..full }));
        assert!(!is_valid(
            routine,
            &Call {
                reserved: 1,
                ..full
            }
        ));
    }

    #[test]
    fn only_a_queue_without_nodes_can_be_idle() {
        let (idle, node) = (call(7, &[]), call(7, &[7]));
        for (call, reserved, allowed) in [
            (idle, 0, true),
            (idle, 1, true),
            (idle, 2, false),
            (node, 0, true),
            (node, 1, false),
        ] {
            let call = Call { reserved, ..call };
            let if_busy = Routine::KeRemoveByKeyDeviceQueueIfBusy;
            assert_eq!(is_valid(if_busy, &call), allowed, "{call:?}");
            let by_key = Routine::KeRemoveByKeyDeviceQueue;
            assert_eq!(is_valid(by_key, &call), reserved == 0, "{call:?}");
        }
    }

    /// For each routine, a call at its limit and one beyond it: `routine: argument, values => argument, values;`.
    macro_rules! limits {
        ($($routine:ident: $inside:expr, $values:tt => $outside:expr, $other:tt;)*) => {
            $(
                let routine = Routine::$routine;
                let (inside, outside) = (call($inside, &$values), call($outside, &$other));
                assert!(is_valid(routine, &inside), "{routine:?} {inside:?}");
                assert!(!is_valid(routine, &outside), "{routine:?} {outside:?}");
            )*
        };
    }

    const MAX: u64 = u32::MAX as u64;

    #[test]
    fn turns_and_segments_are_within_their_bounds() {
        limits! {
            IoReleaseCancelSpinLock: 1, [] => 0, [];
            KeReleaseSpinLock: 1000, [] => 1001, [];
            IoSetCancelRoutine: 1, [] => 2, [];
            ExInitializeZone: 0, [MAX, 65536, 15] => 0, [MAX + 1, 65536, 15];
            ExInitializeZone: 0, [0, 0, 0] => 0, [0, 65537, 0];
            ExInitializeZone: 0, [8, 64, 15] => 0, [8, 64, 16];
            ExExtendZone: 0, [8, 64, 0, 65536, 15] => 0, [8, 64, 0, 65537, 15];
            ExExtendZone: 0, [8, 64, 0, 64, 0] => 0, [8, 64, 0, 64];
            ExInterlockedExtendZone: 0, [8, 64, 0, 64, 0] => 0, [8, 64, 0];
        }
    }

    #[test]
    fn blocks_keys_and_numbers_are_within_their_bounds() {
        limits! {
            ExInterlockedAllocateFromZone: 128, [64] => 129, [64];
            ExInterlockedAllocateFromZone: 0, [0] => 0, [65];
            ExInterlockedFreeToZone: 64, [64] => 65, [64];
            ExInterlockedFreeToZone: 0, [1] => 0, [0];
            KeInsertByKeyDeviceQueue: 0, [MAX] => 0, [MAX + 1];
            KeRemoveByKeyDeviceQueue: MAX, [] => MAX + 1, [];
            KeRemoveEntryDeviceQueue: 1, [5, 6] => 2, [5, 6];
            KeRemoveEntryDeviceQueue: 0, [5] => 0, [];
            ExInterlockedAddUlong: MAX, [MAX] => MAX, [MAX + 1];
            InterlockedExchange: MAX, [0] => MAX + 1, [0];
            ExInterlockedAddLargeInteger: u64::MAX, [u64::MAX] => 0, [];
            InterlockedIncrement: 0, [MAX] => 0, [MAX + 1];
            InterlockedDecrement: 0, [1] => 0, [1, 1];
        }
    }
}
