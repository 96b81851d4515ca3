//! The value is moved out while others share it.

#![forbid(unsafe_code)]

fn moved(shared: wdm::Shared<String>) -> String {
    *shared //~ E0507
}

fn main() {}
