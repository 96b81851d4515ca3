//! A token is made with a struct literal.

#![forbid(unsafe_code)]

fn main() {
    let _ = wdm::PassiveLevel { _not_send: core::marker::PhantomData }; //~ E0451
}
