//! StartIoRecursion: the IRP that is served is given up for the next one, once, and nothing calls back.

use wdm::{CurrentIrp, QueueCallbacks, StartIoQueue, irql::DispatchLevel};

fn finish<C: QueueCallbacks>(
    queue: &StartIoQueue<C>,
    current: CurrentIrp<C::Record>,
    irql: &mut DispatchLevel,
) {
    let _ = queue.start_next(current, None, irql);
    let _ = queue.start_next(current, None, irql); //~ E0382
    //~| `current`
}

fn main() {}
