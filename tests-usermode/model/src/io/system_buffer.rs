//! The system buffers of buffered requests: output that the driver has not written, and writes past the end.

use std::{cell::UnsafeCell, ffi::c_void, mem::MaybeUninit, ops::Range};

use crate::{
    host::special::{self, SpecialBlock},
    io::irp::{IrpParameters, IrpRecord, zeroed},
};

/// The content of a system buffer after the input, until the driver writes it. On Windows it is the old content of the
/// memory.
fn unwritten(place: usize) -> u8 {
    let [byte, ..] = place
        .wrapping_mul(0x9e37_79b9)
        .rotate_right(13)
        .to_le_bytes();
    byte
}

/// Returns the number of unwritten bytes at the end of output that are neither a coincidence nor the padding of a structure. The
/// padding is less than the alignment, of which the size is a multiple.
fn least_unwritten(length: usize) -> usize {
    if length.is_multiple_of(8) { 8 } else { 4 }
}

/// The guard bytes after a system buffer, and their number if the buffer is not in a special page.
const GUARD: u8 = 0xfd;
const GUARD_LENGTH: usize = 64;

/// The memory of a buffer of a request.
pub(in crate::io) enum Memory {
    /// A special page.
    Special(SpecialBlock),
    /// Other memory, with room for a guard.
    Plain(Box<UnsafeCell<[u128]>>),
}

impl Memory {
    /// Allocates memory with any content.
    pub(in crate::io) fn new(length: usize) -> Self {
        let special = SpecialBlock::new(length);
        special.map_or_else(|| Self::Plain(zeroed(length + GUARD_LENGTH)), Self::Special)
    }

    pub(in crate::io) fn start(&self) -> *mut u8 {
        match self {
            Self::Special(block) => block.start(),
            Self::Plain(memory) => memory.get().cast(),
        }
    }

    /// Returns the number of guard bytes after the buffer, and the number of bytes at which an access is known as one past its end.
    fn beyond(&self, length: usize) -> (usize, usize) {
        let start = self.start().addr();
        let guard = special::room(start, length).map_or(GUARD_LENGTH, |(after, _)| after);
        let known = special::end(start).map_or(GUARD_LENGTH, |end| end - start - length);
        (guard, known)
    }

    /// Returns the offset of an address in the buffer or shortly after it.
    pub(in crate::io) fn offset(&self, length: usize, address: usize) -> Option<usize> {
        let offset = address.checked_sub(self.start().addr())?;
        (offset < length + self.beyond(length).1).then_some(offset)
    }
}

/// A system buffer and its guard.
pub(in crate::io) struct SystemBuffer {
    memory: Memory,
    length: usize,
}

impl SystemBuffer {
    /// Makes the system buffer of a request; `None` if it has no input and no output.
    pub(in crate::io) fn new(parameters: &IrpParameters, input: &[u8]) -> Option<Self> {
        let (input_size, output_size) = parameters.buffered_lengths();
        let length = input_size.max(output_size);
        (length != 0).then(|| Self::with_length(length, input))
    }

    /// Makes a system buffer of a given length, which starts with the input.
    fn with_length(length: usize, input: &[u8]) -> Self {
        let memory = Memory::new(length);
        let (guard, _) = memory.beyond(length);
        let start = memory.start();
        // SAFETY: the memory has room for the buffer and the guard, and no other thread knows it yet.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(start.cast::<MaybeUninit<u8>>(), length + guard)
        };
        for (place, byte) in bytes.iter_mut().enumerate() {
            byte.write(if place >= length {
                GUARD
            } else {
                let given = input.get(place).copied();
                given.unwrap_or_else(|| unwritten(place))
            });
        }
        Self { memory, length }
    }

    /// Returns the address of the buffer.
    pub(in crate::io) fn start(&self) -> *mut u8 {
        self.memory.start()
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        let start = self.start().wrapping_add(range.start);
        // SAFETY: the range is in the memory, and the IRP is completed, so the buffer is no longer written.
        unsafe { std::slice::from_raw_parts(start, range.len()) }
    }

    /// Returns the number of bytes past the end of the buffer at which the driver has written.
    fn overrun(&self) -> Option<usize> {
        let (length, _) = self.memory.beyond(self.length);
        let guard = self.bytes(self.length..self.length + length);
        // Comparing the whole guard is far faster than a search.
        let is_damaged = Some(guard) != [GUARD; GUARD_LENGTH].get(..length);
        is_damaged.then(|| guard.iter().position(|byte| *byte != GUARD))?
    }
}

impl IrpRecord {
    /// Returns a clause that states where in the system buffer an address is.
    pub(in crate::io) fn describe_system_buffer(&self, address: usize) -> Option<String> {
        let buffer = self.system_buffer.as_ref()?;
        let offset = buffer.memory.offset(buffer.length, address)?;
        let length = buffer.length;
        Some(format!(
            "byte {offset} of the system buffer of {self}, which has {length} bytes"
        ))
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
        let Some(start) = bytes.len().checked_sub(least_unwritten(bytes.len())) else {
            return false;
        };
        let mut last = bytes.iter().enumerate().skip(start);
        start >= self.parameters().input_length
            && last.all(|(place, byte)| *byte == unwritten(place))
    }
}
