//! A request is forwarded under a spin lock, which the lower driver's routine or a completion routine may need.

use wdm::{Handled, Irp, SpinLock, irql::CallerLevel};

fn request<'irp>(irp: Irp<'irp>, lock: &SpinLock<u32>, irql: &mut CallerLevel) -> Handled<'irp> {
    lock.with(irql, |_, held| irp.forward(held)) //~ E0277
    //~| the IRQL was raised here
}
