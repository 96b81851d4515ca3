//! ForwardedAtBadIrql: a request is forwarded at the IRQL at which it was received, not at DISPATCH_LEVEL under a spin lock.

use wdm::{Handled, Irp, PassiveLevel, SpinLock};

fn open_or_close<'irp>(irp: Irp<'irp>, lock: &SpinLock<u32>, irql: &mut PassiveLevel) -> Handled<'irp> {
    lock.with(irql, |_, held| irp.forward(held)) //~ E0277
    //~| the IRQL was raised here
}
