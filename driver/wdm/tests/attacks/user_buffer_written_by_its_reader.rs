//! A driver writes to a buffer of which it was lent the reading side; its pages may be read-only.

use wdm::UserBuffer;

fn write(buffer: &mut UserBuffer<'_>) {
    let _ = buffer.copy_from(0, b"bytes"); //~ E0624
}
