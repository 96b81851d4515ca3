//! The constructor of a token is called.

#![forbid(unsafe_code)]

fn main() {
    let _ = wdm::PassiveLevel::assume(); //~ E0624
}
