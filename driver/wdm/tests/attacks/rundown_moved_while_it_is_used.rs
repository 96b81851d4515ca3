//! A value under run-down protection is moved out of the place in which the kernel has initialised the protection.

use core::pin::Pin;

use wdm::Rundown;

fn run(one: Pin<&mut Rundown<u32>>, other: Pin<&mut Rundown<u32>>) {
    core::mem::swap(one.get_mut(), other.get_mut()); //~ E0277
    //~^ E0277
}
