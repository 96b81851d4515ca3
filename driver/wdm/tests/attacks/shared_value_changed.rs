//! The shared value is changed through one of its owners.

#![forbid(unsafe_code)]

fn change(mut shared: wdm::Shared<u32>) {
    *shared += 1; //~ E0594
}

fn main() {}
