//! The `Handled` values of two calls are swapped through references.

use wdm::Handled;

fn swap<'one, 'other>(one: &mut Handled<'one>, other: &mut Handled<'other>) {
    core::mem::swap(one, other); //~ lifetime
    //~^ lifetime
}
