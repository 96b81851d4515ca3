//! The IRPs of two calls change places.

use wdm::Irp;

fn swap<'one, 'other>(one: &mut Irp<'one>, other: &mut Irp<'other>) {
    core::mem::swap(one, other); //~ lifetime
    //~^ lifetime
}
