//! The nonpaged pool: what the driver allocates, counted, with the tag that it gives.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use nt::DISPATCH_LEVEL;

use crate::{Rule, bug_check::BugCheck, call::Call, thread::Thread};

/// What the blocks of a kernel's pool add up to.
#[derive(Default)]
pub(crate) struct Pool {
    blocks: AtomicUsize,
    bytes: AtomicUsize,
}

/// What stands before each block that a program with this crate allocates, the pool's and others.
#[repr(C)]
pub(crate) struct Header {
    /// The pool that the block is from, one of whose owners this is; NULL if it is not from one.
    pool: *const Pool,
    tag: u32,
    size: u32,
}

/// How far the pool aligns, and how long a header is.
pub(crate) const ALIGNMENT: usize = nt::MEMORY_ALLOCATION_ALIGNMENT;

const _: () = assert!(size_of::<Header>() == ALIGNMENT);

/// The tag of what `wdk-alloc` allocates: the Rust driver's global allocator.
pub(crate) const RUST_TAG: u32 = u32::from_le_bytes(*b"rust");

/// What a block of the pool is filled with when it is freed.
const FREED: u8 = 0xdd;
/// How much of a block is filled.
const FILLED: usize = 4096;

impl Header {
    /// The header of a block that is no pool's.
    pub(crate) const fn of_host() -> Self {
        Self {
            pool: null_mut(),
            tag: 0,
            size: 0,
        }
    }

    /// Where a block's header is: just before it, aligned as it is.
    pub(crate) const fn before(block: *mut u8) -> *mut Self {
        block.wrapping_sub(ALIGNMENT).cast::<c_void>().cast()
    }

    /// Counts a block into a pool.
    pub(crate) fn of_pool(pool: &Arc<Pool>, tag: u32, size: u32) -> Self {
        pool.blocks.fetch_add(1, Ordering::Relaxed);
        pool.bytes.fetch_add(size as usize, Ordering::Relaxed);
        Self {
            pool: Arc::into_raw(Arc::clone(pool)),
            tag,
            size,
        }
    }

    /// Counts a block out of its pool, if it is of one.
    pub(crate) fn give_back(&self, block: *mut u8) {
        if self.pool.is_null() {
            return;
        }
        // SAFETY: `of_pool` made the pointer of an owner, and the block is freed once.
        let pool = unsafe { Arc::from_raw(self.pool) };
        pool.blocks.fetch_sub(1, Ordering::Relaxed);
        pool.bytes.fetch_sub(self.size as usize, Ordering::Relaxed);
        // SAFETY: the block is so long, and its owner has given it up.
        unsafe { block.write_bytes(FREED, (self.size as usize).min(FILLED)) };
    }
}

impl Pool {
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.load(Ordering::SeqCst)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }
}

/// A block's layout with its header before it, and where in that the block starts.
pub(crate) fn with_header(layout: Layout) -> Option<(Layout, usize)> {
    let offset = layout.align().max(ALIGNMENT);
    let size = layout.size().checked_add(offset)?;
    Some((Layout::from_size_align(size, offset).ok()?, offset))
}

impl Thread {
    /// Whether the driver may have a block now. It is asked at `DISPATCH_LEVEL` at the most.
    pub(crate) fn may_allocate(&self) -> bool {
        self.irql() <= DISPATCH_LEVEL && !self.kernel.fails()
    }
}

impl Call {
    /// Allocates a block from the pool; NULL if there is none to be had.
    pub(crate) fn allocate_pool(&self, size: usize, tag: u32) -> *mut c_void {
        let irql = self.irql();
        self.require(irql <= DISPATCH_LEVEL, Rule::IrqlExAllocatePool, || {
            let bug_check = BugCheck::verifier(2, [irql.into(), 0, size as u64]);
            (bug_check, format!("the pool is asked at IRQL {irql}"))
        });
        let layout = Layout::from_size_align(size, ALIGNMENT).ok();
        let (Some((layout, offset)), Ok(length)) =
            (layout.and_then(with_header), u32::try_from(size))
        else {
            return null_mut();
        };
        if size == 0 || self.kernel.fails() {
            return null_mut();
        }
        // SAFETY: the layout's size is not zero.
        let base = unsafe { System.alloc_zeroed(layout) };
        if base.is_null() {
            return null_mut();
        }
        let header = Header::of_pool(&self.kernel.pool, tag, length);
        // SAFETY: the block starts so far inside the allocation.
        let block = unsafe { base.add(offset) };
        // SAFETY: the header's place is inside the allocation, before the block.
        unsafe { Header::before(block).write(header) };
        block.cast()
    }

    /// Frees a block of the pool.
    ///
    /// # Safety
    /// [`Call::allocate_pool`] made the block, and it is freed once.
    pub(crate) unsafe fn free_pool(&self, block: *mut c_void) {
        let irql = self.irql();
        self.require(irql <= DISPATCH_LEVEL, Rule::Pool, || {
            let bug_check = BugCheck::verifier(0x12, [irql.into(), 0, block.addr() as u64]);
            (
                bug_check,
                format!("a block of the pool is freed at IRQL {irql}"),
            )
        });
        // SAFETY: every block has its header before it.
        let header = unsafe { Header::before(block.cast()).read() };
        header.give_back(block.cast());
        let layout = Layout::from_size_align(header.size as usize, ALIGNMENT).ok();
        if let Some((layout, offset)) = layout.and_then(with_header) {
            // SAFETY: the allocation started so far before the block, and had this layout.
            unsafe { System.dealloc(block.cast::<u8>().wrapping_sub(offset), layout) };
        }
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAllocatePool2(_flags: u64, size: usize, tag: u32) -> *mut c_void {
    Call::enter("ExAllocatePool2").allocate_pool(size, tag)
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExFreePoolWithTag(block: *mut c_void, tag: u32) {
    let call = Call::enter("ExFreePoolWithTag");
    // SAFETY: every block has its header before it.
    let of = unsafe { (*Header::before(block.cast())).tag };
    call.require(tag == 0 || tag == of, Rule::Pool, || {
        let bug_check = BugCheck::verifier(0x16, [0, block.addr() as u64, 0]);
        (
            bug_check,
            "a block of the pool is freed with another tag than it has".into(),
        )
    });
    // SAFETY: the caller gives a block of the pool.
    unsafe { call.free_pool(block) };
}
