//! A filter has a state that is not `Sync`, which many threads would use.

use core::cell::Cell;
use pinned_init::PinInit;
use wdm::{Error, Filter, NewFilter, PassiveLevel};

struct Mine(Cell<u32>);
impl Filter for Mine { //~ E0277
    fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(Cell::new(1))))
    }
}
