//! A driver gets a reference to the sender's pages, which the sender can change at any time.

use wdm::UserBuffer;

fn borrow<'a>(buffer: &'a UserBuffer<'_>) -> &'a [u8] {
    buffer //~ E0308
}
