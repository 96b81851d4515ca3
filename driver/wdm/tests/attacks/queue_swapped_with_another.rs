//! Two queues that hold IRPs are swapped.

use wdm::{IrpQueue, QueueCallbacks, Shared};

fn swap<C: QueueCallbacks>(mut one: Shared<IrpQueue<C>>, mut other: Shared<IrpQueue<C>>) {
    core::mem::swap(&mut *one, &mut *other); //~ E0596
    //~^ E0596
}
