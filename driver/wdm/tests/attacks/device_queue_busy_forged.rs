//! The driver makes the `Busy` of a device queue itself.

use wdm::{Busy, Arrival, DeviceQueue};

fn forge<'q, 'n>(queue: &'q DeviceQueue<'n, u32>) -> Busy<'q, 'n, u32, Arrival> {
    Busy { queue } //~ E0451
}
