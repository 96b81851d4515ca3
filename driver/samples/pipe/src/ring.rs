//! The bytes in the pipe.

use alloc::vec::Vec;

use wdm::Error;

/// A ring buffer.
pub(crate) struct Ring {
    buffer: Vec<u8>,
    /// The index of the first byte.
    start: usize,
    length: usize,
}

impl Ring {
    pub(crate) fn new(capacity: usize) -> Result<Self, Error> {
        let mut buffer = Vec::new();
        buffer
            .try_reserve_exact(capacity)
            .map_err(|_| Error::INSUFFICIENT_RESOURCES)?;
        // This never fails. With it, the compiler knows that `resize` need not allocate, which could panic.
        if !buffer.is_empty() || buffer.capacity() < capacity {
            return Err(Error::INSUFFICIENT_RESOURCES);
        }
        buffer.resize(capacity, 0);
        Ok(Self {
            buffer,
            start: 0,
            length: 0,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.length == self.buffer.len()
    }

    /// Appends as many bytes as there is room for, and returns their number.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> usize {
        let capacity = self.buffer.len();
        let bytes = bytes.get(..capacity - self.length).unwrap_or(bytes);
        let end = (self.start + self.length) % capacity.max(1);
        let (first, second) = bytes.split_at(bytes.len().min(capacity - end));
        self.copy(end, first);
        self.copy(0, second);
        self.length += bytes.len();
        bytes.len()
    }

    fn copy(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.buffer.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Passes the bytes, in at most two pieces, to a closure that returns how many it has taken, and removes those.
    pub(crate) fn take(&mut self, mut take: impl FnMut(&[u8]) -> usize) {
        for _ in 0..2 {
            let end = self.buffer.len().min(self.start + self.length);
            let piece = self.buffer.get(self.start..end).unwrap_or_default();
            let taken = take(piece).min(piece.len());
            self.start = (self.start + taken) % self.buffer.len().max(1);
            self.length -= taken;
        }
    }
}
