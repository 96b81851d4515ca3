//! A filter makes a queue for a device to which it may not be added.

use pinned_init::PinInit;
use wdm::{Error, Filter, IrpQueue, NewFilter, PassiveLevel, QueueCallbacks};

struct Quiet;
impl QueueCallbacks for Quiet {
    type Record = ();
}

struct Mine;
impl Filter for Mine {
    fn serves(device: &NewFilter, irql: &mut PassiveLevel) -> bool {
        IrpQueue::new(Quiet, device, irql).is_ok() //~ E0308
    }

    fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}
