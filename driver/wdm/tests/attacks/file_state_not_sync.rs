//! A file has a state that is not `Sync`, which two threads could use.

use core::cell::Cell;
use pinned_init::PinInit;
use wdm::{Error, FileState, PassiveLevel};

struct State(Cell<u32>);
impl FileState<u32> for State { //~ E0277
    fn open(_: &u32, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(Cell::new(1))))
    }
}
