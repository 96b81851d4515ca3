//! A token is made with a struct literal.

fn attack() {
    let _ = wdm::PassiveLevel { _not_send: core::marker::PhantomData }; //~ E0451
}
