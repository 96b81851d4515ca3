//! Sequenced singly linked lists, which need no lock.

use nt::{SLIST_ENTRY, SLIST_HEADER};

use crate::{
    host::Call,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The number of entries that are searched for an entry that is pushed twice.
const LOOK: usize = 4096;

/// The head of a list: its first entry and the number of entries.
#[repr(C, align(16))]
struct Head {
    first: *mut SLIST_ENTRY,
    depth: u64,
}

impl Call {
    /// Runs a step on a list. No other thread uses the list during the step, and another thread can run after it.
    fn on_list<R>(&self, head: *mut SLIST_HEADER, work: impl FnOnce(&mut Head) -> R) -> R {
        const { assert!(size_of::<Head>() == size_of::<SLIST_HEADER>()) };
        self.require_room(head);
        let guard = locked(&self.kernel.ex().slists);
        // SAFETY: the caller of the routine passes a list, which is accessed only with this mutex locked.
        let result = work(unsafe { &mut *head.cast() });
        drop(guard);
        self.switch_after(self.routine(), head);
        result
    }

    /// Returns the entry after another one.
    fn next_on_list(&self, entry: *mut SLIST_ENTRY) -> *mut SLIST_ENTRY {
        // SAFETY: the entries of a list are alive.
        unsafe { self.view::<SLIST_ENTRY, _>(entry) }.Next
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedpushentryslist)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExpInterlockedPushEntrySList(
    head: *mut SLIST_HEADER,
    entry: *mut SLIST_ENTRY,
) -> *mut SLIST_ENTRY {
    let call = Call::enter_visible("InterlockedPushEntrySList", head);
    call.require_room(entry);
    call.verify_lookaside(head, entry.addr());
    let (first, twice) = call.on_list(head, |head| {
        let mut other = head.first;
        for _ in 0..LOOK {
            if other.is_null() || other == entry {
                break;
            }
            other = call.next_on_list(other);
        }
        let first = head.first;
        if other == entry {
            return (first, true);
        }
        // SAFETY: the caller passes an entry.
        unsafe { (*entry).Next = first };
        head.first = entry;
        head.depth += 1;
        (first, false)
    });
    call.require(!twice, Rule::ListEntry, || {
        let bug_check = BugCheck(0x139, [3, entry.addr() as u64, 0, 0]);
        (bug_check, "an entry that is already on the list is pushed")
    });
    first
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinterlockedpopentryslist)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExpInterlockedPopEntrySList(head: *mut SLIST_HEADER) -> *mut SLIST_ENTRY {
    let call = Call::enter_visible("InterlockedPopEntrySList", head);
    call.verify_lookaside(head, 0);
    call.on_list(head, |head| {
        let first = head.first;
        if !first.is_null() {
            head.first = call.next_on_list(first);
            head.depth -= 1;
        }
        first
    })
}

/// [Microsoft's page](https://learn.microsoft.com/windows/win32/api/interlockedapi/nf-interlockedapi-interlockedflushslist)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExpInterlockedFlushSList(head: *mut SLIST_HEADER) -> *mut SLIST_ENTRY {
    let call = Call::enter_visible("InterlockedFlushSList", head);
    call.on_list(head, |head| {
        head.depth = 0;
        std::mem::take(&mut head.first)
    })
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exquerydepthslist)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExQueryDepthSList(head: *mut SLIST_HEADER) -> u16 {
    let call = Call::enter_visible("ExQueryDepthSList", head).at_most(nt::DISPATCH_LEVEL);
    call.on_list(head, |head| u16::try_from(head.depth).unwrap_or(u16::MAX))
}
