//! A driver writes to a buffer that it may only read, and whose pages may be read-only.

use wdm::UserBuffer;

fn write(buffer: &mut UserBuffer<'_>) {
    let _ = buffer.copy_from(0, b"bytes"); //~ E0624
}
