//! A token is made by `Default`.

#![forbid(unsafe_code)]

fn main() {
    let _: wdm::PassiveLevel = Default::default(); //~ E0277
}
