//! A token is moved out of its reference.

fn taken(irql: &mut wdm::PassiveLevel) -> wdm::PassiveLevel {
    *irql //~ E0507
}
