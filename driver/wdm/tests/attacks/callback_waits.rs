//! A callback waits, although a Cancel routine may call it at a higher IRQL.

use wdm::{IrpView, NtStatus, QueueCallbacks, Zone, irql::NoSpinLockHeld};

struct Mine(Zone<u32>);
impl QueueCallbacks for Mine {
    type Record = ();

    fn before_completion<L: NoSpinLockHeld>(&self, _: &IrpView, _: NtStatus, irql: &mut L) {
        let _ = self.0.extend(1, irql); //~ E0277
    }
}
