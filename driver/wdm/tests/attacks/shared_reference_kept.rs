//! A reference to the value is kept after the drop of its last owner.

fn keep(shared: wdm::Shared<u32>) -> &'static u32 {
    let value: &'static u32 = &shared; //~ E0597
    value
}
