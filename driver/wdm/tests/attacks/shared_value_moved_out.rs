//! The value is moved out while others share it.

fn moved(shared: wdm::Shared<String>) -> String {
    *shared //~ E0507
}
