//! A proof is exchanged with one of another call through a reference.

use wdm::Handled;

fn swap<'one, 'other>(one: &mut Handled<'one>, other: &mut Handled<'other>) {
    core::mem::swap(one, other); //~ lifetime
    //~^ lifetime
}
