//! Zones.

use interlock_abi::CallResult;

use super::{Run, found, number};
use crate::scenarios::Scenario;
use crate::status::Status;

/// The length of the header at the start of each segment (`ZONE_SEGMENT_HEADER`, two pointers).
const HEADER: u64 = 16;

/// The scenarios of this module, in the order in which they run.
pub const SCENARIOS: &[Scenario] = routines! {
    ExInitializeZone::cuts_the_segment_into_blocks,
        "a segment is cut into as many blocks as fit behind its header",
        calls! {
            0, [64, HEADER + 64, 0] => number(1);
            0, [64, HEADER + 10 * 64, 0] => number(10);
            // The remainder is smaller than a block.
            0, [64, HEADER + 10 * 64 + 56, 0] => number(10);
            0, [8, HEADER + 3 * 8, 8] => number(3);
            0, [24, 65536, 0] => number((65536 - HEADER) / 24);
            // The header leaves no room for a block that is as long as the segment.
            0, [64, 64, 0] => number(0);
        };
    ExInitializeZone::rejects_invalid_segments,
        "a block or a segment that is not aligned, or a block longer than the segment, is refused",
        calls! {
            0, [60, 1024, 0] => refused(0);
            0, [1, 1024, 0] => refused(0);
            0, [64, 1024, 4] => refused(0);
            0, [64, 1024, 15] => refused(0);
            0, [64, 56, 0] => refused(0);
            0, [u64::from(u32::MAX) - 7, 65536, 0] => refused(0);
        };
    ExExtendZone::adds_the_blocks,
        "a second segment adds its blocks to those of the zone",
        ADDS_THE_BLOCKS;
    ExExtendZone::rejects_invalid_segments,
        "a second segment that is not aligned or shorter than a block is refused, and the zone stays",
        REFUSES_TO_EXTEND;
    ExInterlockedExtendZone::adds_the_blocks,
        "under the zone's lock too, a second segment adds its blocks to those of the zone",
        ADDS_THE_BLOCKS;
    ExInterlockedExtendZone::rejects_invalid_segments,
        "under the zone's lock too, a segment that does not fit is refused, and the zone stays",
        REFUSES_TO_EXTEND;
    ExInterlockedAllocateFromZone::gives_each_block_once,
        "each allocation gives another block, until there is none",
        calls! {
            1, [1] => found(1);
            2, [1] => number(1);
            5, [8] => found(5);
            8, [8] => found(8);
            9, [8] => number(8);
            64, [64] => found(64);
            128, [64] => number(64);
        };
    ExInterlockedFreeToZone::gives_the_last_freed_first,
        "blocks that were freed are allocated again, the one that was freed last first",
        calls! {
            0, [4] => number(0);
            1, [1] => found(1);
            1, [4] => found(1);
            3, [4] => found(3);
            64, [64] => found(64);
        };
};

/// The result of an operation that was refused, on a zone with this number of blocks.
const fn refused(blocks: u64) -> CallResult {
    CallResult {
        status: Status::INVALID_PARAMETER.0,
        ..number(blocks)
    }
}

/// Segments with room for three and for four blocks of 32 bytes.
const THREE: u64 = HEADER + 3 * 32;
const FOUR: u64 = HEADER + 4 * 32;

const ADDS_THE_BLOCKS: Run = calls! {
    0, [32, FOUR, 0, THREE, 0] => number(7);
    0, [32, FOUR, 8, THREE, 8] => number(7);
    0, [32, FOUR, 0, THREE + 24, 0] => number(7);
    // Either segment may be too short for a block.
    0, [32, 32, 0, THREE, 0] => number(3);
    0, [32, FOUR, 0, 32, 0] => number(4);
};

const REFUSES_TO_EXTEND: Run = calls! {
    0, [32, FOUR, 0, FOUR, 4] => refused(4);
    0, [32, FOUR, 0, FOUR, 1] => refused(4);
    0, [32, FOUR, 0, 24, 0] => refused(4);
    // Without a zone there is nothing to extend.
    0, [31, FOUR, 0, FOUR, 0] => refused(0);
};
