//! The pool: the driver's allocations and their tags.
//!
//! A block of `ExAllocatePool2` is recorded by its address. It is followed by guard bytes. After it is freed, its
//! memory is filled and kept for a while, to detect a second free or a later write.

use std::{
    alloc::Layout,
    collections::{BTreeMap, VecDeque},
    ffi::c_void,
    ops::Range,
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use nt::{DISPATCH_LEVEL, POOL_FLAG_PAGED};

use crate::{
    ex::block::{Block, GUARD_LENGTH, release, with_guard},
    host::{
        Call, Caller, Kernel, footprint,
        layout::FREED,
        special::{self, Contents},
        thread::{self, Thread},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The total of the blocks of a kernel's pool.
#[derive(Default)]
pub(crate) struct Pool {
    blocks: AtomicUsize,
    bytes: AtomicUsize,
    paged_blocks: AtomicUsize,
    table: Mutex<Table>,
}

/// The blocks, by address.
#[derive(Default)]
struct Table {
    /// The blocks of `ExAllocatePool2`.
    live: BTreeMap<usize, Block>,
    /// The caller that freed each block. This includes the blocks of Rust's allocator.
    freed: BTreeMap<usize, (Block, Caller)>,
    /// The freed blocks, in the order in which they were freed.
    oldest: VecDeque<usize>,
}

/// The header of each block that a program with this crate allocates, in the pool or elsewhere.
#[repr(C)]
pub(crate) struct Header {
    /// A reference to the pool of the block; NULL if the block is not in a pool.
    pool: *const Pool,
    tag: u32,
    size: u32,
}

/// The alignment of the pool, and the length of a header.
pub(crate) const ALIGNMENT: usize = nt::MEMORY_ALLOCATION_ALIGNMENT;

const _: () = assert!(size_of::<Header>() == ALIGNMENT);

/// The tag of `wdk-alloc`, the global allocator of a Rust driver.
pub(crate) const RUST_TAG: u32 = u32::from_le_bytes(*b"rust");

/// The maximum length of a block. Windows fails longer ones, depending on the available memory.
const LARGEST: usize = 0x4000_0000;

/// The number of freed blocks that are kept.
const KEPT: usize = 256;

impl Header {
    /// The header of a block that is not in a pool.
    pub(crate) const fn of_host() -> Self {
        Self {
            pool: null_mut(),
            tag: 0,
            size: 0,
        }
    }

    /// Returns the address of a block's header: directly before the block, with the same alignment.
    pub(crate) const fn before(block: *mut u8) -> *mut Self {
        block.wrapping_sub(ALIGNMENT).cast::<c_void>().cast()
    }

    /// Adds a block to a pool.
    pub(crate) fn of_pool(pool: &Arc<Pool>, tag: u32, size: u32) -> Self {
        pool.count_in(size as usize);
        Self {
            pool: Arc::into_raw(Arc::clone(pool)),
            tag,
            size,
        }
    }

    /// Returns whether the block is in a pool.
    pub(crate) const fn is_of_pool(&self) -> bool {
        !self.pool.is_null()
    }

    /// Frees a block of the pool, which starts at an offset in an allocation.
    ///
    /// # Safety
    /// The header is that of the block, which is freed once.
    pub(in crate::ex) unsafe fn free(&self, start: *mut u8, whole: Layout, offset: usize) {
        // SAFETY: `of_pool` made the pointer of an owner, and the caller says that the block is freed once.
        let pool = unsafe { Arc::from_raw(self.pool) };
        let block = Block {
            size: self.size as usize,
            tag: self.tag,
            is_paged: false,
            whole,
            offset,
        };
        let freed = match thread::try_current() {
            Some(thread) if Arc::ptr_eq(thread.kernel.pool(), &pool) => {
                Call::enter_noted("ExFreePool").retire(start.addr(), block);
                true
            }
            _ => false,
        };
        if !freed {
            pool.count_out(block.size);
            // SAFETY: no code has a pointer to the memory.
            unsafe { release(start.expose_provenance(), block) };
        }
    }
}

impl Pool {
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.load(Ordering::SeqCst)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    fn count_in(&self, size: usize) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
    }

    fn count_out(&self, size: usize) {
        self.blocks.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // Blocks that were not freed are kept, since they may still be in use.
        for (address, (block, _)) in &self.freed {
            // SAFETY: the memory of a block is returned once.
            unsafe { release(*address, *block) };
        }
    }
}

/// Returns the layout of a block with its header, and the offset of the block in it.
pub(crate) fn with_header(layout: Layout) -> Option<(Layout, usize)> {
    let offset = layout.align().max(ALIGNMENT);
    let size = layout.size().checked_add(offset)?;
    Some((Layout::from_size_align(size, offset).ok()?, offset))
}

impl Kernel {
    /// Returns the pool.
    pub(in crate::ex) fn pool(&self) -> &Arc<Pool> {
        &self.ex().pool
    }

    /// Returns the number of pool blocks that the driver has allocated.
    #[must_use]
    pub fn pool_blocks(&self) -> usize {
        footprint::touch_everything();
        self.pool().blocks()
    }

    /// Returns the number of pool bytes that the driver has allocated.
    #[must_use]
    pub fn pool_bytes(&self) -> usize {
        footprint::touch_everything();
        self.pool().bytes()
    }
}

impl Kernel {
    /// Returns whether an address is in a block of the paged pool.
    pub(crate) fn is_paged(&self, address: usize) -> bool {
        let pool = self.pool();
        if pool.paged_blocks.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let table = locked(&pool.table);
        let block = table.live.range(..=address).next_back();
        block.is_some_and(|(start, block)| block.is_paged && address - start < block.size)
    }

    /// Returns the block that contains an address, if any.
    pub(crate) fn pool_block(&self, address: usize) -> Option<Range<usize>> {
        let table = locked(&self.pool().table);
        let (start, block) = table.live.range(..=address).next_back()?;
        let memory = *start..start + block.size;
        memory.contains(&address).then_some(memory)
    }

    /// Returns the nonpaged block that contains an address, if any.
    pub(crate) fn nonpaged_block(&self, address: usize) -> Option<Range<usize>> {
        self.pool_block(address)
            .filter(|memory| !self.is_paged(memory.start))
    }

    /// Returns whether an address is in a block that was freed.
    pub(crate) fn is_freed(&self, address: usize) -> bool {
        let table = locked(&self.pool().table);
        let block = table.freed.range(..=address).next_back();
        block.is_some_and(|(start, (block, _))| address - start < block.size)
    }

    /// Describes the block of `ExAllocatePool2` that contains or contained an address, if any.
    pub(crate) fn describe_pool_block(&self, address: usize) -> Option<String> {
        let table = locked(&self.pool().table);
        let near = |(start, block): (&usize, &Block)| {
            let offset = address - start;
            (address < special::end(*start).unwrap_or(start + block.size + GUARD_LENGTH)).then(
                || {
                    let tag = block.tag.to_le_bytes();
                    let tag = String::from_utf8_lossy(&tag).into_owned();
                    format!(
                        "byte {offset} of a block of {} bytes of the pool, tag {tag}",
                        block.size
                    )
                },
            )
        };
        let live = table.live.range(..=address).next_back();
        if let Some(what) = live.and_then(near) {
            return Some(what);
        }
        let (start, (block, by)) = table.freed.range(..=address).next_back()?;
        Some(format!("{}, which {by} has freed", near((start, block))?))
    }
}

impl Call {
    /// Stops the system if memory is freed that contains a spin lock that the thread holds, or a mutex that any thread owns.
    fn require_no_lock_in(&self, memory: Range<usize>) {
        let held = self
            .held
            .all()
            .iter()
            .find(|held| memory.contains(&held.lock))
            .map(ToString::to_string);
        let spin_lock =
            held.map(|held| (format!("{held}, which the thread holds"), Rule::SpinLock));
        // A resource that is freed was not deleted, which is reported later.
        let owner = self.kernel.owner_in(&memory);
        let owner = owner.filter(|(.., kind)| *kind != "resource");
        let mutex = owner.map(|(thread, mutex, kind)| {
            (
                format!("the {kind} {mutex:#x}, which {thread} owns"),
                Rule::Mutex,
            )
        });
        if let Some((lock, rule)) = spin_lock.or(mutex) {
            let bug_check = BugCheck::verifier(0x1005, [memory.start as u64, 0, 0]);
            let what = format!("a pool block is freed that contains {lock}");
            self.stop(bug_check, rule, what);
        }
    }

    /// Describes what is wrong with a block that is freed to a lookaside list of the pool: it is not a live block, or it is
    /// too short.
    pub(in crate::ex) fn unfit_for_lookaside(&self, block: usize, size: usize) -> Option<String> {
        let found = locked(&self.kernel.pool().table).live.get(&block).copied();
        match found {
            Some(found) if found.size >= size => None,
            Some(found) => Some(format!(
                "a block of {} bytes is freed to a lookaside list whose blocks have {size} bytes",
                found.size
            )),
            None => Some(format!(
                "{block:#x} is freed to a lookaside list, and is not a block of the pool{}",
                self.once(block)
            )),
        }
    }
}

impl Thread {
    /// Returns whether the driver's allocation succeeds. Checks that the IRQL is at most `DISPATCH_LEVEL`.
    pub(in crate::ex) fn may_allocate(&self) -> bool {
        self.irql() <= DISPATCH_LEVEL && !self.kernel.fails()
    }
}

impl Call {
    /// Allocates a block from the pool; returns NULL if this fails.
    pub(crate) fn allocate_pool(&self, size: usize, tag: u32, is_paged: bool) -> *mut c_void {
        let irql = self.irql();
        let (highest, code) = if is_paged {
            (1, 1)
        } else {
            (DISPATCH_LEVEL, 2)
        };
        self.require(irql <= highest, Rule::IrqlExAllocatePool, || {
            let kind = u64::from(is_paged);
            let bug_check = BugCheck::verifier(code, [irql.into(), kind, size as u64]);
            let paged = if is_paged { "paged" } else { "nonpaged" };
            let what = format!("the {paged} pool is allocated from at IRQL {irql}");
            (bug_check, what)
        });
        self.require(size != 0, Rule::Pool, || {
            let bug_check = BugCheck::verifier(0, [irql.into(), is_paged.into(), 0]);
            (bug_check, "the driver allocates a block of zero bytes")
        });
        let layout = with_guard(size).filter(|_| size <= LARGEST);
        let Some(layout) = layout else {
            self.kernel.print(format!(
                "ntmodel: {} of {size:#x} ({size}) bytes fails: is it the difference of two lengths, and was the smaller one \
                 not checked?",
                self.routine()
            ));
            return null_mut();
        };
        let block = Block {
            size,
            tag,
            is_paged,
            whole: layout,
            offset: 0,
        };
        if self.kernel.fails() {
            return null_mut();
        }
        let base = block.allocate();
        if base.is_null() {
            return null_mut();
        }
        let pool = self.kernel.pool();
        pool.count_in(size);
        if is_paged {
            pool.paged_blocks.fetch_add(1, Ordering::Relaxed);
        }
        footprint::make(base.addr()..base.addr() + size);
        self.kernel
            .sleepers
            .nodes
            .forget(base.addr()..base.addr() + size);
        locked(&pool.table)
            .live
            .insert(base.expose_provenance(), block);
        base.cast()
    }

    /// Frees a pool block.
    pub(crate) fn free_pool(&self, address: *mut c_void, tag: u32) {
        let address = address.addr();
        let pool = self.kernel.pool();
        let (found, freed_before) = {
            let table = locked(&pool.table);
            let found = table.live.get(&address).copied();
            (found, table.freed.get(&address).map(|(_, by)| by.clone()))
        };
        let Some(block) = found else {
            let (code, what) = match freed_before {
                Some(by) => (0x13, format!("was freed before, by {by}")),
                None => (0x10, "is not a pool block".into()),
            };
            let bug_check = BugCheck::verifier(code, [address as u64, 0, 0]);
            let what = format!("{address:#x} is freed, and {what}{}", self.once(address));
            self.stop(bug_check, Rule::Pool, what);
        };
        if block.is_paged {
            pool.paged_blocks.fetch_sub(1, Ordering::Relaxed);
        }
        self.require_no_lock_in(address..address + block.size);
        let irql = self.irql();
        let (highest, code) = if block.is_paged {
            (1, 0x11)
        } else {
            (DISPATCH_LEVEL, 0x12)
        };
        self.require(irql <= highest, Rule::Pool, || {
            let kind = u64::from(block.is_paged);
            let bug_check = BugCheck::verifier(code, [irql.into(), kind, address as u64]);
            (bug_check, format!("a pool block is freed at IRQL {irql}"))
        });
        self.require(tag == 0 || tag == block.tag, Rule::Pool, || {
            let bug_check = BugCheck::verifier(0x16, [0, address as u64, 0]);
            let what = "a pool block is freed with a tag other than its own";
            (bug_check, what)
        });
        special::open(address, None);
        self.require_guards(address, block);
        self.retire(address, block);
    }

    /// Fills a block that is freed, and keeps its memory for a while.
    fn retire(&self, address: usize, block: Block) {
        let pool = self.kernel.pool();
        self.verify_memory_is_unused(address, block.size);
        self.require_no_lookaside_in(&(address..address + block.size));
        self.require_no_resource_in(&(address..address + block.size));
        self.require_no_queued_item_in(address..address + block.size);
        self.require_no_callback_context_in(&(address..address + block.size));
        self.kernel.forget_lists(&(address..address + block.size));
        (self.kernel.upcalls.memory_freed)(self, address, block.size);
        pool.count_out(block.size);
        let start = std::ptr::with_exposed_provenance_mut::<u8>(address);
        // SAFETY: the block has this length, and its owner has given it up.
        unsafe { start.write_bytes(FREED, block.filled()) };
        special::set_contents(address, Contents::Freed);
        let by = self.caller();
        let oldest = {
            let mut table = locked(&pool.table);
            table.live.remove(&address);
            table.freed.insert(address, (block, by));
            table.oldest.push_back(address);
            let full = table.oldest.len() > KEPT;
            let oldest = full.then(|| table.oldest.pop_front()).flatten();
            oldest.and_then(|oldest| table.freed.remove_entry(&oldest))
        };
        if let Some((address, (block, _))) = oldest {
            self.verify_freed(address, block);
            // SAFETY: the block was freed, and is no longer recorded.
            unsafe { release(address, block) };
        }
    }

    /// Stops the system if a freed block was written to.
    fn verify_freed(&self, address: usize, block: Block) {
        if special::is_closed(address) {
            return;
        }
        // SAFETY: the memory of a freed block stays while it is known.
        let changed = unsafe { Block::changed(address, 0, block.filled(), FREED) };
        if let Some(changed) = changed {
            let bug_check = BugCheck(0xd5, [changed as u64, 1, 0, 0]);
            let what = format!(
                "{changed:#x} was written to after its block was freed{}",
                self.once(changed)
            );
            self.stop(bug_check, Rule::FreedMemory, what);
        }
    }

    /// Stops the system if any freed block that is still recorded was written to.
    pub(crate) fn verify_freed_blocks(&self) {
        let freed: Vec<_> = {
            let table = locked(&self.kernel.pool().table);
            table
                .freed
                .iter()
                .map(|(address, (block, _))| (*address, *block))
                .collect()
        };
        for (address, block) in freed {
            self.verify_freed(address, block);
        }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exallocatepool2)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAllocatePool2(flags: u64, size: usize, tag: u32) -> *mut c_void {
    let call = Call::enter_noted("ExAllocatePool2");
    call.switch_if_unguarded(call.routine());
    let is_unknown = flags & REQUIRED_FLAGS & !KNOWN_FLAGS != 0;
    if tag == 0 || is_unknown || (flags & KINDS).count_ones() != 1 {
        return null_mut();
    }
    let block = call.allocate_pool(size, tag, flags & POOL_FLAG_PAGED != 0);
    if !block.is_null() && flags & POOL_FLAG_UNINITIALIZED != 0 {
        // SAFETY: the block has this length, and was just allocated.
        unsafe { block.cast::<u8>().write_bytes(UNINITIALISED, size) };
    }
    block
}

/// `POOL_FLAG_UNINITIALIZED`, and the flags of the kinds of pool, of which a caller gives one.
const POOL_FLAG_UNINITIALIZED: u64 = 2;
const KINDS: u64 = 0x40 | 0x80 | POOL_FLAG_PAGED;

/// The flags that the kernel must know, and those that it knows.
const REQUIRED_FLAGS: u64 = 0xffff_ffff;
const KNOWN_FLAGS: u64 = 0x7ff;

/// The content of a block that is not zeroed.
const UNINITIALISED: u8 = 0x5a;

impl Call {
    /// Allocates a block of a `POOL_TYPE`.
    fn allocate_by_type(&self, kind: i32, size: usize, tag: u32) -> *mut c_void {
        let block = self.allocate_pool(size, tag, kind & nt::PagedPool != 0);
        if !block.is_null() && kind & nt::POOL_ZERO_ALLOCATION == 0 {
            // SAFETY: the block has this length, and was just allocated.
            unsafe { block.cast::<u8>().write_bytes(UNINITIALISED, size) };
        }
        block
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exallocatepoolwithtag)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAllocatePoolWithTag(kind: i32, size: usize, tag: u32) -> *mut c_void {
    let call = Call::enter_noted("ExAllocatePoolWithTag");
    call.switch_if_unguarded(call.routine());
    call.allocate_by_type(kind, size, tag)
}

/// The priority has no effect: the pool has memory until an allocation is made to fail.
/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exallocatepoolwithtagpriority)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAllocatePoolWithTagPriority(
    kind: i32,
    size: usize,
    tag: u32,
    _priority: i32,
) -> *mut c_void {
    let call = Call::enter_noted("ExAllocatePoolWithTagPriority");
    call.switch_if_unguarded(call.routine());
    call.allocate_by_type(kind, size, tag)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exallocatepool)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAllocatePool(kind: i32, size: usize) -> *mut c_void {
    let tag = u32::from_le_bytes(*b"None");
    let call = Call::enter_noted("ExAllocatePool");
    call.switch_if_unguarded(call.routine());
    call.allocate_by_type(kind, size, tag)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exallocatepoolwithquotatag)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAllocatePoolWithQuotaTag(kind: i32, size: usize, tag: u32) -> *mut c_void {
    let call = Call::enter_noted("ExAllocatePoolWithQuotaTag");
    call.switch_if_unguarded(call.routine());
    let block = call.allocate_by_type(kind, size, tag);
    let raises = block.is_null() && kind & nt::POOL_QUOTA_FAIL_INSTEAD_OF_RAISE == 0;
    call.require(!raises, Rule::Pool, || {
        let status = u64::from(nt::STATUS_INSUFFICIENT_RESOURCES.cast_unsigned());
        let what = "the allocation fails and raises an exception, which the model does not pass to a handler: give \
                    POOL_QUOTA_FAIL_INSTEAD_OF_RAISE";
        (BugCheck(0x1e, [status, 0, 0, 0]), what)
    });
    block
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exfreepoolwithtag)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExFreePoolWithTag(block: *mut c_void, tag: u32) {
    let call = Call::enter_noted("ExFreePoolWithTag");
    call.switch_if_unguarded(call.routine());
    call.free_pool(block, tag);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-exfreepool)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExFreePool(block: *mut c_void) {
    let call = Call::enter_noted("ExFreePool");
    call.switch_if_unguarded(call.routine());
    // Without a tag there is nothing to compare.
    call.free_pool(block, 0);
}
