//! A token is cloned to have two.

fn two(irql: &mut wdm::PassiveLevel) -> (wdm::PassiveLevel, wdm::PassiveLevel) {
    (irql.clone(), irql.clone()) //~ E0599
    //~^ E0599
}
