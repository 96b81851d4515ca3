//! A pinned field has a type that can be moved only in the structure itself, not in the copy of it by which `pin_data` decides.

use core::{marker::PhantomData, pin::Pin};
use pinned_init::pin_data;
use wdm::Event;

macro_rules! this {
    () => {
        Movable<Self>
    };
}

struct Movable<T>(PhantomData<T>);
impl Unpin for Movable<State> {}

#[pin_data]
struct State {
    #[pin]
    event: Event,
    #[pin]
    this: this!(),
}

fn moved(state: Pin<&mut State>) -> &mut State {
    state.get_mut() //~ E0277
    //~^ E0277
}
