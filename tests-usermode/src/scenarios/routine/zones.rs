//! Zones.

use interlock_abi::{Returned, Routine};

use super::{call, check, found, number};
use crate::scenarios::{Context, Scenario, Verdict, scenario};
use crate::status::Status;

/// How long the header at the start of each segment is (`ZONE_SEGMENT_HEADER`, two pointers).
const HEADER: u64 = 16;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "routine::ExInitializeZone::cuts_the_segment_into_blocks",
        "a segment is cut into as many blocks as fit behind its header",
        &[Routine::ExInitializeZone],
        initialize_zone,
    ),
    scenario(
        "routine::ExInitializeZone::refuses_what_does_not_fit",
        "a block or a segment that is not aligned, or a block longer than the segment, is refused",
        &[Routine::ExInitializeZone],
        initialize_zone_refuses,
    ),
    scenario(
        "routine::ExExtendZone::adds_the_blocks",
        "a second segment adds its blocks to those of the zone",
        &[Routine::ExExtendZone],
        |_| extends(Routine::ExExtendZone),
    ),
    scenario(
        "routine::ExExtendZone::refuses_what_does_not_fit",
        "a second segment that is not aligned or shorter than a block is refused, and the zone stays",
        &[Routine::ExExtendZone],
        |_| refuses_to_extend(Routine::ExExtendZone),
    ),
    scenario(
        "routine::ExInterlockedExtendZone::adds_the_blocks",
        "under the zone's lock too, a second segment adds its blocks to those of the zone",
        &[Routine::ExInterlockedExtendZone],
        |_| extends(Routine::ExInterlockedExtendZone),
    ),
    scenario(
        "routine::ExInterlockedExtendZone::refuses_what_does_not_fit",
        "under the zone's lock too, a segment that does not fit is refused, and the zone stays",
        &[Routine::ExInterlockedExtendZone],
        |_| refuses_to_extend(Routine::ExInterlockedExtendZone),
    ),
    scenario(
        "routine::ExInterlockedAllocateFromZone::gives_each_block_once",
        "each allocation gives another block, until there is none",
        &[Routine::ExInterlockedAllocateFromZone],
        allocate_from_zone,
    ),
    scenario(
        "routine::ExInterlockedFreeToZone::gives_the_last_freed_first",
        "blocks that were freed are allocated again, the one that was freed last first",
        &[Routine::ExInterlockedFreeToZone],
        free_to_zone,
    ),
];

/// The answer for what a zone refuses; it has so many blocks.
fn refused(blocks: u64) -> Returned {
    Returned {
        status: Status::INVALID_PARAMETER.0,
        ..number(blocks)
    }
}

fn initialize_zone(_: &Context) -> Verdict {
    check(
        Routine::ExInitializeZone,
        &[
            (call(0, [64, HEADER + 64, 0]), number(1)),
            (call(0, [64, HEADER + 10 * 64, 0]), number(10)),
            // What is left over is less than a block.
            (call(0, [64, HEADER + 10 * 64 + 56, 0]), number(10)),
            (call(0, [8, HEADER + 3 * 8, 8]), number(3)),
            (call(0, [24, 65536, 0]), number((65536 - HEADER) / 24)),
            // The header leaves no room for a block that is as long as the segment.
            (call(0, [64, 64, 0]), number(0)),
        ],
    )
}

fn initialize_zone_refuses(_: &Context) -> Verdict {
    check(
        Routine::ExInitializeZone,
        &[
            (call(0, [60, 1024, 0]), refused(0)),
            (call(0, [1, 1024, 0]), refused(0)),
            (call(0, [64, 1024, 4]), refused(0)),
            (call(0, [64, 1024, 15]), refused(0)),
            (call(0, [64, 56, 0]), refused(0)),
            (call(0, [u64::from(u32::MAX) - 7, 65536, 0]), refused(0)),
        ],
    )
}

fn extends(routine: Routine) -> Verdict {
    let (four, three) = (HEADER + 4 * 32, HEADER + 3 * 32);
    check(
        routine,
        &[
            (call(0, [32, four, 0, three, 0]), number(7)),
            (call(0, [32, four, 8, three, 8]), number(7)),
            (call(0, [32, four, 0, three + 24, 0]), number(7)),
            // Either may be too short for a block.
            (call(0, [32, 32, 0, three, 0]), number(3)),
            (call(0, [32, four, 0, 32, 0]), number(4)),
        ],
    )
}

fn refuses_to_extend(routine: Routine) -> Verdict {
    let four = HEADER + 4 * 32;
    check(
        routine,
        &[
            (call(0, [32, four, 0, four, 4]), refused(4)),
            (call(0, [32, four, 0, four, 1]), refused(4)),
            (call(0, [32, four, 0, 24, 0]), refused(4)),
            // Where there is no zone, nothing is extended.
            (call(0, [31, four, 0, four, 0]), refused(0)),
        ],
    )
}

fn allocate_from_zone(_: &Context) -> Verdict {
    check(
        Routine::ExInterlockedAllocateFromZone,
        &[
            (call(1, [1]), found(1)),
            (call(2, [1]), number(1)),
            (call(5, [8]), found(5)),
            (call(8, [8]), found(8)),
            (call(9, [8]), number(8)),
            (call(64, [64]), found(64)),
            (call(128, [64]), number(64)),
        ],
    )
}

fn free_to_zone(_: &Context) -> Verdict {
    check(
        Routine::ExInterlockedFreeToZone,
        &[
            (call(0, [4]), number(0)),
            (call(1, [1]), found(1)),
            (call(1, [4]), found(1)),
            (call(3, [4]), found(3)),
            (call(64, [64]), found(64)),
        ],
    )
}
