//! The global allocator of every program that contains this crate. In a driver's code it allocates from the pool.
//!
//! A driver on `wdm` allocates through Rust's global allocator, which in a .sys is the pool (`wdk-alloc`). Here the
//! mode of the thread selects the allocator, and each block records where it was allocated.

use std::{
    alloc::{GlobalAlloc, Layout},
    ptr::null_mut,
};

use crate::{
    ex::pool::{Header, RUST_TAG, with_header},
    host::thread::{self, Mode},
};

/// The allocator that gets the memory from the host. On Linux it is mimalloc: glibc's allocator scatters the memory of many requests, and
/// closing 50,000 of them takes a third longer. Miri cannot run mimalloc, which is C.
#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) const HOST: mimalloc::MiMalloc = mimalloc::MiMalloc;
#[cfg(not(all(target_os = "linux", not(miri))))]
pub(crate) const HOST: std::alloc::System = std::alloc::System;

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

impl Allocator {
    /// Returns the header of a new block; `None` if the driver's allocation fails.
    fn header(size: usize) -> Option<Header> {
        if thread::mode() != Mode::Driver {
            return Some(Header::of_host());
        }
        // Allocations during this check belong to the model.
        thread::set_mode(Mode::Kernel);
        let header = thread::try_current().map(|thread| {
            let size = u32::try_from(size).ok().filter(|_| thread.may_allocate())?;
            Some(Header::of_pool(thread.kernel.pool(), RUST_TAG, size))
        });
        thread::set_mode(Mode::Driver);
        header.unwrap_or(Some(Header::of_host()))
    }

    /// Writes a header before a block that the host has allocated, and returns the address of the block.
    ///
    /// # Safety
    /// `base` is NULL, or the start of an allocation in which the block starts at `offset`.
    unsafe fn finish(base: *mut u8, offset: usize, header: Header) -> *mut u8 {
        if base.is_null() {
            return null_mut();
        }
        // SAFETY: guaranteed by the caller.
        let block = unsafe { base.add(offset) };
        // SAFETY: the header is inside the allocation, before the block, and aligned.
        unsafe { Header::before(block).write(header) };
        block
    }
}

// SAFETY: `HOST` does the work; only this allocator accesses the header of a block.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (Some((whole, offset)), Some(header)) =
            (with_header(layout), Self::header(layout.size()))
        else {
            return null_mut();
        };
        // SAFETY: the layout's size is not zero.
        let base = unsafe { HOST.alloc(whole) };
        // SAFETY: the block starts at this offset.
        unsafe { Self::finish(base, offset, header) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (Some((whole, offset)), Some(header)) =
            (with_header(layout), Self::header(layout.size()))
        else {
            return null_mut();
        };
        // SAFETY: the layout's size is not zero.
        let base = unsafe { HOST.alloc_zeroed(whole) };
        // SAFETY: the block starts at this offset.
        unsafe { Self::finish(base, offset, header) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((whole, offset)) = with_header(layout) else {
            return;
        };
        // SAFETY: every block has its header before it.
        let header = unsafe { Header::before(block).read() };
        if header.is_of_pool() {
            // Allocations made while the block is freed belong to the model.
            let mode = thread::set_mode(Mode::Kernel);
            // SAFETY: the header is the block's, which the caller frees.
            unsafe { header.free(block, whole, offset) };
            thread::set_mode(mode);
            return;
        }
        // SAFETY: the allocation started this far before the block, and had this layout.
        unsafe { HOST.dealloc(block.wrapping_sub(offset), whole) };
    }
}
