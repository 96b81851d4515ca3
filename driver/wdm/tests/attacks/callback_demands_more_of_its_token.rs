//! A queue's callback requires a token with which it could wait.

use wdm::{IrpView, NtStatus, QueueCallbacks, irql::Waitable};

struct Mine;
impl QueueCallbacks for Mine {
    type Record = ();

    fn before_completion<L: Waitable>(&self, _: &IrpView, _: NtStatus, _: &mut L) {} //~ E0049
}
