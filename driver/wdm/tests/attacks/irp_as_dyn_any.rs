//! An IRP becomes one of another call by `Any`.

use core::any::Any;

use wdm::Irp;

fn hide<'irp>(irp: Irp<'irp>) -> Box<dyn Any + 'irp> {
    Box::new(irp)
}

fn lengthen(irp: Irp<'_>) -> Option<Box<Irp<'static>>> {
    hide(irp).downcast().ok() //~ E0521
}
