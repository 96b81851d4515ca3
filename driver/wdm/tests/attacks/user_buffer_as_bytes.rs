//! A reference to the sender's pages, which it changes while the driver looks at them.

use wdm::UserBuffer;

fn borrow<'a>(buffer: &'a UserBuffer<'_>) -> &'a [u8] {
    buffer //~ E0308
}
