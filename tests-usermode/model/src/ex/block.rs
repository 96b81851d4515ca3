//! The memory of a pool block: in a special page, or with guard bytes after it.

use std::alloc::{GlobalAlloc, Layout};

use crate::{
    ex::{allocator::HOST, pool::ALIGNMENT},
    host::{
        Call,
        layout::PAGE_SIZE,
        special::{self, Contents},
    },
    verifier::{BugCheck, Rule},
};

/// The maximum length of a block that is filled.
const FILLED: usize = 4096;

/// The guard bytes after a block of `ExAllocatePool2`, and their number.
const GUARD: u8 = 0xfd;
pub(in crate::ex) const GUARD_LENGTH: usize = 16;

#[derive(Clone, Copy)]
pub(in crate::ex) struct Block {
    pub(in crate::ex) size: usize,
    pub(in crate::ex) tag: u32,
    pub(in crate::ex) is_paged: bool,
    /// The allocation that contains the block, and the offset of the block in it.
    pub(in crate::ex) whole: Layout,
    pub(in crate::ex) offset: usize,
}

/// Returns the layout of the memory for a block of `ExAllocatePool2`: the block and its guard. A block of a page or more starts at a
/// page.
pub(in crate::ex) fn with_guard(size: usize) -> Option<Layout> {
    let alignment = if size < PAGE_SIZE {
        ALIGNMENT
    } else {
        PAGE_SIZE
    };
    let size = size.checked_add(GUARD_LENGTH)?;
    Layout::from_size_align(size, alignment).ok()
}

impl Block {
    /// Returns how many bytes of the block are filled when it is freed.
    pub(in crate::ex) fn filled(self) -> usize {
        if self.offset == 0 {
            self.size
        } else {
            self.size.min(FILLED)
        }
    }

    /// Returns the lengths of the guards after and before the block.
    fn guards(self, address: usize) -> (usize, usize) {
        let room = special::room(address, self.size);
        room.map_or((GUARD_LENGTH, 0), |(after, before)| {
            (after, before.min(GUARD_LENGTH))
        })
    }

    /// Allocates the memory of the block, zeroed, with its guards: in a special page if possible.
    pub(in crate::ex) fn allocate(self) -> *mut u8 {
        let special = special::allocate(self.size);
        let start = if let Some(address) = special {
            let start = std::ptr::with_exposed_provenance_mut::<u8>(address);
            // SAFETY: the page has room for the block.
            unsafe { start.write_bytes(0, self.size) };
            if self.is_paged {
                special::set_contents(address, Contents::Paged);
            }
            start
        } else {
            // SAFETY: the layout's size is not zero.
            let start = unsafe { HOST.alloc_zeroed(self.whole) };
            start.expose_provenance();
            start
        };
        if start.is_null() {
            return start;
        }
        let (after, before) = self.guards(start.addr());
        // SAFETY: the guard is inside the allocation, after the block.
        unsafe { start.wrapping_add(self.size).write_bytes(GUARD, after) };
        // SAFETY: the guard is in the page, before the block.
        unsafe { start.wrapping_sub(before).write_bytes(GUARD, before) };
        start
    }

    /// Returns the offset of the first byte, from an offset on, that does not have the fill value.
    ///
    /// # Safety
    /// The block is at this address, and this range of its memory is valid.
    pub(in crate::ex) unsafe fn changed(
        address: usize,
        offset: usize,
        length: usize,
        fill: u8,
    ) -> Option<usize> {
        let start = std::ptr::with_exposed_provenance::<u8>(address + offset);
        // SAFETY: guaranteed by the caller.
        let bytes = unsafe { std::slice::from_raw_parts(start, length) };
        // Usually no byte has changed, and the host compares many at a time.
        let differs = bytes.iter().fold(0, |all, byte| all | (byte ^ fill));
        let is_changed = |byte: &u8| differs != 0 && *byte != fill;
        let place = bytes.iter().position(is_changed)?;
        Some(address + offset + place)
    }
}

/// Returns a block's memory to the host.
///
/// # Safety
/// The block was allocated, and its memory is no longer used.
pub(in crate::ex) unsafe fn release(address: usize, block: Block) {
    if special::contains(address) {
        return special::free(address);
    }
    let start = std::ptr::with_exposed_provenance_mut(address - block.offset);
    // SAFETY: guaranteed by the caller.
    unsafe { HOST.dealloc(start, block.whole) };
}

impl Call {
    /// Stops the system if a driver has written before or after a block that it frees.
    pub(in crate::ex) fn require_guards(&self, address: usize, block: Block) {
        let (after, before) = block.guards(address);
        // SAFETY: the block and the guard after it are valid.
        let beyond = unsafe { Block::changed(address, block.size, after, GUARD) };
        if let Some(beyond) = beyond {
            let bug_check = if special::contains(address) {
                BugCheck(0xc1, [address as u64, beyond as u64, 0, 0x24])
            } else {
                let parameters = [address as u64, beyond as u64, block.size as u64];
                BugCheck::verifier(0x51, parameters)
            };
            let what = format!(
                "a block of {} bytes of the pool was written to {} bytes past its end",
                block.size,
                beyond - address - block.size
            );
            self.stop(bug_check, Rule::Pool, what);
        }
        // SAFETY: the guard is before the block, in its page.
        let below = unsafe { Block::changed(address - before, 0, before, GUARD) };
        if let Some(below) = below {
            let bug_check = BugCheck(0xc1, [address as u64, below as u64, 0, 0x23]);
            let what = format!(
                "a block of {} bytes of the pool was written to {} bytes before its start",
                block.size,
                address - below
            );
            self.stop(bug_check, Rule::Pool, what);
        }
    }
}
