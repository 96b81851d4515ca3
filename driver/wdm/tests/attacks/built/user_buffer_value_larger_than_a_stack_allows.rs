//! A value of 65,536 bytes is copied onto the kernel stack.

use wdm::UserBuffer;

pub fn read(buffer: &UserBuffer<'_>) -> bool {
    buffer.read::<[u8; 65536]>(0).is_ok() //~? E0080
    //~| copy_to
}
