//! A token, which is zero-sized, is initialised with zeroes, alone and as part of a structure.

use pinned_init::{Init, Zeroable, zeroed};
use wdm::{PassiveLevel, irql::DispatchLevel};

fn alone() -> impl Init<PassiveLevel> {
    zeroed::<PassiveLevel>() //~ E0277
}

#[derive(Zeroable)]
struct Part {
    token: DispatchLevel, //~ E0277
}
