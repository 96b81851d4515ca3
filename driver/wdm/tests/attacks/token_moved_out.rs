//! A token is moved out of its reference.

#![forbid(unsafe_code)]

fn taken(irql: &mut wdm::PassiveLevel) -> wdm::PassiveLevel {
    *irql //~ E0507
}

fn main() {}
