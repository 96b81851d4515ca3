//! The shared value is changed through one of its owners.

fn change(mut shared: wdm::Shared<u32>) {
    *shared += 1; //~ E0594
}
