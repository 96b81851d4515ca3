//! One segment is used for two zones.

use wdm::{PassiveLevel, RawZone, Segment};

fn two(segment: Segment, irql: &mut PassiveLevel) {
    let _ = RawZone::new(64, segment, irql);
    let _ = RawZone::new(64, segment, irql); //~ E0382
}
