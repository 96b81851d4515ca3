//! A DPC makes a zone, with `ExInitializeZone`, which is called at `PASSIVE_LEVEL`.

use wdm::{RawZone, Segment, Zone, irql::DispatchLevel};

fn dpc(segment: Segment, irql: &mut DispatchLevel) {
    let _ = Zone::<u64>::new(8, &[], irql); //~ E0277
    let _ = RawZone::new(64, segment, irql); //~ E0277
}
