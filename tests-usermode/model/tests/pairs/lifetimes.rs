//! Objects of several threads: a list without a lock, references, a semaphore, and the end of a thread.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
    sync::atomic::{AtomicI32, AtomicPtr},
};

use nt::{
    DEVICE_OBJECT, IRP, KEVENT, KMUTEX, KSEMAPHORE, NTSTATUS, STATUS_PENDING, STATUS_SUCCESS,
    interlocked::{
        InterlockedCompareExchangePointer, InterlockedDecrement, InterlockedExchangePointer,
        InterlockedIncrement,
    },
    irp as io,
};

use crate::{
    call::{join_thread, spawn, wait},
    frame::{CORRECT, Lock, allocate, free, initialise_event, set_event},
    races::{FAULTY, Listed},
    steps::{FIRST, SECOND, Steps, complete, mark, one_request as one, two_requests as two},
};

/// A list without a lock, whose first entry is exchanged.
struct Exchanges<const M: u8>;

struct Node {
    next: Cell<*mut Node>,
}

struct Nodes {
    lock: Lock,
    head: AtomicPtr<Node>,
}

impl Nodes {
    fn pop<const M: u8>(&self) -> *mut Node {
        if M != FAULTY {
            return self.lock.with(|| self.try_pop());
        }
        self.try_pop()
    }

    fn try_pop(&self) -> *mut Node {
        loop {
            let head = InterlockedCompareExchangePointer(&self.head, null_mut(), null_mut());
            if head.is_null() {
                return head;
            }
            // SAFETY: the node is on the list, if no other thread has removed it.
            let next = unsafe { &*head }.next.get();
            if InterlockedCompareExchangePointer(&self.head, next, head) == head {
                return head;
            }
        }
    }

    fn push<const M: u8>(&self, node: *mut Node) {
        let irql = (M != FAULTY).then(|| self.lock.acquire());
        loop {
            let head = InterlockedCompareExchangePointer(&self.head, null_mut(), null_mut());
            // SAFETY: the node is this routine's until it is on the list.
            unsafe { &*node }.next.set(head);
            if InterlockedCompareExchangePointer(&self.head, node, head) == head {
                break;
            }
        }
        if let Some(irql) = irql {
            self.lock.release(irql);
        }
    }
}

impl<const M: u8> Steps for Exchanges<M> {
    type Own = Nodes;

    fn add(_: *mut DEVICE_OBJECT, own: &Nodes) {
        own.lock.initialise();
        own.push::<CORRECT>(allocate());
        own.push::<CORRECT>(allocate());
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Nodes, irp: *mut IRP, code: u32) -> NTSTATUS {
        let first = own.pop::<M>();
        if code == FIRST {
            let second = own.pop::<M>();
            if !second.is_null() {
                free(second);
            }
        }
        if !first.is_null() {
            own.push::<M>(first);
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Nodes) {
        loop {
            let node = own.pop::<CORRECT>();
            if node.is_null() {
                return;
            }
            free(node);
        }
    }
}

/// Looks up an object, and references it under the lock or after the lock was released.
struct References<const M: u8>;

struct Object {
    references: AtomicI32,
}

struct Current {
    lock: Lock,
    object: AtomicPtr<Object>,
}

fn dereference(object: *mut Object) {
    // SAFETY: the caller has a reference.
    if InterlockedDecrement(&unsafe { &*object }.references) == 0 {
        free(object);
    }
}

fn reference(object: *mut Object) {
    if !object.is_null() {
        // SAFETY: the object is there, in a correct driver.
        InterlockedIncrement(&unsafe { &*object }.references);
    }
}

impl Current {
    fn remove_object(&self) {
        let object = self
            .lock
            .with(|| InterlockedExchangePointer(&self.object, null_mut()));
        if !object.is_null() {
            dereference(object);
        }
    }
}

impl<const M: u8> Steps for References<M> {
    type Own = Current;

    fn add(_: *mut DEVICE_OBJECT, own: &Current) {
        own.lock.initialise();
        let object = allocate::<Object>();
        reference(object);
        InterlockedExchangePointer(&own.object, object);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Current, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == SECOND {
            own.remove_object();
            return complete(irp, STATUS_SUCCESS);
        }
        let object = own.lock.with(|| {
            let object = InterlockedCompareExchangePointer(&own.object, null_mut(), null_mut());
            if M != FAULTY {
                reference(object);
            }
            object
        });
        if M == FAULTY {
            reference(object);
        }
        if !object.is_null() {
            dereference(object);
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Current) {
        own.remove_object();
    }
}

/// Counts a request before or after it is inserted into the list. A thread takes one for each that is counted.
struct Counts<const M: u8>;

struct Counted {
    listed: Listed,
    count: UnsafeCell<KSEMAPHORE>,
    thread: Cell<*mut c_void>,
}

fn takes(own: &Counted) {
    wait(own.count.get());
    let list = own.listed.list.get();
    let entry = nt!(ExInterlockedRemoveHeadList(list, own.listed.lock.get()));
    complete(nt!(irp::from_list_entry(entry)), STATUS_SUCCESS);
}

impl<const M: u8> Steps for Counts<M> {
    type Own = Counted;

    fn add(_: *mut DEVICE_OBJECT, own: &Counted) {
        own.listed.initialise();
        nt!(KeInitializeSemaphore(own.count.get(), 0, 8));
        own.thread.set(spawn(own, takes));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Counted, irp: *mut IRP, _: u32) -> NTSTATUS {
        mark(irp);
        let count = || nt!(KeReleaseSemaphore(own.count.get(), 0, 1, 0));
        if M == FAULTY {
            count();
        }
        let (list, lock) = (own.listed.list.get(), own.listed.lock.get());
        nt!(ExInterlockedInsertTailList(list, io::list_entry(irp), lock));
        if M != FAULTY {
            count();
        }
        STATUS_PENDING
    }

    fn remove(own: &Counted) {
        join_thread(own.thread.get());
    }
}

/// Waits for a thread under a mutex that the thread acquires, or after it was released.
struct Joins<const M: u8>;

struct Joined {
    mutex: UnsafeCell<KMUTEX>,
}

fn acquires(own: &Joined) {
    wait(own.mutex.get());
    nt!(KeReleaseMutex(own.mutex.get(), 0));
}

impl<const M: u8> Steps for Joins<M> {
    type Own = Joined;

    fn add(_: *mut DEVICE_OBJECT, own: &Joined) {
        nt!(KeInitializeMutex(own.mutex.get(), 0));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Joined, irp: *mut IRP, _: u32) -> NTSTATUS {
        wait(own.mutex.get());
        let thread = spawn(own, acquires);
        if M == FAULTY {
            join_thread(thread);
        }
        nt!(KeReleaseMutex(own.mutex.get(), 0));
        if M != FAULTY {
            join_thread(thread);
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// Waits for an event that its thread sets when it has almost ended, or for its end.
struct Ends<const M: u8>;

struct Ended {
    event: UnsafeCell<KEVENT>,
    lock: Lock,
    thread: Cell<*mut c_void>,
}

fn ends(own: &Ended) {
    own.lock.with(|| ());
    set_event(own.event.get());
}

impl<const M: u8> Steps for Ends<M> {
    type Own = Ended;

    fn add(_: *mut DEVICE_OBJECT, own: &Ended) {
        initialise_event(own.event.get());
        own.lock.initialise();
        own.thread.set(spawn(own, ends));
    }

    fn remove(own: &Ended) {
        if M == FAULTY {
            wait(own.event.get());
            nt!(ZwClose(own.thread.get()));
        } else {
            join_thread(own.thread.get());
        }
    }
}

pairs! {
    first_entry_is_exchanged_after_it_has_come_back:
        two::<Exchanges<FAULTY>>, two::<Exchanges<CORRECT>>, FreedMemory, "";
    object_is_referenced_after_the_lock_was_released:
        two::<References<FAULTY>>, two::<References<CORRECT>>, Pool, "was freed before";
    request_is_counted_before_it_is_on_the_list:
        one::<Counts<FAULTY>>, one::<Counts<CORRECT>>, Pointer, "";
    thread_is_waited_for_under_its_mutex:
        one::<Joins<FAULTY>>, one::<Joins<CORRECT>>, IrpProcessingComplete, "waits for";
    thread_sets_an_event_before_it_ends:
        one::<Ends<FAULTY>>, one::<Ends<CORRECT>>, SystemThread, "";
}
