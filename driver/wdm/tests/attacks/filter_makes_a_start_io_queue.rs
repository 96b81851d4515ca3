//! A filter makes a queue that would use the function driver's `FsContext`.

use pinned_init::PinInit;
use wdm::{Error, Filter, NewFilter, PassiveLevel, QueueCallbacks, Shared, StartIoOrder, StartIoQueue};

struct Quiet;
impl QueueCallbacks for Quiet {
    type Record = ();
}

struct Mine(Shared<StartIoQueue<Quiet>>);
impl Filter for Mine {
    fn add(device: &mut NewFilter, irql: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        let queue = StartIoQueue::new(StartIoOrder::Arrival, Quiet, device, irql)?; //~ E0308
        Ok(Ok::<_, Error>(Self(queue)))
    }
}

fn main() {}
