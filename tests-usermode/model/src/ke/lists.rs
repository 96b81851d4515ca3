//! Operations on `LIST_ENTRY` and `SINGLE_LIST_ENTRY`, which check the links.

use std::{
    ffi::c_void,
    fmt::Write,
    mem::offset_of,
    ptr::{from_ref, null},
};

use nt::model::Inline;

use crate::{
    host::{
        Call, fault,
        footprint::{self, Access},
        layout::{ListEntry, SingleListEntry},
        order::NodeChange,
        thread::Thread,
    },
    verifier::{BugCheck, Rule},
};

/// The number of entries that are searched for an entry that is inserted twice.
const LOOK: usize = 4096;

/// Returns the entry at a pointer, or `None` if the pointer is NULL or misaligned. If there is no memory at the pointer,
/// the system stops.
///
/// # Safety
/// If the pointer points to an entry, the entry is valid.
pub(crate) unsafe fn alive<'a, T>(entry: *const T) -> Option<&'a T> {
    if entry.is_null() || !entry.is_aligned() {
        return None;
    }
    // SAFETY: the pointer is not NULL, and points to an entry, as the caller guarantees.
    unsafe { fault::touch(entry.cast(), size_of::<T>()) };
    // SAFETY: guaranteed by the caller.
    unsafe { entry.as_ref() }
}

/// Returns whether an entry is on a list with others: the links of each entry and the next one point to each other, and finally to this
/// entry again. If a driver has initialised the head again while the entry was on the list, its links no longer lead back to it.
pub(crate) fn is_on_list(entry: usize) -> bool {
    let mut at = entry;
    for _ in 0..LOOK {
        let Some(next) = fault::read_word(at).filter(|next| *next != at) else {
            return false;
        };
        let back = next.wrapping_add(offset_of!(ListEntry, previous));
        if next % align_of::<ListEntry>() != 0 || fault::read_word(back) != Some(at) {
            return false;
        }
        if next == entry {
            return true;
        }
        at = next;
    }
    false
}

impl ListEntry {
    /// Makes this head an empty list.
    pub(crate) fn initialise(&self) {
        self.next.set(self);
        self.previous.set(self);
    }

    /// Returns whether both links point to this head, which is unlikely for memory that is not a list.
    pub(crate) fn is_linked_to_itself(&self) -> bool {
        self.is_empty() && std::ptr::eq(self.previous.get(), self)
    }

    /// Returns whether both neighbours point back. This is so for an entry of a list and for its head, and improbable for
    /// other memory.
    pub(crate) fn is_linked(&self) -> bool {
        let points_here = |neighbour: *const Self, offset: usize| {
            let word = neighbour.addr().wrapping_add(offset);
            neighbour.is_aligned() && fault::read_word(word) == Some(from_ref(self).addr())
        };
        let (next, previous) = (self.next.get(), self.previous.get());
        if next.is_null() || previous.is_null() {
            return false;
        }
        points_here(next, offset_of!(Self, previous))
            && points_here(previous, offset_of!(Self, next))
    }

    pub(crate) fn is_empty(&self) -> bool {
        std::ptr::eq(self.next.get(), self)
    }

    /// Returns the entries of a list in order.
    ///
    /// # Safety
    /// The list is initialised and its entries are valid. No other thread changes it during the iteration.
    pub(crate) unsafe fn iter(&self) -> impl Iterator<Item = &Self> {
        let head = from_ref(self);
        let mut entry = self.next.get();
        std::iter::from_fn(move || {
            if std::ptr::eq(entry, head) {
                return None;
            }
            // SAFETY: the entries are valid, as the caller guarantees.
            let this = unsafe { alive(entry) }?;
            entry = this.next.get();
            Some(this)
        })
    }
}

impl Call {
    /// Checks an operation of one of the WDK's inline functions on an entry or a head before it is performed.
    pub(crate) fn before_list_step(&self, inline: Inline, node: *const c_void) {
        let address = node.addr();
        let word = |at: usize| fault::read_word(at);
        let second = offset_of!(ListEntry, previous);
        let (Some(next), Some(previous)) = (word(address), word(address.wrapping_add(second)))
        else {
            // The function itself stops there.
            return;
        };
        let points_back =
            word(next.wrapping_add(second)) == Some(address) && word(previous) == Some(address);
        let is_alone = next == address;
        let wrong = match inline {
            Inline::InitializeListHead => {
                self.kernel.sleepers.nodes.forget(address..address + 1);
                None
            }
            Inline::InsertEntry => (points_back && !is_alone && is_on_list(address))
                .then_some("is inserted, and is on a list already"),
            Inline::RemoveEntryList => {
                (!points_back).then_some("is removed from a list that it is not on")
            }
            _ => (!points_back)
                .then_some("gets an entry, but is not the head of a list or is damaged"),
        };
        if let Some(wrong) = wrong.filter(|_| self.kernel.config.check_lists) {
            let at = self.once(address);
            let mut what = format!("{node:?} {wrong}{at}");
            for (name, neighbour) in [("next", next), ("previous", previous)] {
                if neighbour != address {
                    let at = self.once(neighbour);
                    let _ = write!(what, "; its {name} entry is {neighbour:#x}{at}");
                }
            }
            let bug_check = BugCheck(0x139, [3, address as u64, 0, 0]);
            self.stop(bug_check, Rule::ListEntry, what);
        }
        self.touch_node(address);
        match inline {
            Inline::InsertTailList => self.touch_node(previous),
            Inline::InsertHeadList => self.touch_node(next),
            Inline::RemoveEntryList => {
                self.touch_node(next);
                self.touch_node(previous);
            }
            _ => {}
        }
    }

    /// Stops the system if another thread has changed the links of an entry or a head, and nothing orders the two changes.
    #[inline]
    pub(crate) fn touch_node(&self, node: usize) {
        if let Some(before) = Thread::touch_node(self, node, self.routine()) {
            self.unordered(node, before);
        }
    }

    #[cold]
    fn unordered(&self, node: usize, before: NodeChange) -> ! {
        let thread = self.kernel.thread(before.thread);
        let by = thread.map_or_else(String::new, |thread| thread.name().to_owned());
        let what = format!(
            "{} changes the links of {node:#x}, which {by} has changed in {}, and no lock or other object orders the two{}",
            self.name(),
            before.routine,
            self.once(node)
        );
        self.stop(BugCheck::NONE, Rule::PlainMemory, what);
    }

    /// Inserts an entry after another one or after the head.
    ///
    /// # Safety
    /// The entries of the list are valid, and no other thread reads or changes the list during the call.
    pub(crate) unsafe fn link_after(&self, before: &ListEntry, entry: &ListEntry) {
        // SAFETY: the neighbours of an entry of a list are alive.
        let after = unsafe { alive(before.next.get()) };
        let after = after.filter(|after| std::ptr::eq(after.previous.get(), before));
        let Some(after) = after else {
            self.corrupt(before, "the neighbour of an entry does not point back");
        };
        if self.kernel.config.check_lists {
            // SAFETY: guaranteed by the caller.
            let entries = unsafe { before.iter() }.take(LOOK);
            let mut all = std::iter::once(before).chain(entries);
            if all.any(|other| std::ptr::eq(other, entry)) {
                self.corrupt(entry, "an entry that is already on the list is inserted");
            }
        }
        footprint::touch(from_ref(entry).addr(), Access::Exclusive);
        if self.kernel.config.check_lists && is_on_list(from_ref(entry).addr()) {
            self.corrupt(entry, "an entry is inserted that is on another list");
        }
        entry.next.set(after);
        entry.previous.set(before);
        before.next.set(entry);
        after.previous.set(entry);
    }

    /// Removes an entry from its list.
    ///
    /// # Safety
    /// As for [`Call::link_after`].
    pub(crate) unsafe fn unlink(&self, entry: &ListEntry) {
        // SAFETY: the neighbours of an entry of a list are alive.
        let next = unsafe { alive(entry.next.get()) };
        // SAFETY: as above.
        let previous = unsafe { alive(entry.previous.get()) };
        let (Some(next), Some(previous)) = (next, previous) else {
            self.corrupt(entry, "an entry that is not on a list is removed");
        };
        if !std::ptr::eq(next.previous.get(), entry) || !std::ptr::eq(previous.next.get(), entry) {
            self.corrupt(entry, "the neighbour of an entry does not point back");
        }
        footprint::touch(from_ref(entry).addr(), Access::Exclusive);
        previous.next.set(next);
        next.previous.set(previous);
        // The links of a removed entry have no meaning. They are cleared so that the entry differs from one that is
        // linked.
        entry.next.set(null());
        entry.previous.set(null());
    }

    fn corrupt(&self, entry: &ListEntry, what: &str) -> ! {
        let bug_check = BugCheck(0x139, [3, from_ref(entry).addr() as u64, 0, 0]);
        self.stop(bug_check, Rule::ListEntry, what)
    }

    /// Pushes an entry; returns the previous first entry.
    ///
    /// # Safety
    /// As for [`Call::link_after`].
    pub(crate) unsafe fn push(
        &self,
        head: &SingleListEntry,
        entry: &SingleListEntry,
        rule: Rule,
    ) -> *const SingleListEntry {
        let first = head.next.get();
        if self.kernel.config.check_lists {
            let mut other = first;
            for _ in 0..LOOK {
                // SAFETY: the entries of a list are alive.
                let Some(next) = (unsafe { alive(other) }) else {
                    break;
                };
                if std::ptr::eq(next, entry) {
                    let bug_check = BugCheck(0x139, [3, from_ref(entry).addr() as u64, 0, 0]);
                    let what = "an entry that is already on the list is pushed";
                    self.stop(bug_check, rule, what);
                }
                other = next.next.get();
            }
        }
        entry.next.set(first);
        head.next.set(entry);
        first
    }

    /// Pops the first entry; returns NULL if there is none.
    ///
    /// # Safety
    /// As for [`Call::link_after`].
    pub(crate) unsafe fn pop(head: &SingleListEntry) -> *const SingleListEntry {
        let first = head.next.get();
        // SAFETY: the entries of a list are alive.
        if let Some(entry) = unsafe { alive(first) } {
            head.next.set(entry.next.get());
        }
        first
    }
}
