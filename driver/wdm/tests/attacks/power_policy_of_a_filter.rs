//! A filter becomes the power policy owner, which is the function driver.

use wdm::{NewFilter, PowerPolicy};

fn of_a_filter(device: &mut NewFilter) -> PowerPolicy {
    PowerPolicy::new(device) //~ E0308
}

fn main() {}
