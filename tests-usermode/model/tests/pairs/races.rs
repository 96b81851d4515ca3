//! Races of requests with each other, with a timeout, and with the cleanup of a file.

use std::{
    cell::{Cell, UnsafeCell},
    ptr::null_mut,
    sync::Arc,
};

use nt::{
    DEVICE_OBJECT, FILE_OBJECT, IRP, KDPC, KEVENT, KMUTEX, KTIMER, LIST_ENTRY, NTSTATUS,
    STATUS_CANCELLED, STATUS_PENDING, STATUS_SUCCESS, STATUS_TIMEOUT, irp as io,
};
use ntmodel::{Access, Kernel};

use crate::{
    call::{initialise_dpc, wait},
    frame::{CORRECT, Lock, allocate, free, get, initialise_event, set_event, wait_for},
    steps::{
        FIRST, SECOND, Stage, Steps, complete, end_of, mark, one_request as one,
        two_requests as two,
    },
};

pub const FAULTY: u8 = 1;

/// Allocates a block at the first request that needs it.
struct Allocates<const M: u8>;

struct Block {
    mutex: UnsafeCell<KMUTEX>,
    block: Cell<*mut u64>,
}

impl Block {
    fn initialise(&self) {
        nt!(KeInitializeMutex(self.mutex.get(), 0));
    }

    /// Runs code under the mutex, or without it.
    fn with<const M: u8>(&self, code: impl FnOnce()) {
        if M == FAULTY {
            return code();
        }
        nt!(KeEnterCriticalRegion());
        wait(self.mutex.get());
        code();
        nt!(KeReleaseMutex(self.mutex.get(), 0));
        nt!(KeLeaveCriticalRegion());
    }
}

impl<const M: u8> Steps for Allocates<M> {
    type Own = Block;

    fn add(_: *mut DEVICE_OBJECT, own: &Block) {
        own.initialise();
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Block, irp: *mut IRP, _: u32) -> NTSTATUS {
        own.with::<M>(|| {
            if own.block.get().is_null() {
                own.block.set(allocate());
            }
        });
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Block) {
        free(own.block.get());
    }
}

/// Frees its block at the first request.
struct Frees<const M: u8>;

impl<const M: u8> Steps for Frees<M> {
    type Own = Block;

    fn add(_: *mut DEVICE_OBJECT, own: &Block) {
        own.initialise();
        own.block.set(allocate());
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Block, irp: *mut IRP, _: u32) -> NTSTATUS {
        own.with::<M>(|| {
            if !own.block.get().is_null() {
                free(own.block.get());
                own.block.set(null_mut());
            }
        });
        complete(irp, STATUS_SUCCESS)
    }
}

/// Waits for a DPC with a timeout, and frees the event of it if the wait has succeeded; `STATUS_TIMEOUT` is no error.
struct Hurries<const M: u8>;

struct Hurried {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    event: Cell<*mut KEVENT>,
}

impl<const M: u8> Steps for Hurries<M> {
    type Own = Hurried;

    fn add(_: *mut DEVICE_OBJECT, own: &Hurried) {
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_dpc(own.dpc.get(), own, |own: &Hurried| {
            set_event(own.event.get());
        });
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Hurried, irp: *mut IRP, _: u32) -> NTSTATUS {
        let event = allocate::<KEVENT>();
        initialise_event(event);
        own.event.set(event);
        nt!(KeSetTimer(own.timer.get(), -200, own.dpc.get()));
        let status = wait_for(event, 100);
        if M != FAULTY && status == STATUS_TIMEOUT && nt!(KeCancelTimer(own.timer.get())) == 0 {
            wait(event);
        }
        if status >= 0 {
            free(event);
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(_: &Hurried) {
        let mut later = -1_000;
        nt!(KeDelayExecutionThread(0, 0, &raw mut later));
        nt!(KeFlushQueuedDpcs());
    }
}

/// A list of pended requests, which `IRP_MJ_CLEANUP` walks. It releases the lock for each request that it completes.
struct Walks<const M: u8>;

pub struct Listed {
    pub lock: Lock,
    pub list: UnsafeCell<LIST_ENTRY>,
}

impl Listed {
    pub fn initialise(&self) {
        self.lock.initialise();
        nt!(list::InitializeListHead(self.list.get()));
    }

    fn insert(&self, irp: *mut IRP) -> NTSTATUS {
        mark(irp);
        self.lock
            .with(|| nt!(list::InsertTailList(self.list.get(), io::list_entry(irp))));
        STATUS_PENDING
    }

    /// Removes the first request of a file, or of any.
    fn remove(&self, file: *mut FILE_OBJECT) -> Option<*mut IRP> {
        let irql = self.lock.acquire();
        let mut found = None;
        let mut entry = get(self.list.get()).Flink;
        while entry != self.list.get() {
            let irp = nt!(irp::from_list_entry(entry));
            if file.is_null() || nt!(irp::file_object(irp)) == file {
                nt!(list::RemoveEntryList(entry));
                found = Some(irp);
                break;
            }
            entry = get(entry).Flink;
        }
        self.lock.release(irql);
        found
    }
}

impl<const M: u8> Steps for Walks<M> {
    type Own = Listed;

    fn add(_: *mut DEVICE_OBJECT, own: &Listed) {
        own.initialise();
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Listed, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            return own.insert(irp);
        }
        if let Some(first) = own.remove(null_mut()) {
            complete(first, STATUS_SUCCESS);
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn cleanup(own: &Listed, file: *mut FILE_OBJECT) {
        if M != FAULTY {
            while let Some(irp) = own.remove(file) {
                complete(irp, STATUS_CANCELLED);
            }
            return;
        }
        let mut irql = own.lock.acquire();
        let mut entry = get(own.list.get()).Flink;
        while entry != own.list.get() {
            let irp = nt!(irp::from_list_entry(entry));
            // Another thread can remove this one while the lock is not held.
            let next = get(entry).Flink;
            if nt!(irp::file_object(irp)) == file {
                nt!(list::RemoveEntryList(entry));
                own.lock.release(irql);
                complete(irp, STATUS_CANCELLED);
                irql = own.lock.acquire();
            }
            entry = next;
        }
        own.lock.release(irql);
    }
}

/// Closes a file with two pended requests while another file's request completes the first one on the list.
fn walked<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Walks<M>>(kernel);
    let device = stage.device.clone();
    let file = device.open_anyway(Access::ReadWrite).expect("it opens");
    drop([FIRST, FIRST].map(|code| file.device_control(code, &[], Vec::new())));
    let closer = kernel.actor("closer", move || file.close());
    end_of(&stage.send(SECOND));
    closer.join();
    stage.tear_down();
}

pairs! {
    two_requests_allocate_a_block:
        two::<Allocates<FAULTY>>, two::<Allocates<CORRECT>>, Pool, "";
    two_requests_free_a_block:
        two::<Frees<FAULTY>>, two::<Frees<CORRECT>>, Pool, "was freed before";
    timeout_is_no_error:
        one::<Hurries<FAULTY>>, one::<Hurries<CORRECT>>, FreedMemory, "";
    next_entry_is_remembered_while_the_lock_is_released:
        walked::<FAULTY>, walked::<CORRECT>, FreedMemory, "";
}
