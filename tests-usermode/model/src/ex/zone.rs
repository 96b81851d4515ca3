//! Zones: blocks of one size in segments that the caller passes. Free blocks are linked.

use std::{cell::Cell, ffi::c_void, ops::Range, ptr::null};

use nt::{
    KSPIN_LOCK, NTSTATUS, STATUS_INVALID_PARAMETER, STATUS_SUCCESS, STATUS_UNSUCCESSFUL,
    ZONE_HEADER,
};

use crate::{
    host::{
        Call, Kernel,
        layout::{SingleListEntry, Zone, ZoneSegment},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The blocks of a segment, and their size.
pub(in crate::ex) type Blocks = (Range<usize>, usize);

/// Returns whether an address or a size is a multiple of 8.
const fn is_aligned(value: usize) -> bool {
    value.is_multiple_of(8)
}

impl Call {
    /// Adds a segment's blocks to a zone.
    ///
    /// # Safety
    /// The segment has this size, is aligned, and belongs to the zone from now on. No other thread uses the zone during
    /// the call.
    unsafe fn add_segment(&self, zone: &Zone, segment: *mut c_void, size: u32) {
        // SAFETY: the caller passes a segment, which starts with its header.
        let header = unsafe { self.view_new::<ZoneSegment, _>(segment) };
        header.reserved.set(null());
        // SAFETY: guaranteed by the caller.
        unsafe { self.push(&zone.segments, &header.link, Rule::ListEntry) };
        let block_size = zone.block_size.get() as usize;
        self.add_blocks(zone, segment, size as usize, block_size);
        let mut offset = size_of::<ZoneSegment>();
        while offset + block_size <= size as usize {
            // SAFETY: the block is inside the segment.
            let block = unsafe { segment.byte_add(offset) };
            // SAFETY: as above; a block is at least as long as a link.
            let block = unsafe { &*block.cast::<SingleListEntry>() };
            // A new block is on no list, so no search for it is needed.
            block.next.set(zone.free.next.get());
            zone.free.next.set(block);
            offset += block_size;
        }
    }

    fn add_blocks(&self, zone: &Zone, segment: *mut c_void, size: usize, block_size: usize) {
        let first = segment.addr() + size_of::<ZoneSegment>();
        let count = size.saturating_sub(size_of::<ZoneSegment>()) / block_size;
        let blocks = first..first + count * block_size;
        // Without the rest of the segment, which is too short for a block.
        let used = u32::try_from(blocks.end - segment.addr()).unwrap_or(u32::MAX);
        zone.total_size
            .set(zone.total_size.get().wrapping_add(used));
        let mut zones = locked(&self.kernel.ex().zones);
        if let Some(segments) = zones.get_mut(&(&raw const *zone).addr()) {
            segments.push((blocks, block_size));
        }
    }

    /// Stops the system if a block that is freed to a zone, whose list has this head, is not a block of the zone.
    pub(in crate::ex) fn require_block_of_zone(&self, head: usize, block: usize) {
        if !self.kernel.config.check_lists {
            return;
        }
        let is_block = {
            let mut zones = locked(&self.kernel.ex().zones);
            let of_some_zone = zones
                .values()
                .flatten()
                .any(|(blocks, _)| blocks.contains(&block));
            let Some(segments) = zones.get(&head) else {
                return;
            };
            if !of_some_zone {
                // A zone is never deleted, so its memory can belong to another list now.
                zones.remove(&head);
                return;
            }
            segments.iter().any(|(blocks, size)| {
                blocks.contains(&block) && (block - blocks.start).is_multiple_of(*size)
            })
        };
        self.require(is_block, Rule::ZoneBlock, || {
            let bug_check = BugCheck::NONE;
            let what = format!(
                "{block:#x} is freed to the zone {head:#x}, and is not the start of one of its blocks{}",
                self.once(block)
            );
            (bug_check, what)
        });
    }

    unsafe fn extend(&self, zone: *mut ZONE_HEADER, segment: *mut c_void, size: u32) -> NTSTATUS {
        // SAFETY: the caller passes a zone.
        let zone = unsafe { self.view::<Zone, _>(zone) };
        let fits = is_aligned(segment.addr()) && is_aligned(size as usize);
        if !fits || zone.block_size.get() > size {
            return STATUS_UNSUCCESSFUL;
        }
        // SAFETY: guaranteed by the caller.
        unsafe { self.add_segment(zone, segment, size) };
        STATUS_SUCCESS
    }
}

impl Kernel {
    /// Returns the rule that is broken if an entry is on the list with this head twice.
    pub(in crate::ex) fn zone_rule(&self, head: usize) -> Rule {
        if self.config.check_lists && locked(&self.ex().zones).contains_key(&head) {
            Rule::ZoneBlock
        } else {
            Rule::ListEntry
        }
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInitializeZone(
    zone: *mut ZONE_HEADER,
    block_size: u32,
    segment: *mut c_void,
    size: u32,
) -> NTSTATUS {
    let call = Call::enter("ExInitializeZone").at_most(0);
    let fits = is_aligned(block_size as usize) && is_aligned(segment.addr());
    if block_size == 0 || !fits || block_size > size {
        return STATUS_INVALID_PARAMETER;
    }
    // SAFETY: the caller passes memory for a zone.
    let header = unsafe { call.view_new::<Cell<[u64; 3]>, _>(zone) };
    header.set([0; 3]);
    // SAFETY: as above, and zero is valid for every field.
    let header = unsafe { call.view::<Zone, _>(zone) };
    header.block_size.set(block_size);
    if call.kernel.config.check_lists {
        locked(&call.kernel.ex().zones).insert(zone.addr(), Vec::new());
        // This memory of the driver can have been a list before, with another lock.
        locked(&call.kernel.ex().locks_of_lists).remove(&zone.addr());
    }
    // SAFETY: the caller passes a segment, and no other thread knows the zone yet.
    unsafe { call.add_segment(header, segment, size) };
    STATUS_SUCCESS
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExExtendZone(zone: *mut ZONE_HEADER, segment: *mut c_void, size: u32) -> NTSTATUS {
    let call = Call::enter_visible("ExExtendZone", zone).at_most(nt::DISPATCH_LEVEL);
    // SAFETY: the caller passes a zone and a segment, and serializes the calls.
    unsafe { call.extend(zone, segment, size) }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInterlockedExtendZone(
    zone: *mut ZONE_HEADER,
    segment: *mut c_void,
    size: u32,
    lock: *mut KSPIN_LOCK,
) -> NTSTATUS {
    let call = Call::enter_visible("ExInterlockedExtendZone", zone).at_most(nt::DISPATCH_LEVEL);
    // SAFETY: the caller passes a zone and a segment, and all other accesses to the zone hold this lock.
    call.interlocked(lock, || unsafe { call.extend(zone, segment, size) })
}
