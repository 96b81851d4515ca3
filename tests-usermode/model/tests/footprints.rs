//! Two steps of threads whose memory is guarded, and whose order makes a difference: the search tries both orders.

#[macro_use]
mod call;
mod common;

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::null_mut,
};

use call::{acquire_remove_lock, create_device, initialise_dpc, join_thread, spawn, wait};
use common::{delete, initialise, scenario, set};
use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IO_CSQ, IO_REMOVE_LOCK, IRP, KDPC, KEVENT, KSPIN_LOCK,
    STATUS_SUCCESS,
};
use ntmodel::{
    Rule,
    explore::{Search, explore},
};

const GUARDED: Search = Search::guarded(100_000);

/// Checks that a driver breaks a rule in some order of its threads, whose memory is guarded.
#[track_caller]
fn breaks(body: impl common::Body, rule: Rule) {
    let found = explore(GUARDED, scenario(body)).expect_err("a rule is broken");
    assert_eq!(found.violation.rule, rule, "\n{found}");
}

/// Checks that a driver breaks no rule in any order.
#[track_caller]
fn holds(body: impl common::Body) {
    let explored = explore(GUARDED, scenario(body)).unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.complete, "{explored:?}");
}

/// The size of the remove lock of a free build.
const SIZE: u32 = 0x20;

/// A request that one thread queues and another one takes. With `LATE` it gets its hold of the remove lock after it was queued.
struct Queue<const LATE: bool> {
    remove_lock: UnsafeCell<IO_REMOVE_LOCK>,
    lock: UnsafeCell<KSPIN_LOCK>,
    is_queued: Cell<bool>,
    event: UnsafeCell<KEVENT>,
}

impl<const LATE: bool> Queue<LATE> {
    fn tag(&self) -> *mut c_void {
        self.is_queued.as_ptr().cast()
    }

    fn under_lock<R>(&self, work: impl FnOnce() -> R) -> R {
        let irql = nt!(KeAcquireSpinLockRaiseToDpc(self.lock.get()));
        let result = work();
        nt!(KeReleaseSpinLock(self.lock.get(), irql));
        result
    }

    fn acquire(&self) {
        let status = acquire_remove_lock(self.remove_lock.get(), self.tag(), SIZE);
        assert_eq!(status, STATUS_SUCCESS);
    }

    fn take(&self) {
        if self.under_lock(|| self.is_queued.replace(false)) {
            nt!(IoReleaseRemoveLockEx(
                self.remove_lock.get(),
                self.tag(),
                SIZE
            ));
        }
    }
}

fn queued<const LATE: bool>(device: *mut DEVICE_OBJECT) {
    let queue = Box::new(Queue::<LATE> {
        remove_lock: UnsafeCell::new(IO_REMOVE_LOCK { Common: [0; 4] }),
        lock: UnsafeCell::new(0),
        is_queued: Cell::new(false),
        event: UnsafeCell::new(common::event()),
    });
    initialise(queue.event.get());
    nt!(IoInitializeRemoveLockEx(
        queue.remove_lock.get(),
        1,
        0,
        0,
        SIZE
    ));
    nt!(KeInitializeSpinLock(queue.lock.get()));
    let thread = spawn(&*queue, Queue::<LATE>::take);
    if !LATE {
        queue.acquire();
    }
    queue.under_lock(|| queue.is_queued.set(true));
    if LATE {
        queue.acquire();
    }
    // Only the acquisition is in its step.
    set(queue.event.get());
    join_thread(thread);
    queue.take();
    drop(queue);
    delete(device);
}

#[test]
fn a_hold_of_a_remove_lock_is_released_before_it_is_acquired() {
    breaks(queued::<true>, Rule::RemoveLock);
    holds(queued::<false>);
}

/// An object that the main thread uses first, and then another thread. With `WAITS` the other one waits for the main thread.
struct Shared<const WHAT: u8, const WAITS: bool> {
    object: *mut c_void,
    csq: UnsafeCell<IO_CSQ>,
    event: UnsafeCell<KEVENT>,
    begins: UnsafeCell<KEVENT>,
    thread_begins: UnsafeCell<KEVENT>,
    memory: Cell<u64>,
}

const MDL: u8 = 0;
const DELETED: u8 = 1;
const CSQ: u8 = 2;

unsafe extern "C" fn insert(_: *mut IO_CSQ, _: *mut IRP) {}
unsafe extern "C" fn remove(_: *mut IO_CSQ, _: *mut IRP) {}
unsafe extern "C" fn peek(_: *mut IO_CSQ, _: *mut IRP, _: *mut c_void) -> *mut IRP {
    null_mut()
}
unsafe extern "C" fn acquire(_: *mut IO_CSQ, _: *mut u8) {}
unsafe extern "C" fn release(_: *mut IO_CSQ, _: u8) {}
unsafe extern "C" fn complete(_: *mut IO_CSQ, _: *mut IRP) {}

impl<const WHAT: u8, const WAITS: bool> Shared<WHAT, WAITS> {
    fn new(device: *mut DEVICE_OBJECT) -> Box<Self> {
        let mut this = Box::new(Self {
            object: null_mut(),
            // SAFETY: the queue may be zeroed before it is initialised.
            csq: UnsafeCell::new(unsafe { std::mem::zeroed() }),
            event: UnsafeCell::new(common::event()),
            begins: UnsafeCell::new(common::event()),
            thread_begins: UnsafeCell::new(common::event()),
            memory: Cell::new(0),
        });
        initialise(this.event.get());
        initialise(this.begins.get());
        initialise(this.thread_begins.get());
        if WHAT == MDL {
            let memory = this.memory.as_ptr().cast();
            this.object = nt!(IoAllocateMdl(memory, 8, 0, 0, null_mut())).cast();
        }
        if WHAT == DELETED {
            // SAFETY: the device object is the driver's.
            let driver = unsafe { (*device).DriverObject };
            let other = create_device(driver, 0);
            nt!(ObfReferenceObject(other.cast()));
            delete(other);
            this.object = other.cast();
        }
        this
    }

    fn first(&self) {
        match WHAT {
            MDL => nt!(MmBuildMdlForNonPagedPool(self.object.cast())),
            DELETED => {
                let (none, offset) = (null_mut(), null_mut());
                let irp = nt!(IoBuildAsynchronousFsdRequest(
                    9,
                    self.object.cast(),
                    none,
                    0,
                    offset,
                    null_mut()
                ));
                nt!(IoFreeIrp(irp));
            }
            _ => {
                let status = nt!(IoCsqInitialize(
                    self.csq.get(),
                    Some(insert),
                    Some(remove),
                    Some(peek),
                    Some(acquire),
                    Some(release),
                    Some(complete),
                ));
                assert_eq!(status, STATUS_SUCCESS);
            }
        }
    }

    fn then(&self) {
        if WAITS {
            wait(self.event.get());
        } else {
            set(self.thread_begins.get());
        }
        match WHAT {
            MDL => nt!(IoFreeMdl(self.object.cast())),
            DELETED => {
                nt!(ObfDereferenceObject(self.object));
            }
            _ => {
                assert!(nt!(IoCsqRemoveNextIrp(self.csq.get(), null_mut())).is_null());
            }
        }
    }
}

fn shared<const WHAT: u8, const WAITS: bool>(device: *mut DEVICE_OBJECT) {
    let shared = Shared::<WHAT, WAITS>::new(device);
    let thread = spawn(&*shared, Shared::<WHAT, WAITS>::then);
    // Only this routine is in its step.
    set(shared.begins.get());
    shared.first();
    set(shared.event.get());
    join_thread(thread);
    drop(shared);
    delete(device);
}

#[test]
fn an_mdl_is_used_after_it_was_freed() {
    breaks(shared::<MDL, false>, Rule::Mdl);
    holds(shared::<MDL, true>);
}

#[test]
fn a_deleted_device_object_is_used_after_its_last_reference_was_released() {
    breaks(shared::<DELETED, false>, Rule::FreedMemory);
    holds(shared::<DELETED, true>);
}

#[test]
fn a_queue_is_used_before_it_is_initialised() {
    breaks(shared::<CSQ, false>, Rule::CancelSafeQueue);
    holds(shared::<CSQ, true>);
}

/// A DPC of the main thread's processor. With `FREES` the main thread frees a block at `DISPATCH_LEVEL` if the DPC has run before.
struct Targeted<const FREES: bool> {
    dpc: UnsafeCell<KDPC>,
    event: UnsafeCell<KEVENT>,
    has_run: Cell<bool>,
    block: *mut c_void,
}

impl<const FREES: bool> Targeted<FREES> {
    fn queues(&self) {
        nt!(KeSetTargetProcessorDpc(self.dpc.get(), 0));
        nt!(KeInsertQueueDpc(self.dpc.get(), null_mut(), null_mut()));
    }
}

fn targeted<const FREES: bool>(device: *mut DEVICE_OBJECT) {
    let targeted = Box::new(Targeted::<FREES> {
        dpc: UnsafeCell::new(KDPC { Reserved: [0; 8] }),
        event: UnsafeCell::new(common::event()),
        has_run: Cell::new(false),
        block: nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 8, 1)),
    });
    initialise(targeted.event.get());
    initialise_dpc(
        targeted.dpc.get(),
        &*targeted,
        |targeted: &Targeted<FREES>| targeted.has_run.set(true),
    );
    let thread = spawn(&*targeted, Targeted::<FREES>::queues);
    // Another thread can run after this.
    set(targeted.event.get());
    let irql = nt!(KfRaiseIrql(DISPATCH_LEVEL));
    let frees = FREES && targeted.has_run.get();
    nt!(KeLowerIrql(irql));
    if frees {
        nt!(ExFreePool(targeted.block));
    }
    join_thread(thread);
    nt!(KeFlushQueuedDpcs());
    nt!(ExFreePool(targeted.block));
    drop(targeted);
    delete(device);
}

#[test]
fn a_dpc_of_another_processor_runs_before_its_thread_raises_the_irql() {
    breaks(targeted::<true>, Rule::Pool);
    holds(targeted::<false>);
}
