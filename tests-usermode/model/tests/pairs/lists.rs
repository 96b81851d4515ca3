//! Lists, zones and lookaside lists.

use std::{cell::UnsafeCell, ffi::c_void};

use nt::{
    DEVICE_OBJECT, IRP, LIST_ENTRY, LOOKASIDE_LIST_EX, NTSTATUS, NonPagedPoolNx, SINGLE_LIST_ENTRY,
    SLIST_ENTRY, SLIST_HEADER, STATUS_SUCCESS, ZONE_HEADER,
};

use crate::{
    frame::{CORRECT, Lock, TAG, allocate, free, put},
    steps::{Steps, complete, one_request as one, two_requests as two},
};

const INSERTS_TWICE: u8 = 2;
const FREES_LINKED: u8 = 3;
const HAS_NO_LOCK: u8 = 4;
const REMOVES_WITHOUT_LOCK: u8 = 5;
const HAS_TWO_LOCKS: u8 = 6;
const IS_NOT_ALIGNED: u8 = 7;
/// The correct drivers with other lists.
const INTERLOCKED: u8 = 10;
const SINGLE: u8 = 11;
const SEQUENCED: u8 = 12;

struct Lists<const M: u8>;

struct Own {
    lock: Lock,
    other_lock: Lock,
    list: UnsafeCell<LIST_ENTRY>,
    single: UnsafeCell<SINGLE_LIST_ENTRY>,
    sequenced: UnsafeCell<SLIST_HEADER>,
}

/// An entry in a block from the pool.
#[repr(C, align(16))]
struct Entry {
    link: LIST_ENTRY,
    second: LIST_ENTRY,
}

impl Own {
    fn with_lock<const M: u8, T>(&self, code: impl FnOnce() -> T) -> T {
        if M == HAS_NO_LOCK {
            code()
        } else {
            self.lock.with(code)
        }
    }

    /// Inserts an entry, removes it again, and frees it.
    fn use_list<const M: u8>(&self) {
        let (list, entry) = (self.list.get(), allocate::<Entry>());
        let link = entry.cast::<LIST_ENTRY>();
        self.with_lock::<M, _>(|| {
            nt!(list::InsertTailList(list, link));
            if M == INSERTS_TWICE {
                nt!(list::InsertTailList(list, link));
            }
        });
        if M != FREES_LINKED {
            self.with_lock::<M, _>(|| nt!(list::RemoveEntryList(link)));
        }
        free(entry);
    }

    fn use_interlocked<const M: u8>(&self) {
        let (list, entry) = (self.list.get(), allocate::<Entry>());
        let link = entry.cast::<LIST_ENTRY>();
        nt!(ExInterlockedInsertTailList(list, link, self.lock.get()));
        if M == REMOVES_WITHOUT_LOCK {
            nt!(list::RemoveEntryList(link));
            free(entry);
        } else {
            let removed = nt!(ExInterlockedRemoveHeadList(list, self.lock.get()));
            free(removed);
        }
    }

    fn use_single<const M: u8>(&self) {
        let (list, entry) = (self.single.get(), allocate::<Entry>());
        nt!(ExInterlockedPushEntryList(
            list,
            entry.cast(),
            self.lock.get()
        ));
        let lock = if M == HAS_TWO_LOCKS {
            &self.other_lock
        } else {
            &self.lock
        };
        let removed = nt!(ExInterlockedPopEntryList(list, lock.get()));
        free(removed);
    }

    fn use_sequenced<const M: u8>(&self) {
        let (list, entry) = (self.sequenced.get(), allocate::<Entry>());
        let offset = if M == IS_NOT_ALIGNED { 8 } else { 0 };
        let link: *mut SLIST_ENTRY = entry.wrapping_byte_add(offset).cast();
        nt!(ExpInterlockedPushEntrySList(list, link));
        let removed = nt!(ExpInterlockedPopEntrySList(list));
        free(removed.wrapping_byte_sub(offset));
    }
}

impl<const M: u8> Steps for Lists<M> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        own.lock.initialise();
        own.other_lock.initialise();
        nt!(list::InitializeListHead(own.list.get()));
        nt!(InitializeSListHead(own.sequenced.get()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        match M {
            INTERLOCKED | REMOVES_WITHOUT_LOCK => own.use_interlocked::<M>(),
            SINGLE | HAS_TWO_LOCKS => own.use_single::<M>(),
            SEQUENCED | IS_NOT_ALIGNED => own.use_sequenced::<M>(),
            _ => own.use_list::<M>(),
        }
        complete(irp, STATUS_SUCCESS)
    }
}

const FREES_INSIDE: u8 = 1;
const FREES_SEGMENT: u8 = 2;

struct Zones<const M: u8>;

struct Zone {
    lock: Lock,
    header: UnsafeCell<ZONE_HEADER>,
    segment: UnsafeCell<*mut c_void>,
}

type Segment = [u64; 32];

impl<const M: u8> Steps for Zones<M> {
    type Own = Zone;

    fn add(_: *mut DEVICE_OBJECT, own: &Zone) {
        own.lock.initialise();
        let segment = allocate::<Segment>().cast();
        put(own.segment.get(), segment);
        let status = nt!(ExInitializeZone(own.header.get(), 32, segment, 256));
        assert_eq!(status, STATUS_SUCCESS);
        if M == FREES_SEGMENT {
            free(segment);
        }
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Zone, irp: *mut IRP, _: u32) -> NTSTATUS {
        let list = own.header.get().cast::<SINGLE_LIST_ENTRY>();
        let block = nt!(ExInterlockedPopEntryList(list, own.lock.get()));
        let offset = if M == FREES_INSIDE { 8 } else { 0 };
        let block = block.wrapping_byte_add(offset);
        nt!(ExInterlockedPushEntryList(list, block, own.lock.get()));
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Zone) {
        free(crate::frame::get(own.segment.get()));
    }
}

const FREES_FROM_POOL: u8 = 2;
const IS_NOT_DELETED: u8 = 3;
const FREES_TWICE: u8 = 4;
const FREES_AFTER_DELETE: u8 = 5;

struct Lookaside<const M: u8>;

impl<const M: u8> Steps for Lookaside<M> {
    type Own = UnsafeCell<LOOKASIDE_LIST_EX>;

    fn add(_: *mut DEVICE_OBJECT, own: &Self::Own) {
        let (list, size) = (own.get(), size_of::<Entry>());
        let status = nt!(ExInitializeLookasideListEx(
            list,
            None,
            None,
            NonPagedPoolNx,
            0,
            size,
            TAG,
            0
        ));
        assert_eq!(status, STATUS_SUCCESS);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let list = own.get();
        let block = nt!(ExAllocateFromLookasideListEx(list));
        match M {
            FREES_FROM_POOL => {
                let other = allocate::<u64>();
                nt!(ExFreeToLookasideListEx(list, other.cast()));
                nt!(ExFreeToLookasideListEx(list, block));
            }
            FREES_AFTER_DELETE => {
                nt!(ExDeleteLookasideListEx(list));
                nt!(ExFreeToLookasideListEx(list, block));
            }
            _ => {
                for _ in 0..if M == FREES_TWICE { 2 } else { 1 } {
                    nt!(ExFreeToLookasideListEx(list, block));
                }
            }
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Self::Own) {
        if M != IS_NOT_DELETED && M != FREES_AFTER_DELETE {
            nt!(ExDeleteLookasideListEx(own.get()));
        }
    }
}

pairs! {
    entry_is_inserted_into_its_list_twice:
        one::<Lists<INSERTS_TWICE>>, one::<Lists<CORRECT>>, ListEntry, "InsertTailList";
    entry_is_freed_while_it_is_on_a_list:
        two::<Lists<FREES_LINKED>>, two::<Lists<CORRECT>>, ListEntry, "has freed";
    two_threads_use_a_list_without_a_lock:
        two::<Lists<HAS_NO_LOCK>>, two::<Lists<CORRECT>>, PlainMemory, "";
    interlocked_list_is_used_without_its_lock:
        two::<Lists<REMOVES_WITHOUT_LOCK>>, two::<Lists<INTERLOCKED>>, PlainMemory, "";
    singly_linked_list_has_two_locks:
        one::<Lists<HAS_TWO_LOCKS>>, one::<Lists<SINGLE>>, InterlockedLock, "";
    entry_of_a_sequenced_list_is_not_aligned:
        one::<Lists<IS_NOT_ALIGNED>>, one::<Lists<SEQUENCED>>, Pointer, "multiple of 16";
    address_inside_a_block_is_freed_to_a_zone:
        one::<Zones<FREES_INSIDE>>, one::<Zones<CORRECT>>, ZoneBlock, "not the start";
    segment_of_a_zone_is_freed:
        one::<Zones<FREES_SEGMENT>>, one::<Zones<CORRECT>>, FreedMemory, "";
    block_of_the_pool_is_freed_to_a_lookaside_list:
        one::<Lookaside<FREES_FROM_POOL>>, one::<Lookaside<CORRECT>>, Pool, "lookaside";
    lookaside_list_is_not_deleted:
        one::<Lookaside<IS_NOT_DELETED>>, one::<Lookaside<CORRECT>>, Pool, "lookaside";
    block_is_freed_to_its_lookaside_list_twice:
        one::<Lookaside<FREES_TWICE>>, one::<Lookaside<CORRECT>>, ListEntry, "already on the list";
    lookaside_list_is_used_after_it_was_deleted:
        one::<Lookaside<FREES_AFTER_DELETE>>, one::<Lookaside<CORRECT>>, Pool, "lookaside";
}
