//! The constructor of a token is called.

fn attack() {
    let _ = wdm::PassiveLevel::assume(); //~ E0624
}
