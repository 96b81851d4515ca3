//! The memory of a zone's segment is read while the zone uses it.

#![forbid(unsafe_code)]

use wdm::Segment;

fn start(segment: &Segment) -> *mut core::ffi::c_void {
    segment.start() //~ E0624
}

fn main() {}
