//! A token is cloned to have two.

#![forbid(unsafe_code)]

fn two(irql: &mut wdm::PassiveLevel) -> (wdm::PassiveLevel, wdm::PassiveLevel) {
    (irql.clone(), irql.clone()) //~ E0599
    //~^ E0599
}

fn main() {}
