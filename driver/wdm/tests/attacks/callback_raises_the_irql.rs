//! A queue's callback raises the IRQL, to get a token with which it could complete IRPs.

use wdm::{
    IrpView, NtStatus, QueueCallbacks,
    irql::{ObjectHeld, raise_to_dispatch},
};

struct Mine;
impl QueueCallbacks for Mine {
    type Record = ();

    fn before_completion(&self, _: &IrpView, _: NtStatus, irql: &mut ObjectHeld) {
        raise_to_dispatch(irql, |_| {}); //~ E0277
    }
}
