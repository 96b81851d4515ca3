//! A value of 65,536 bytes is copied onto the kernel stack.

#![forbid(unsafe_code)]

use wdm::UserBuffer;

pub fn read(buffer: &UserBuffer<'_>) -> bool {
    buffer.read::<[u8; 65536]>(0).is_ok() //~? E0080
    //~| copy_to
}

fn main() {
    let _ = read as fn(&UserBuffer<'_>) -> bool;
}
