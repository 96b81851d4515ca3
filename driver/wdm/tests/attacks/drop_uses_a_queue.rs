//! A `Drop`, which may run under any lock, acquires the lock of a queue.

use wdm::{IrpQueue, PassiveLevel, QueueCallbacks, Shared};

struct Mine<C: QueueCallbacks>(Shared<IrpQueue<C>>);
impl<C: QueueCallbacks> Drop for Mine<C> {
    fn drop(&mut self) {
        self.0.length(&mut PassiveLevel::assume()); //~ E0624
    }
}
