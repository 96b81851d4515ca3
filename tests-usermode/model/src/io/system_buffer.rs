//! The system buffers of buffered requests: output that the driver has not written, and writes past the end.

use std::{cell::UnsafeCell, ffi::c_void, ops::Range};

use crate::io::irp::{Asked, IrpRecord, zeroed};

/// The content of a system buffer after the input, until the driver writes it. On Windows it is the old content of the
/// memory.
fn unwritten(place: usize) -> u8 {
    let [byte, ..] = place
        .wrapping_mul(0x9e37_79b9)
        .rotate_right(13)
        .to_le_bytes();
    byte
}

/// The minimum number of unwritten bytes at the end of the output that cannot be a coincidence.
const UNWRITTEN: usize = 4;

/// The guard bytes after a system buffer, and their number.
const GUARD: u8 = 0xfd;
const GUARD_LENGTH: usize = 64;

/// A system buffer and its guard.
pub(in crate::io) struct SystemBuffer {
    memory: Box<UnsafeCell<[u128]>>,
    length: usize,
}

impl SystemBuffer {
    /// Makes the system buffer of a request; `None` if it has no input and no output.
    pub(in crate::io) fn new(asked: &Asked, input: &[u8]) -> Option<Self> {
        let (input_size, output_size) = asked.buffered_lengths();
        let length = input_size.max(output_size);
        (length != 0).then(|| Self::with_length(length, input))
    }

    /// Makes a system buffer of a given length, which starts with the input.
    fn with_length(length: usize, input: &[u8]) -> Self {
        let mut memory = zeroed(length + GUARD_LENGTH);
        for (index, word) in memory.get_mut().iter_mut().enumerate() {
            let byte = |place| {
                if place >= length {
                    return GUARD;
                }
                let given = input.get(place).copied();
                given.unwrap_or_else(|| unwritten(place))
            };
            let whole = std::array::from_fn(|inside| byte(16 * index + inside));
            *word = u128::from_ne_bytes(whole);
        }
        Self { memory, length }
    }

    /// Returns the address of the buffer.
    pub(in crate::io) fn start(&self) -> *mut u8 {
        self.memory.get().cast()
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        let start = self.start().wrapping_add(range.start);
        // SAFETY: the range is in the memory, and the IRP is completed, so no code writes the buffer any more.
        unsafe { std::slice::from_raw_parts(start, range.len()) }
    }

    /// Returns the number of bytes past the end of the buffer at which the driver has written.
    fn overrun(&self) -> Option<usize> {
        let guard = self.bytes(self.length..self.length + GUARD_LENGTH);
        // The comparison of the whole is far faster than a search.
        let is_damaged = guard != [GUARD; GUARD_LENGTH];
        is_damaged.then(|| guard.iter().position(|byte| *byte != GUARD))?
    }
}

impl IrpRecord {
    /// Returns a clause that states where in the system buffer an address is.
    pub(in crate::io) fn describe_system_buffer(&self, address: usize) -> Option<String> {
        let buffer = self.system_buffer.as_ref()?;
        let offset = address.checked_sub(buffer.start().addr())?;
        (offset < buffer.length + GUARD_LENGTH)
            .then(|| format!("byte {offset} of the system buffer of {self}"))
    }

    /// Gives the IRP a system buffer, which is freed with it.
    pub(crate) fn own_system_buffer(&mut self, length: usize) -> *mut c_void {
        let buffer = SystemBuffer::with_length(length, &[]);
        self.system_buffer.insert(buffer).start().cast()
    }

    /// Describes a write past the end of the system buffer.
    pub(in crate::io) fn overrun(&self) -> Option<String> {
        let buffer = self.system_buffer.as_ref()?;
        let beyond = buffer.overrun()?;
        let length = buffer.length;
        Some(format!(
            "the system buffer of {self} has {length} bytes, and was written to {beyond} bytes past its end"
        ))
    }

    /// Returns the bytes of the system buffer.
    pub(crate) fn system_bytes(&self, length: usize) -> &[u8] {
        let Some(buffer) = &self.system_buffer else {
            return &[];
        };
        buffer.bytes(0..length.min(buffer.length))
    }

    /// Returns whether the last of the first `length` bytes of the system buffer were written neither by user mode nor
    /// by the driver.
    pub(crate) fn is_unwritten(&self, length: usize) -> bool {
        let bytes = self.system_bytes(length);
        let Some(start) = bytes.len().checked_sub(UNWRITTEN) else {
            return false;
        };
        let mut last = bytes.iter().enumerate().skip(start);
        start >= self.asked().input_length && last.all(|(place, byte)| *byte == unwritten(place))
    }
}
