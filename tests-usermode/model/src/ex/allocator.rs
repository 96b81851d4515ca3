//! The global allocator of every program with this crate: the host's, and in a driver's code the pool.
//!
//! A driver on `wdm` allocates by Rust's own allocator, which `wdk-alloc` makes the pool in a .sys. Here whose code runs
//! decides, and each block remembers where it is from.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr::null_mut,
};

use crate::{
    ex::pool::{Header, RUST_TAG, with_header},
    host::thread::{self, Mode},
};

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

impl Allocator {
    /// What is to stand before a new block; `None` if the driver is not to have it.
    fn header(size: usize) -> Option<Header> {
        if thread::mode() != Mode::Driver {
            return Some(Header::of_host());
        }
        // What is allocated to find this out is the model's.
        thread::set_mode(Mode::Kernel);
        let header = thread::try_current().map(|thread| {
            let size = u32::try_from(size).ok().filter(|_| thread.may_allocate())?;
            Some(Header::of_pool(thread.kernel.pool(), RUST_TAG, size))
        });
        thread::set_mode(Mode::Driver);
        header.unwrap_or(Some(Header::of_host()))
    }

    /// Puts a header before a block that the host has allocated, and gives where the block starts.
    ///
    /// # Safety
    /// `base` is NULL, or the start of an allocation in which the block starts so far inside.
    unsafe fn finish(base: *mut u8, offset: usize, header: Header) -> *mut u8 {
        if base.is_null() {
            return null_mut();
        }
        // SAFETY: the caller says so.
        let block = unsafe { base.add(offset) };
        // SAFETY: the header's place is inside the allocation, before the block, and aligned.
        unsafe { Header::before(block).write(header) };
        block
    }
}

// SAFETY: the system's allocator does the work; what is in front of each block is for this one alone.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (Some((whole, offset)), Some(header)) =
            (with_header(layout), Self::header(layout.size()))
        else {
            return null_mut();
        };
        // SAFETY: the layout's size is not zero.
        let base = unsafe { System.alloc(whole) };
        // SAFETY: the block starts so far inside.
        unsafe { Self::finish(base, offset, header) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (Some((whole, offset)), Some(header)) =
            (with_header(layout), Self::header(layout.size()))
        else {
            return null_mut();
        };
        // SAFETY: the layout's size is not zero.
        let base = unsafe { System.alloc_zeroed(whole) };
        // SAFETY: the block starts so far inside.
        unsafe { Self::finish(base, offset, header) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((whole, offset)) = with_header(layout) else {
            return;
        };
        // SAFETY: every block has its header before it.
        let header = unsafe { Header::before(block).read() };
        if header.is_of_pool() {
            // What is allocated to free the block is the model's.
            let mode = thread::set_mode(Mode::Kernel);
            // SAFETY: the header is the block's, which the caller frees.
            unsafe { header.free(block, whole, offset) };
            thread::set_mode(mode);
            return;
        }
        // SAFETY: the allocation started so far before the block, and had this layout.
        unsafe { System.dealloc(block.wrapping_sub(offset), whole) };
    }
}
