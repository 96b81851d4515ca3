//! A value that others share is borrowed exclusively.

use wdm::Shared;

fn change(mut value: Shared<u32>) {
    *value = 7; //~ E0594
}
