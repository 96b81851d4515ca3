//! An initialiser returns early, with the value that `pin_init!` returns at its end.

use pinned_init::{PinInit, pin_data, pin_init};
use wdm::SpinLock;

#[pin_data]
struct Two {
    first: u32,
    #[pin]
    second: SpinLock<Box<u32>>,
}

fn make() -> impl PinInit<Two> {
    pin_init!(Two {
        first: return Ok(__InitOk), //~ E0308
        second <- SpinLock::new(Box::new(1)),
    })
}
