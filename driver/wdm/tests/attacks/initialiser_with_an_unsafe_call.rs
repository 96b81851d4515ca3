//! An unsafe function is called in an expression of the initialiser's macro, whose expansion contains unsafe blocks.

use pinned_init::{Init, PinInit, init, pin_data, pin_init};

#[pin_data]
struct State {
    one: u32,
    other: u32,
}

fn pinned() -> impl PinInit<State> {
    pin_init!(State {
        one: core::mem::zeroed(), //~ E0133
        other <- core::mem::zeroed::<u32>(), //~ E0133
    })
}

fn address() -> impl PinInit<State> {
    pin_init!(&this in State {
        one: this.as_ref().other, //~ E0133
        other: 0,
    })
}

fn unpinned() -> impl Init<State> {
    init!(State {
        one: core::mem::zeroed(), //~ E0133
        other: 0,
    })
}
