//! The `ExInterlocked` routines. Each is one step under the spin lock that its caller passes, which only these routines acquire.

use std::{ptr::null_mut, sync::atomic::Ordering::Relaxed};

use nt::{KSPIN_LOCK, LIST_ENTRY, SINGLE_LIST_ENTRY};

use crate::{
    host::{
        Call,
        layout::{ListEntry, SingleListEntry},
    },
    ke::lists::alive,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// Returns the neighbour of an insertion, or NULL if the neighbour is the head, which means that the list was empty.
fn unless_head(neighbour: *const ListEntry, head: &ListEntry) -> *mut LIST_ENTRY {
    if std::ptr::eq(neighbour, head) {
        return null_mut();
    }
    neighbour.cast_mut().cast()
}

/// Records that a step changes the links of these entries.
fn touch(call: &Call, nodes: [*const ListEntry; 3]) {
    for node in nodes {
        call.require_nonpaged(node);
        call.touch_node(node.addr());
    }
}

impl Call {
    /// Stops the system if a list with entries is accessed with another lock than before.
    fn require_lock_of_list(&self, head: usize, lock: usize, is_empty: bool) {
        if !self.kernel.config.check_lists {
            return;
        }
        let before = locked(&self.kernel.ex().locks_of_lists).insert(head, lock);
        let Some(before) = before.filter(|before| *before != lock && !is_empty) else {
            return;
        };
        let bug_check = BugCheck::verifier(0x1008, [lock as u64, head as u64, 0]);
        let what = format!(
            "the list {head:#x} is accessed with the spin lock {lock:#x}, but was accessed with {before:#x} before"
        );
        self.stop(bug_check, Rule::InterlockedLock, what);
    }

    /// Runs the step of a routine under its lock. Another thread can run after it.
    fn step<R>(&self, lock: *mut KSPIN_LOCK, step: impl FnOnce() -> R) -> R {
        let result = self.interlocked(lock, step);
        self.switch_after(self.routine(), lock);
        result
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInterlockedInsertHeadList(
    head: *mut LIST_ENTRY,
    entry: *mut LIST_ENTRY,
    lock: *mut KSPIN_LOCK,
) -> *mut LIST_ENTRY {
    let call = Call::enter_visible("ExInterlockedInsertHeadList", head);
    call.inserted_last.store(entry, Relaxed);
    (call.kernel.upcalls.list_entry)(&call, entry);
    let head_address = head.addr();
    // SAFETY: the caller passes a list's head and an entry.
    let head = unsafe { call.view::<ListEntry, _>(head) };
    // SAFETY: as above.
    let entry = unsafe { call.view_new::<ListEntry, _>(entry) };
    call.require_lock_of_list(head_address, lock.addr(), head.is_empty());
    call.step(lock, || {
        let first = head.next.get();
        touch(&call, [head, first, entry]);
        // SAFETY: all accesses to the list hold this lock.
        unsafe { call.link_after(head, entry) };
        unless_head(first, head)
    })
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInterlockedInsertTailList(
    head: *mut LIST_ENTRY,
    entry: *mut LIST_ENTRY,
    lock: *mut KSPIN_LOCK,
) -> *mut LIST_ENTRY {
    let call = Call::enter_visible("ExInterlockedInsertTailList", head);
    call.inserted_last.store(entry, Relaxed);
    (call.kernel.upcalls.list_entry)(&call, entry);
    let head_address = head.addr();
    // SAFETY: the caller passes a list's head and an entry.
    let head = unsafe { call.view::<ListEntry, _>(head) };
    // SAFETY: as above.
    let entry = unsafe { call.view_new::<ListEntry, _>(entry) };
    call.require_lock_of_list(head_address, lock.addr(), head.is_empty());
    call.step(lock, || {
        let last = head.previous.get();
        // SAFETY: the last entry of a list, or its head, is alive.
        let after = unsafe { alive(last) }.unwrap_or(head);
        touch(&call, [head, after, entry]);
        // SAFETY: all accesses to the list hold this lock.
        unsafe { call.link_after(after, entry) };
        unless_head(last, head)
    })
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInterlockedRemoveHeadList(
    head: *mut LIST_ENTRY,
    lock: *mut KSPIN_LOCK,
) -> *mut LIST_ENTRY {
    let call = Call::enter_visible("ExInterlockedRemoveHeadList", head);
    let head_address = head.addr();
    // SAFETY: the caller passes a list's head.
    let head = unsafe { call.view::<ListEntry, _>(head) };
    call.require_lock_of_list(head_address, lock.addr(), head.is_empty());
    call.step(lock, || {
        if head.is_empty() {
            return null_mut();
        }
        let first = head.next.get();
        // SAFETY: the entries of a list are alive.
        if let Some(entry) = unsafe { alive(first) } {
            touch(&call, [head, entry, entry.next.get()]);
            // SAFETY: all accesses to the list hold this lock.
            unsafe { call.unlink(entry) };
        }
        first.cast_mut().cast()
    })
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInterlockedPushEntryList(
    head: *mut SINGLE_LIST_ENTRY,
    entry: *mut SINGLE_LIST_ENTRY,
    lock: *mut KSPIN_LOCK,
) -> *mut SINGLE_LIST_ENTRY {
    let call = Call::enter_visible("ExInterlockedPushEntryList", head);
    call.inserted_last.store(entry.cast(), Relaxed);
    call.require_nonpaged(entry);
    call.require_block_of_zone(head.addr(), entry.addr());
    let rule = call.kernel.zone_rule(head.addr());
    let head_address = head.addr();
    // SAFETY: the caller passes a list's head.
    let head = unsafe { call.view::<SingleListEntry, _>(head) };
    // SAFETY: the caller passes an entry.
    let entry = unsafe { call.view_new::<SingleListEntry, _>(entry) };
    call.require_lock_of_list(head_address, lock.addr(), head.next.get().is_null());
    call.step(lock, || {
        // SAFETY: all accesses to the list hold this lock.
        let first = unsafe { call.push(head, entry, rule) };
        first.cast_mut().cast()
    })
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInterlockedPopEntryList(
    head: *mut SINGLE_LIST_ENTRY,
    lock: *mut KSPIN_LOCK,
) -> *mut SINGLE_LIST_ENTRY {
    let call = Call::enter_visible("ExInterlockedPopEntryList", head);
    let head_address = head.addr();
    // SAFETY: the caller passes a list's head.
    let head = unsafe { call.view::<SingleListEntry, _>(head) };
    call.require_lock_of_list(head_address, lock.addr(), head.next.get().is_null());
    call.step(lock, || {
        // SAFETY: all accesses to the list hold this lock.
        let first = unsafe { Call::pop(head) };
        first.cast_mut().cast()
    })
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInterlockedAddUlong(
    addend: *mut u32,
    increment: u32,
    lock: *mut KSPIN_LOCK,
) -> u32 {
    let call = Call::enter_visible("ExInterlockedAddUlong", addend);
    call.require_room(addend);
    call.step(lock, || {
        // SAFETY: the caller passes a variable, whose accesses all hold this lock.
        let old = unsafe { addend.read() };
        // SAFETY: as above.
        unsafe { addend.write(old.wrapping_add(increment)) };
        old
    })
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInterlockedAddLargeInteger(
    addend: *mut i64,
    increment: i64,
    lock: *mut KSPIN_LOCK,
) -> i64 {
    let call = Call::enter_visible("ExInterlockedAddLargeInteger", addend);
    call.require_room(addend);
    call.step(lock, || {
        // SAFETY: the caller passes a variable, whose accesses all hold this lock.
        let old = unsafe { addend.read() };
        // SAFETY: as above.
        unsafe { addend.write(old.wrapping_add(increment)) };
        old
    })
}
