//! What a call of a routine may have in it.

use interlock_abi::{Call, Routine};

/// The longest segment of a zone.
const LONGEST_SEGMENT: u64 = 65536;
/// The farthest that a segment starts behind a multiple of 16.
const LAST_OFFSET: u64 = 15;
/// The most blocks of a zone that is allocated from.
const MOST_BLOCKS: u64 = 64;
/// The most allocations from one.
const MOST_ALLOCATIONS: u64 = 128;
/// The most turns of a lock.
const MOST_TURNS: u64 = 1000;

/// Whether a routine may be called so.
pub fn may_be(routine: Routine, call: &Call) -> bool {
    let Some(values) = values(call) else {
        return false;
    };
    let on_an_idle_queue = routine == Routine::KeRemoveByKeyDeviceQueueIfBusy && call.count == 0;
    let reserved = call.reserved == 0 || (call.reserved == 1 && on_an_idle_queue);
    reserved && argument_and_values(routine, call.argument, values)
}

/// The values that a call says it has, if there can be so many and the others are zero.
fn values(call: &Call) -> Option<&[u64]> {
    let (values, rest) = call
        .values
        .split_at_checked(usize::try_from(call.count).ok()?)?;
    rest.iter().all(|value| *value == 0).then_some(values)
}

/// Whether a routine may be given these.
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
            (1..=MOST_TURNS).contains(&argument) && values.is_empty()
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
            is_one(values, |blocks| blocks <= MOST_BLOCKS) && argument <= MOST_ALLOCATIONS
        }
        Routine::ExInterlockedFreeToZone => is_one(values, |blocks| {
            (1..=MOST_BLOCKS).contains(&blocks) && argument <= blocks
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

/// Whether there is one value, and such a one.
fn is_one(values: &[u64], such: impl FnOnce(u64) -> bool) -> bool {
    matches!(values, [value] if such(*value))
}

/// The size of a block, and a segment.
fn is_zone(values: &[u64]) -> bool {
    matches!(values, [block, size, offset] if is_32_bits(*block) && is_segment(*size, *offset))
}

/// The same, and another segment.
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

    use super::may_be;

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
        assert!(may_be(routine, &call(0, &[])));
        assert!(!may_be(routine, &call(1, &[])));
        assert!(!may_be(routine, &call(0, &[0])));
        let routine = Routine::ExInterlockedRemoveHeadList;
        assert!(may_be(routine, &call(0, &[1, 2])));
        assert!(!may_be(routine, &call(1, &[1, 2])));
    }

    #[test]
    fn values_end_where_the_count_says() {
        let routine = Routine::ExInterlockedInsertHeadList;
        let full = call(u64::MAX, &[u64::MAX; 16]);
        assert!(may_be(routine, &full));
        assert!(!may_be(routine, &Call { count: 17, ..full }));
        assert!(!may_be(routine, &Call { count: 15, ..full }));
        assert!(!may_be(
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
            assert_eq!(may_be(if_busy, &call), allowed, "{call:?}");
            let by_key = Routine::KeRemoveByKeyDeviceQueue;
            assert_eq!(may_be(by_key, &call), reserved == 0, "{call:?}");
        }
    }

    /// A routine, what it may just be called with, and what it may just not be called with.
    type Bound = (Routine, Call, Call);

    fn check(bounds: &[Bound]) {
        for (routine, right, wrong) in bounds {
            assert!(may_be(*routine, right), "{routine:?} {right:?}");
            assert!(!may_be(*routine, wrong), "{routine:?} {wrong:?}");
        }
    }

    #[test]
    fn turns_and_segments_are_within_their_bounds() {
        let most = u64::from(u32::MAX);
        check(&[
            (Routine::IoReleaseCancelSpinLock, call(1, &[]), call(0, &[])),
            (Routine::KeReleaseSpinLock, call(1000, &[]), call(1001, &[])),
            (Routine::IoSetCancelRoutine, call(1, &[]), call(2, &[])),
            (
                Routine::ExInitializeZone,
                call(0, &[most, 65536, 15]),
                call(0, &[most + 1, 65536, 15]),
            ),
            (
                Routine::ExInitializeZone,
                call(0, &[0, 0, 0]),
                call(0, &[0, 65537, 0]),
            ),
            (
                Routine::ExInitializeZone,
                call(0, &[8, 64, 15]),
                call(0, &[8, 64, 16]),
            ),
            (
                Routine::ExExtendZone,
                call(0, &[8, 64, 0, 65536, 15]),
                call(0, &[8, 64, 0, 65537, 15]),
            ),
            (
                Routine::ExExtendZone,
                call(0, &[8, 64, 0, 64, 0]),
                call(0, &[8, 64, 0, 64]),
            ),
            (
                Routine::ExInterlockedExtendZone,
                call(0, &[8, 64, 0, 64, 0]),
                call(0, &[8, 64, 0]),
            ),
        ]);
    }

    #[test]
    fn blocks_keys_and_numbers_are_within_their_bounds() {
        let most = u64::from(u32::MAX);
        check(&[
            (
                Routine::ExInterlockedAllocateFromZone,
                call(128, &[64]),
                call(129, &[64]),
            ),
            (
                Routine::ExInterlockedAllocateFromZone,
                call(0, &[0]),
                call(0, &[65]),
            ),
            (
                Routine::ExInterlockedFreeToZone,
                call(64, &[64]),
                call(65, &[64]),
            ),
            (
                Routine::ExInterlockedFreeToZone,
                call(0, &[1]),
                call(0, &[0]),
            ),
            (
                Routine::KeInsertByKeyDeviceQueue,
                call(0, &[most]),
                call(0, &[most + 1]),
            ),
            (
                Routine::KeRemoveByKeyDeviceQueue,
                call(most, &[]),
                call(most + 1, &[]),
            ),
            (
                Routine::KeRemoveEntryDeviceQueue,
                call(1, &[5, 6]),
                call(2, &[5, 6]),
            ),
            (
                Routine::KeRemoveEntryDeviceQueue,
                call(0, &[5]),
                call(0, &[]),
            ),
            (
                Routine::ExInterlockedAddUlong,
                call(most, &[most]),
                call(most, &[most + 1]),
            ),
            (
                Routine::InterlockedExchange,
                call(most, &[0]),
                call(most + 1, &[0]),
            ),
            (
                Routine::ExInterlockedAddLargeInteger,
                call(u64::MAX, &[u64::MAX]),
                call(0, &[]),
            ),
            (
                Routine::InterlockedIncrement,
                call(0, &[most]),
                call(0, &[most + 1]),
            ),
            (
                Routine::InterlockedDecrement,
                call(0, &[1]),
                call(0, &[1, 1]),
            ),
        ]);
    }
}
