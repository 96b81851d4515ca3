//! A token is made by `Default`.

fn attack() {
    let _: wdm::PassiveLevel = Default::default(); //~ E0277
}
