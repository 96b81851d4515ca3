//! Stack walks through the routines of an image, by the unwind information of the image.
//!
//! [The tables](https://learn.microsoft.com/cpp/build/exception-handling-x64)

use std::ptr::with_exposed_provenance;

/// The maximum number of frames that are walked, in case the stack was overwritten.
const MOST: usize = 64;

/// `UNW_FLAG_CHAININFO`, in the upper bits of the first byte.
const CHAINED: u8 = 4 << 3;

/// The bytes of an image, and its table of functions.
pub(super) struct Unwinder {
    bytes: Vec<u8>,
    /// The start and the end of each function, and the address of its unwind information.
    functions: Vec<[u32; 3]>,
}

impl Unwinder {
    /// Makes the value from the bytes of an image in memory and the range of its function table.
    pub(super) fn new(bytes: Vec<u8>, table: Option<(usize, usize)>) -> Self {
        let (address, size) = table.unwrap_or_default();
        let table = bytes.get(address..address.saturating_add(size));
        let (entries, _) = table.unwrap_or_default().as_chunks::<12>();
        let word = |entry: &[u8; 12], index: usize| {
            let bytes = entry[4 * index..].first_chunk();
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let functions = entries
            .iter()
            .map(|entry| [0, 1, 2].map(|index| word(entry, index)));
        let functions = functions.collect();
        Self { bytes, functions }
    }

    /// Calls a function with each return address on the stack, until it returns false or the stack leaves the image.
    /// The first address, which is relative to the image, is passed with its stack pointer.
    ///
    /// # Safety
    /// The stack is that of a thread that runs a routine of the image, or a routine that it has called.
    pub(super) unsafe fn walk(
        &self,
        base: usize,
        mut address: usize,
        mut stack: usize,
        mut found: impl FnMut(usize) -> bool,
    ) {
        for _ in 0..MOST {
            if !found(address) {
                return;
            }
            let Some(size) = self.frame_size(address) else {
                return;
            };
            stack += size;
            // SAFETY: the return address is above the frame; the host's own frames are above that.
            let caller = unsafe { with_exposed_provenance::<usize>(stack).read_unaligned() };
            stack += size_of::<usize>();
            match caller.checked_sub(base) {
                Some(inside) if inside < self.bytes.len() => address = inside,
                _ => return,
            }
        }
    }

    /// Returns the number of bytes between the stack pointer at an address and the return address; `None` if it depends
    /// on a register.
    fn frame_size(&self, address: usize) -> Option<usize> {
        let address = u32::try_from(address).ok()?;
        let after = self
            .functions
            .partition_point(|[start, ..]| *start <= address);
        let function = after.checked_sub(1).map(|index| self.functions[index]);
        let Some([start, _, mut information]) = function.filter(|[_, end, _]| address < *end)
        else {
            // A routine without a frame.
            return Some(0);
        };
        let mut size = 0;
        let mut offset = address - start;
        loop {
            let header = self.bytes.get(information as usize..)?.first_chunk::<4>()?;
            let [flags, _, count, frame] = *header;
            // The frame register contains the old stack pointer, which is not known here.
            if frame & 0xf != 0 {
                return None;
            }
            let codes = self.bytes.get(information as usize + 4..)?;
            size += codes_size(codes, usize::from(count), offset)?;
            if flags & CHAINED == 0 {
                return Some(size);
            }
            // An even number of codes is followed by the entry of another function, whose information continues this
            // one.
            let next = codes.get(2 * usize::from(count.next_multiple_of(2)) + 8..)?;
            information = u32::from_le_bytes(*next.first_chunk()?);
            offset = u32::MAX;
        }
    }
}

/// Returns how far the instructions of a prolog before an offset move the stack pointer.
fn codes_size(codes: &[u8], count: usize, offset: u32) -> Option<usize> {
    let (codes, _) = codes.as_chunks::<2>();
    let codes = codes.get(..count)?;
    let word = |index: usize| {
        codes
            .get(index)
            .map(|code| usize::from(u16::from_le_bytes(*code)))
    };
    let mut size = 0;
    let mut index = 0;
    while let Some([place, code]) = codes.get(index) {
        let information = usize::from(code >> 4);
        let (slots, moves) = match (code & 0xf, information) {
            // UWOP_PUSH_NONVOL
            (0, _) => (1, 8),
            // UWOP_ALLOC_LARGE
            (1, 0) => (2, 8 * word(index + 1)?),
            (1, _) => (3, word(index + 1)? | word(index + 2)? << 16),
            // UWOP_ALLOC_SMALL
            (2, _) => (1, 8 * information + 8),
            // UWOP_SAVE_NONVOL and UWOP_SAVE_XMM128, and both with a longer offset
            (4 | 8, _) => (2, 0),
            (5 | 9, _) => (3, 0),
            // UWOP_SET_FPREG, UWOP_PUSH_MACHFRAME
            _ => return None,
        };
        if u32::from(*place) <= offset {
            size += moves;
        }
        index += slots;
    }
    Some(size)
}

#[cfg(test)]
mod tests {
    use super::Unwinder;

    #[test]
    fn a_frame_has_the_size_that_its_prolog_specifies() {
        // At 0: a function of 0x20 bytes: push rbx at 1, sub rsp, 0x28 at 5, and one with a frame of 0x1000 bytes at 0x40.
        let mut bytes = vec![0; 0x100];
        bytes[0x80..0x88].copy_from_slice(&[1, 5, 2, 0, 5, 0x42, 1, 0x30]);
        bytes[0x90..0x98].copy_from_slice(&[1, 7, 2, 0, 7, 0x01, 0x00, 0x02]);
        for (place, entry) in [(0xc0, [0_u32, 0x20, 0x80]), (0xcc, [0x40, 0x60, 0x90])] {
            for (index, word) in entry.into_iter().enumerate() {
                let place = place + 4 * index;
                bytes[place..place + 4].copy_from_slice(&word.to_le_bytes());
            }
        }
        let unwinder = Unwinder::new(bytes, Some((0xc0, 24)));
        let sizes = [0, 1, 5, 0x1f, 0x30, 0x50].map(|address| unwinder.frame_size(address));
        assert_eq!(sizes, [0, 8, 0x30, 0x30, 0, 0x1000].map(Some));
    }
}
