//! A token is made from its parts.

#![forbid(unsafe_code)]

fn main() {
    let _ = wdm::PassiveLevel { _not_send: core::marker::PhantomData }; //~ E0451
}
