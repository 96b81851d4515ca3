//! The memory of a zone's segment is read while the zone uses it.

use wdm::Segment;

fn start(segment: &Segment) -> *mut core::ffi::c_void {
    segment.start() //~ E0624
}
