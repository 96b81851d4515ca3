//! The structure has functions with the names of those that the initialiser's macros call, which return what initialises nothing.

use pinned_init::{Init, PinInit, init, pin_data, pin_init};

struct Nothing;

impl Nothing {
    fn number<I>(self, _: *mut Box<u32>, _: I) -> Result<(), core::convert::Infallible> {
        Ok(())
    }
}

#[pin_data]
struct State {
    number: Box<u32>,
}

impl State {
    fn __pin_data() -> Nothing {
        Nothing
    }

    fn __init_data() -> Nothing {
        Nothing
    }
}

fn pinned() -> impl PinInit<State> {
    pin_init!(State { number <- Box::new(1) }) //~ E0277
}

fn unpinned() -> impl Init<State> {
    init!(State { number <- Box::new(1) }) //~ E0277
}
