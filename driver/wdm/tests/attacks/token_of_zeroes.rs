//! A token, which has no size, is initialised with zeroes, alone and as a part of something.

#![forbid(unsafe_code)]

use pinned_init::{Init, Zeroable, zeroed};
use wdm::{PassiveLevel, irql::DispatchLevel};

fn alone() -> impl Init<PassiveLevel> {
    zeroed::<PassiveLevel>() //~ E0277
}

#[derive(Zeroable)]
struct Part {
    token: DispatchLevel, //~ E0277
}

fn main() {}
