//! Memory descriptor lists that a driver makes.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-mdls)

use std::{
    collections::{HashMap, HashSet},
    ffi::c_void,
    ops::Range,
    ptr::null_mut,
    sync::Mutex,
};

use nt::{
    DISPATCH_LEVEL, IRP, KERNEL_MODE, MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED,
    MDL_PARTIAL_HAS_BEEN_MAPPED, MDL_SOURCE_IS_NONPAGED_POOL,
};

use crate::{
    host::{
        Call,
        footprint::{self, Access},
        layout::PAGE_SIZE,
    },
    io::irp::IrpRecord,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The MDLs of drivers.
#[derive(Default)]
pub(crate) struct Mdls {
    /// Those that were allocated and not freed, by their addresses.
    allocated: Mutex<HashMap<usize, Box<[u128]>>>,
    /// The addresses of those that were freed.
    freed: Mutex<HashSet<usize>>,
    /// Those whose pages are mapped for user mode, and where.
    user_mappings: Mutex<Vec<(usize, usize)>>,
}

impl Mdls {
    fn is_allocated(&self, mdl: *mut MDL) -> bool {
        footprint::touch(mdl.addr(), Access::Exclusive);
        locked(&self.allocated).contains_key(&mdl.addr())
    }

    fn remove(&self, mdl: *mut MDL) {
        footprint::free(mdl.addr()..mdl.addr() + size_of::<MDL>());
        locked(&self.allocated).remove(&mdl.addr());
        locked(&self.freed).insert(mdl.addr());
    }

    /// Records that the pages of an MDL are mapped for user mode.
    pub(in crate::io) fn map_for_user(&self, mdl: *mut MDL, address: *mut c_void) {
        locked(&self.user_mappings).push((mdl.addr(), address.addr()));
    }

    pub(in crate::io) fn was_freed(&self, mdl: *mut MDL) -> bool {
        locked(&self.freed).contains(&mdl.addr())
    }

    fn is_mapped_for_user(&self, mdl: *mut MDL) -> bool {
        let mappings = locked(&self.user_mappings);
        mappings.iter().any(|(mapped, _)| *mapped == mdl.addr())
    }

    /// Removes the mapping of an MDL's pages for user mode; returns whether there was one at the address.
    fn unmap_for_user(&self, mdl: *mut MDL, address: *mut c_void) -> bool {
        let mut mappings = locked(&self.user_mappings);
        let place = mappings
            .iter()
            .position(|mapping| *mapping == (mdl.addr(), address.addr()));
        place.map(|place| mappings.remove(place)).is_some()
    }
}

/// Returns the MDL of a buffer, with no flag set.
pub(in crate::io) fn mdl_of(buffer: *mut c_void, length: u32) -> MDL {
    let offset = buffer.addr() % PAGE_SIZE;
    let pages = (offset + length as usize).div_ceil(PAGE_SIZE);
    MDL {
        Next: null_mut(),
        // After the structure there is a word for each page.
        Size: i16::try_from(size_of::<MDL>() + 8 * pages).unwrap_or(i16::MAX),
        MdlFlags: 0,
        Reserved: 0,
        Process: null_mut(),
        MappedSystemVa: null_mut(),
        StartVa: buffer.wrapping_byte_sub(offset),
        ByteCount: length,
        ByteOffset: u32::try_from(offset).unwrap_or_default(),
    }
}

/// Returns the MDL of a buffer whose pages are locked.
pub(crate) fn locked_mdl(buffer: *mut c_void, length: u32) -> MDL {
    MDL {
        MdlFlags: MDL_PAGES_LOCKED,
        ..mdl_of(buffer, length)
    }
}

impl Call {
    /// Allocates an MDL, which is not filled in.
    pub(in crate::io) fn allocate_mdl(&self, length: u32) -> Option<*mut MDL> {
        if self.kernel.fails() {
            return None;
        }
        let pages = (length as usize).div_ceil(PAGE_SIZE) + 1;
        let words = (size_of::<MDL>() + 8 * pages).div_ceil(16);
        let mut memory = vec![0_u128; words].into_boxed_slice();
        let mdl = memory.as_mut_ptr().cast::<MDL>();
        footprint::make(mdl.addr()..mdl.addr() + size_of::<MDL>());
        let mdls = &self.kernel.io().mdls;
        locked(&mdls.freed).remove(&mdl.addr());
        locked(&mdls.allocated).insert(mdl.expose_provenance(), memory);
        Some(mdl)
    }

    /// Stops the system if a pointer is neither an MDL that the driver has made nor that of a request that has not ended.
    pub(in crate::io) fn require_mdl(&self, mdl: *mut MDL) {
        if self.kernel.io().mdls.is_allocated(mdl) || self.is_in_nonpaged_memory(mdl) {
            self.require_source(mdl);
            // SAFETY: the MDL is the driver's.
            let MDL {
                MdlFlags: flags,
                MappedSystemVa: start,
                ..
            } = unsafe { mdl.read() };
            let is_built = flags & MDL_SOURCE_IS_NONPAGED_POOL != 0;
            let is_freed = is_built && self.kernel.is_freed(start.addr());
            self.require(!is_freed, Rule::Mdl, || {
                format!(
                    "an MDL is used whose memory was freed{}",
                    self.once(start.addr())
                )
            });
        } else {
            self.request_of_mdl(mdl);
        }
    }

    /// Unlocks and frees the MDLs of an IRP that has ended and that the I/O manager has made or frees.
    pub(in crate::io) fn free_mdls(&self, record: &IrpRecord) {
        // SAFETY: the caller that completes an IRP owns it.
        let mut mdl = unsafe { nt::irp::mdl(record.raw()) };
        while !mdl.is_null() {
            let is_own = mdl == record.mdl();
            if !is_own {
                self.require_allocated(mdl);
            }
            self.require_not_mapped_for_user(mdl);
            // SAFETY: the MDL is the IRP's or the driver's.
            let next = unsafe { (*mdl).Next };
            if !is_own {
                self.kernel.io().mdls.remove(mdl);
            }
            mdl = next;
        }
    }

    /// Stops the system if a pointer is not an MDL that `IoAllocateMdl` has made.
    fn require_allocated(&self, mdl: *mut MDL) {
        let is_allocated = self.kernel.io().mdls.is_allocated(mdl);
        self.require(is_allocated, Rule::Mdl, || {
            let what = format!("{mdl:?} is not an MDL that IoAllocateMdl has made, or was freed");
            (BugCheck(0x50, [mdl.addr() as u64, 0, 0, 0]), what)
        });
    }

    /// Whether an MDL is in nonpaged memory of the driver, where `MmInitializeMdl` makes it.
    fn is_in_nonpaged_memory(&self, mdl: *mut MDL) -> bool {
        let address = mdl.addr();
        let io = self.kernel.io();
        let block = self.kernel.nonpaged_block(address);
        let memory = block.or_else(|| {
            let device = io.devices.owner_of_extension(address)?;
            io.devices.extension_of(device)
        });
        let Some(memory) = memory.filter(|memory| {
            mdl.is_aligned() && memory.contains(&(address + size_of::<MDL>() - 1))
        }) else {
            return false;
        };
        // SAFETY: the memory is valid, and long enough for the structure.
        let size = usize::try_from(unsafe { (*mdl).Size }).unwrap_or_default();
        (size_of::<MDL>()..=memory.end - address).contains(&size)
    }

    /// Returns an MDL that the driver has made: by `IoAllocateMdl`, or in its own memory.
    pub(in crate::io) fn own_mdl<'a>(&self, mdl: *mut MDL) -> &'a mut MDL {
        footprint::touch(mdl.addr(), Access::Exclusive);
        if !self.is_in_nonpaged_memory(mdl) {
            self.require_allocated(mdl);
        }
        // SAFETY: the MDL is the driver's, which calls one routine with it at a time.
        unsafe { &mut *mdl }
    }

    /// Stops the system if memory is freed whose pages an MDL of the driver has locked.
    pub(in crate::io) fn require_no_locked_mdl_in(&self, memory: &Range<usize>) {
        let locks = |mdl: &usize| {
            let mdl = std::ptr::with_exposed_provenance::<MDL>(*mdl);
            // SAFETY: the MDL is allocated, and is not freed before the lock is released.
            let mdl = unsafe { &*mdl };
            let start = mdl.StartVa.addr() + mdl.ByteOffset as usize;
            mdl.MdlFlags & MDL_PAGES_LOCKED != 0 && memory.contains(&start)
        };
        let mdl = {
            let mdls = locked(&self.kernel.io().mdls.allocated);
            mdls.keys().copied().find(locks)
        };
        self.require(mdl.is_none(), Rule::Mdl, || {
            format!(
                "memory is freed whose pages the MDL {:#x} has locked: MmUnlockPages comes first",
                mdl.unwrap_or_default()
            )
        });
    }

    pub(in crate::io) fn require_mdl_flags(&self, holds: bool, what: &str) {
        self.require(holds, Rule::Mdl, || what);
    }

    /// Stops the system if the pages of an MDL that is freed are mapped for user mode. After that, nothing can unmap them.
    fn require_not_mapped_for_user(&self, mdl: *mut MDL) {
        let is_mapped = self.kernel.io().mdls.is_mapped_for_user(mdl);
        let what =
            "an MDL is freed whose pages are mapped for user mode: MmUnmapLockedPages comes first";
        self.require_mdl_flags(!is_mapped, what);
    }

    /// Stops the system if a driver that is unloaded has not freed an MDL.
    pub(in crate::io) fn require_no_mdl(&self) {
        let left = locked(&self.kernel.io().mdls.allocated).len();
        self.require(left == 0, Rule::Mdl, || {
            let what = format!("the driver is unloaded with {left} MDLs not freed");
            (BugCheck::verifier(0x62, [0, 0, left as u64]), what)
        });
        let mapped = locked(&self.kernel.io().mdls.user_mappings).len();
        self.require(mapped == 0, Rule::Mdl, || {
            format!("the driver is unloaded with the pages of {mapped} MDLs mapped for user mode")
        });
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioallocatemdl)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoAllocateMdl(
    address: *mut c_void,
    length: u32,
    secondary: u8,
    _charge_quota: u8,
    irp: *mut IRP,
) -> *mut MDL {
    let call = Call::enter_noted("IoAllocateMdl").at_most(DISPATCH_LEVEL);
    let Some(mdl) = call.allocate_mdl(length) else {
        return null_mut();
    };
    // SAFETY: the MDL is made here.
    unsafe { mdl.write(mdl_of(address, length)) };
    if irp.is_null() {
        return mdl;
    }
    call.live_irp(irp);
    // SAFETY: the caller owns the IRP.
    let mut link = unsafe { &raw mut (*irp).MdlAddress };
    // A secondary buffer comes last in the chain.
    loop {
        // SAFETY: the link is that of the IRP or of an MDL in its chain.
        let next = unsafe { *link };
        if secondary == 0 || next.is_null() {
            break;
        }
        // SAFETY: as above.
        link = unsafe { &raw mut (*next).Next };
    }
    // SAFETY: as above.
    unsafe { *link = mdl };
    mdl
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iofreemdl)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoFreeMdl(mdl: *mut MDL) {
    let call = Call::enter_noted("IoFreeMdl");
    call.switch_if_unguarded(call.routine());
    call.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
    call.require_allocated(mdl);
    // SAFETY: the MDL is the driver's.
    let flags = unsafe { (*mdl).MdlFlags };
    let unlocked = flags & MDL_PAGES_LOCKED == 0;
    let what = "an MDL is freed whose pages are locked: MmUnlockPages comes first";
    call.require_mdl_flags(unlocked, what);
    call.require_not_mapped_for_user(mdl);
    call.kernel.io().mdls.remove(mdl);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmbuildmdlfornonpagedpool)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmBuildMdlForNonPagedPool(mdl: *mut MDL) {
    let call = Call::enter_noted("MmBuildMdlForNonPagedPool").at_most(DISPATCH_LEVEL);
    let mdl = call.own_mdl(mdl);
    let unlocked = mdl.MdlFlags & MDL_PAGES_LOCKED == 0;
    call.require_mdl_flags(unlocked, "the pages of the MDL are locked already");
    let start = mdl.StartVa.wrapping_byte_add(mdl.ByteOffset as usize);
    let is_paged = call.kernel.is_paged(start.addr());
    call.require(
        !is_paged && !call.is_on_stack(start.addr()),
        Rule::Mdl,
        || {
            let bug_check = BugCheck::verifier(0x7f, [start.addr() as u64, 0, 0]);
            let memory = if is_paged {
                "in the paged pool"
            } else {
                "on the stack"
            };
            let what =
                format!("the buffer {start:?} of the MDL is {memory}, not in the nonpaged pool");
            (bug_check, what)
        },
    );
    call.require_array(start.cast::<u8>(), mdl.ByteCount as usize);
    mdl.MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
    mdl.MappedSystemVa = start;
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmprobeandlockpages)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmProbeAndLockPages(mdl: *mut MDL, mode: i8, _operation: i32) {
    let call = Call::enter_noted("MmProbeAndLockPages").at_most(DISPATCH_LEVEL);
    let mdl = call.own_mdl(mdl);
    let new = mdl.MdlFlags & (MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL) == 0;
    call.require_mdl_flags(new, "the pages of the MDL are locked already");
    let start = mdl.StartVa.wrapping_byte_add(mdl.ByteOffset as usize);
    call.lock_user_buffer(start.addr(), mode);
    if mode == KERNEL_MODE {
        call.require_array(start.cast::<u8>(), mdl.ByteCount as usize);
    }
    mdl.MdlFlags |= MDL_PAGES_LOCKED;
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmunlockpages)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmUnlockPages(mdl: *mut MDL) {
    let call = Call::enter_noted("MmUnlockPages").at_most(DISPATCH_LEVEL);
    let mdl = call.own_mdl(mdl);
    let is_locked = mdl.MdlFlags & MDL_PAGES_LOCKED != 0;
    let what = "the pages of the MDL are unlocked, and are not locked";
    call.require_mdl_flags(is_locked, what);
    mdl.MdlFlags &= !(MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmunmaplockedpages)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn MmUnmapLockedPages(address: *mut c_void, mdl: *mut MDL) {
    let call = Call::enter_noted("MmUnmapLockedPages").at_most(DISPATCH_LEVEL);
    call.require_mdl(mdl);
    if call.kernel.io().mdls.unmap_for_user(mdl, address) {
        call.require_at_most(1, Rule::Irql, 0x78);
        return;
    }
    // SAFETY: the MDL is the driver's, or that of its request.
    let mdl = unsafe { &mut *mdl };
    let is_mapped = mdl.MdlFlags & MDL_MAPPED_TO_SYSTEM_VA != 0 && mdl.MappedSystemVa == address;
    let what = "the pages of the MDL are unmapped, and are not mapped there";
    call.require_mdl_flags(is_mapped, what);
    mdl.MdlFlags &= !(MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED);
}
