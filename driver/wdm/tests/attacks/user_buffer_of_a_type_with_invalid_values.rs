//! User mode could write a `bool` of 2, or a reference.

use wdm::UserBuffer;

fn forge(buffer: &UserBuffer<'_>) {
    let _ = buffer.read::<bool>(0); //~ E0277
    let _ = buffer.read::<&'static u32>(0); //~ E0277
}
