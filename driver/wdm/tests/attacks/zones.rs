//! Attacks on zones and their blocks.

use wdm::{PassiveLevel, RawBlock, RawZone, Segment, SpinLock, Zone, ZoneBox};

/// A block of a raw zone is used as a value, whatever its size is.
fn raw_block_as_a_value(block: &RawBlock) -> &u64 {
    block //~ E0308
}

/// The memory of a zone's segment is read while the zone uses it.
fn segment_read_as_bytes(segment: &Segment) -> *mut core::ffi::c_void {
    segment.start() //~ E0624
}

/// A block is used twice.
fn zone_block_cloned(block: wdm::RawBlock) -> (wdm::RawBlock, wdm::RawBlock) {
    (block.clone(), block) //~ E0599
}

/// A block is freed to its zone twice.
fn zone_block_freed_twice(block: wdm::RawBlock) {
    block.free();
    block.free(); //~ E0382
}

/// A block with a reference to a local is used as one with a `'static` reference.
fn zone_box_of_a_local_as_static(zone: &Zone<&'static u32>) -> Option<ZoneBox<&'static u32>> {
    let local = 1;
    zone.allocate(&local) //~ E0515
}

/// A zone is extended under a lock, where memory must not be allocated.
fn zone_extended_under_a_lock(zone: &Zone<u32>, lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| zone.extend(1, held)).ok(); //~ E0277
}

/// A zone has an unsized type.
fn zone_of_an_unsized_type(_: &wdm::Zone<[u32]>) {} //~ E0277

/// One segment is used for two zones.
fn zone_segment_used_twice(segment: Segment, irql: &mut PassiveLevel) {
    let _ = RawZone::new(64, segment, irql);
    let _ = RawZone::new(64, segment, irql); //~ E0382
}

/// A zone of one type is used as one of a shorter-lived type.
fn zone_shortened<'a>(it: &'a Zone<&'static str>) -> &'a Zone<&'a str> {
    it //~ lifetime
}
