//! MDLs of a part of the buffer of another MDL.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iobuildpartialmdl)

use std::ffi::c_void;

use nt::{
    DISPATCH_LEVEL, MDL, MDL_MAPPED_TO_SYSTEM_VA, MDL_PAGES_LOCKED, MDL_PARTIAL,
    MDL_PARTIAL_HAS_BEEN_MAPPED, MDL_SOURCE_IS_NONPAGED_POOL,
};

use crate::{
    host::Call,
    io::own_mdl::mdl_of,
    verifier::{BugCheck, Rule},
};

/// `TARGET_MDL_TOO_SMALL`
const TARGET_MDL_TOO_SMALL: u32 = 0x40;

/// The flags of an MDL whose pages are in memory.
const RESIDENT: i16 = MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL;

/// Returns the field for the address of the MDL that a partial one was built from. It is after the structure, where the
/// kernel stores the numbers of the pages.
fn source_of(partial: *mut MDL) -> *mut *mut MDL {
    partial.wrapping_add(1).cast()
}

impl Call {
    /// Stops the system if an MDL is partial, and the one that it was built from was freed, its pages were unlocked, or its
    /// request has ended.
    pub(in crate::io) fn require_source(&self, mdl: *mut MDL) {
        // SAFETY: the MDL is the driver's.
        if unsafe { (*mdl).MdlFlags } & MDL_PARTIAL == 0 {
            return;
        }
        // SAFETY: `IoBuildPartialMdl` has written it; there is a word for each page.
        let source = unsafe { *source_of(mdl) };
        self.require_mdl(source);
        // SAFETY: the MDL is the driver's, or that of a request that has not ended.
        let locked = unsafe { (*source).MdlFlags } & RESIDENT != 0;
        self.require_mdl_flags(
            locked,
            "a partial MDL is used, and the pages of the MDL that it was built from were unlocked",
        );
    }

    fn require_part(&self, holds: bool, what: impl FnOnce() -> String) {
        self.require(holds, Rule::Mdl, what);
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoBuildPartialMdl(
    source: *mut MDL,
    target: *mut MDL,
    address: *mut c_void,
    length: u32,
) {
    let call = Call::enter_noted("IoBuildPartialMdl").at_most(DISPATCH_LEVEL);
    call.require_mdl(source);
    // SAFETY: the MDL is the driver's, or that of a request that has not ended.
    let whole = unsafe { &*source };
    let what = "a partial MDL is built from an MDL whose pages are not locked";
    call.require_mdl_flags(whole.MdlFlags & RESIDENT != 0, what);
    let start = whole.StartVa.wrapping_byte_add(whole.ByteOffset as usize);
    let offset = address.addr().wrapping_sub(start.addr());
    let rest = (whole.ByteCount as usize).checked_sub(offset);
    call.require_part(
        rest.is_some_and(|rest| rest != 0 && length as usize <= rest),
        || {
            let bytes = whole.ByteCount;
            format!("{length} bytes at {address:?} are not part of the {bytes} bytes at {start:?}")
        },
    );
    let rest = u32::try_from(rest.unwrap_or_default()).unwrap_or(u32::MAX);
    let length = if length == 0 { rest } else { length };
    let part = call.own_mdl(target);
    let (size, next, flags) = (part.Size, part.Next, part.MdlFlags);
    call.require_mdl_flags(
        flags & (MDL_PAGES_LOCKED | MDL_PARTIAL_HAS_BEEN_MAPPED) == 0,
        "a partial MDL is built in one that is mapped or locked: MmPrepareMdlForReuse or MmUnlockPages comes first",
    );
    let new = mdl_of(address, length);
    call.require(new.Size <= size, Rule::Mdl, || {
        let parameters = [
            source.addr() as u64,
            target.addr() as u64,
            address.addr() as u64,
            length.into(),
        ];
        let what =
            format!("the target MDL is too small for the pages of {length} bytes at {address:?}");
        (BugCheck(TARGET_MDL_TOO_SMALL, parameters), what)
    });
    *part = MDL {
        Next: next,
        Size: size,
        MdlFlags: MDL_PARTIAL
            | whole.MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL),
        MappedSystemVa: whole.MappedSystemVa.wrapping_byte_add(offset),
        ..new
    };
    // SAFETY: the MDL has room for at least one page.
    unsafe { source_of(target).write(source) };
}
