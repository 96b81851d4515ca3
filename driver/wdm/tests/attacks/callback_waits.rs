//! A callback waits, although a Cancel routine may call it at a higher IRQL.

use wdm::{IrpView, NtStatus, QueueCallbacks, Zone, irql::ObjectHeld};

struct Mine(Zone<u32>);
impl QueueCallbacks for Mine {
    type Record = ();

    fn before_completion(&self, _: &IrpView, _: NtStatus, irql: &mut ObjectHeld) {
        let _ = self.0.extend(1, irql); //~ E0277
    }
}
