//! Two objects that the kernel has linked into its lists exchange their places.

use std::pin::Pin;

use wdm::{Mutex, Rundown};

fn mutexes(one: Pin<&mut Mutex<u32>>, other: Pin<&mut Mutex<u32>>) {
    std::mem::swap(one.get_mut(), other.get_mut()); //~ E0277
    //~^ E0277
}

fn rundowns(mut one: Pin<&mut Rundown<u32>>, mut other: Pin<&mut Rundown<u32>>) {
    std::mem::swap(&mut *one, &mut *other); //~ E0596
    //~^ E0596
}
