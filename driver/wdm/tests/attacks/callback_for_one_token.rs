//! A queue's callback takes `PassiveLevel`, with which it could wait.

use wdm::{IrpView, NtStatus, PassiveLevel, QueueCallbacks};

struct Mine;
impl QueueCallbacks for Mine {
    type Record = ();

    fn before_completion(&self, _: &IrpView, _: NtStatus, _: &mut PassiveLevel) {} //~ E0053
}
