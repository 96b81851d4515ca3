//! Correct drivers of a style that is documented and not common. Some have a mistake that is close.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::{from_ref, null_mut},
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicPtr, Ordering::SeqCst},
    },
};

use nt::{
    DEVICE_OBJECT, EX_RUNDOWN_REF, FAST_MUTEX, FILE_OBJECT, IO_REMOVE_LOCK, IO_WORKITEM, IRP, KDPC,
    KEVENT, KSEMAPHORE, KTIMER, LIST_ENTRY, NTSTATUS, STATUS_CANCELLED, STATUS_PENDING,
    STATUS_SUCCESS,
    interlocked::{
        InterlockedCompareExchange, InterlockedDecrement, InterlockedExchange, InterlockedIncrement,
    },
    irp as io,
};
use ntmodel::{Access, Driver, Kernel, User};

use crate::{
    call::{
        acquire_remove_lock, create_named_device, initialise_dpc, join_thread, on_completion,
        queue_work, spawn, wait, with_string,
    },
    filters::{Function, LATER, NOW},
    frame::{
        CORRECT, Lock, TAG, get, initialise_event, put, release_cancel, set_event, with_fast_mutex,
    },
    steps::{
        FIRST, SECOND, Stage, Steps, cancel, complete, end_of, entry, lower, mark,
        one_request as one, two_requests as two,
    },
};

/// Calls the routines that may be called at `DISPATCH_LEVEL` while it holds a spin lock.
struct UnderLock;

struct Objects {
    lock: Lock,
    other: Lock,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    event: UnsafeCell<KEVENT>,
    semaphore: UnsafeCell<KSEMAPHORE>,
    rundown: UnsafeCell<EX_RUNDOWN_REF>,
    remove_lock: UnsafeCell<IO_REMOVE_LOCK>,
    item: Cell<*mut IO_WORKITEM>,
}

unsafe extern "C" fn sets(_: *mut DEVICE_OBJECT, event: *mut c_void) {
    set_event(event.cast());
}

impl Objects {
    fn call_all(&self, device: *mut DEVICE_OBJECT, irp: *mut IRP) {
        nt!(KeSetTimer(self.timer.get(), -100_000, self.dpc.get()));
        nt!(KeCancelTimer(self.timer.get()));
        nt!(KeReadStateTimer(self.timer.get()));
        nt!(KeInsertQueueDpc(self.dpc.get(), null_mut(), null_mut()));
        nt!(KeRemoveQueueDpc(self.dpc.get()));
        nt!(KeReleaseSemaphore(self.semaphore.get(), 0, 1, 0));
        let mut none = 0;
        let status = nt!(KeWaitForSingleObject(
            self.semaphore.get().cast(),
            0,
            0,
            0,
            &raw mut none
        ));
        assert_eq!(status, STATUS_SUCCESS);
        assert_ne!(nt!(ExAcquireRundownProtection(self.rundown.get())), 0);
        nt!(ExReleaseRundownProtection(self.rundown.get()));
        let tag = irp.cast();
        acquire_remove_lock(self.remove_lock.get(), tag, 32);
        nt!(IoReleaseRemoveLockEx(self.remove_lock.get(), tag, 32));
        let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 16, TAG));
        let mdl = nt!(IoAllocateMdl(block, 16, 0, 0, null_mut()));
        nt!(MmBuildMdlForNonPagedPool(mdl));
        nt!(IoFreeMdl(mdl));
        nt!(ExFreePoolWithTag(block, TAG));
        let own = nt!(IoAllocateIrp(1, 0));
        nt!(IoFreeIrp(own));
        nt!(ObfReferenceObject(device.cast()));
        nt!(ObfDereferenceObject(device.cast()));
        nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<UnderLock>)));
        nt!(irp::IoSetCancelRoutine(irp, None));
        let mut time = 0;
        nt!(KeQuerySystemTime(&raw mut time));
        nt!(KeQueryTickCount(&raw mut time));
        nt!(KeAcquireSpinLockAtDpcLevel(self.other.get()));
        nt!(KeReleaseSpinLockFromDpcLevel(self.other.get()));
        queue_work(self.item.get(), sets, self.event.get().cast());
    }
}

impl Steps for UnderLock {
    type Own = Objects;

    fn add(device: *mut DEVICE_OBJECT, own: &Objects) {
        own.lock.initialise();
        own.other.initialise();
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_dpc(own.dpc.get(), own, |_: &Objects| ());
        initialise_event(own.event.get());
        nt!(KeInitializeSemaphore(own.semaphore.get(), 0, 1));
        nt!(ExInitializeRundownProtection(own.rundown.get()));
        nt!(IoInitializeRemoveLockEx(own.remove_lock.get(), 0, 0, 0, 32));
        own.item.set(nt!(IoAllocateWorkItem(device)));
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Objects, irp: *mut IRP, _: u32) -> NTSTATUS {
        own.lock.with(|| own.call_all(device, irp));
        wait(own.event.get());
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Objects) {
        nt!(KeFlushQueuedDpcs());
        nt!(IoFreeWorkItem(own.item.get()));
        acquire_remove_lock(own.remove_lock.get(), null_mut(), 32);
        nt!(IoReleaseRemoveLockAndWaitEx(
            own.remove_lock.get(),
            null_mut(),
            32
        ));
    }
}

const COMPLETES_NEVER: u8 = 1;

/// A Cancel routine wakes a thread, which completes the request.
struct Wakes<const M: u8>;

struct Woken {
    lock: Lock,
    irp: Cell<*mut IRP>,
    cancelled: Cell<*mut IRP>,
    event: UnsafeCell<KEVENT>,
    stopped: AtomicI32,
    thread: Cell<*mut c_void>,
}

fn ends_cancelled<const M: u8>(own: &Woken) {
    loop {
        wait(own.event.get());
        let irp = own.lock.with(|| own.cancelled.replace(null_mut()));
        if !irp.is_null() && M != COMPLETES_NEVER {
            complete(irp, STATUS_CANCELLED);
        }
        if InterlockedCompareExchange(&own.stopped, 0, 0) != 0 {
            return;
        }
    }
}

impl<const M: u8> Steps for Wakes<M> {
    type Own = Woken;

    fn add(_: *mut DEVICE_OBJECT, own: &Woken) {
        own.lock.initialise();
        initialise_event(own.event.get());
        own.thread.set(spawn(own, ends_cancelled::<M>));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Woken, irp: *mut IRP, _: u32) -> NTSTATUS {
        mark(irp);
        let irql = own.lock.acquire();
        nt!(irp::IoSetCancelRoutine(irp, Some(cancel::<Self>)));
        let is_cancelled =
            nt!(irp::is_cancel_requested(irp)) && nt!(irp::IoSetCancelRoutine(irp, None)).is_some();
        if !is_cancelled {
            own.irp.set(irp);
        }
        own.lock.release(irql);
        if is_cancelled {
            complete(irp, STATUS_CANCELLED);
        }
        STATUS_PENDING
    }

    fn cancel(own: &Woken, irp: *mut IRP) {
        release_cancel(nt!(irp::cancel_irql(irp)));
        own.lock.with(|| {
            own.irp.set(null_mut());
            own.cancelled.set(irp);
        });
        set_event(own.event.get());
    }

    fn cleanup(own: &Woken, _: *mut FILE_OBJECT) {
        let irp = own.lock.with(|| {
            let irp = own.irp.replace(null_mut());
            let is_ours = !irp.is_null() && nt!(irp::IoSetCancelRoutine(irp, None)).is_some();
            if is_ours { irp } else { null_mut() }
        });
        if !irp.is_null() {
            complete(irp, STATUS_CANCELLED);
        }
    }

    fn remove(own: &Woken) {
        InterlockedExchange(&own.stopped, 1);
        set_event(own.event.get());
        join_thread(own.thread.get());
    }
}

fn cancelled<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Wakes<M>>(kernel);
    let file = Arc::clone(&stage.file);
    let canceller = kernel.actor("canceller", move || file.cancel_all());
    let request = stage.send(FIRST);
    canceller.join();
    stage.file.close_handle();
    end_of(&request);
    stage.tear_down();
}

const USES_AFTER_COUNT: u8 = 1;
const WAITS_AT_ZERO: u8 = 2;

/// Counts its requests and itself, as the function driver of the sample `toaster` does, in place of a remove lock. A thread uses the
/// device while it counts.
struct Counts<const M: u8>;

struct Counted {
    lock: Lock,
    count: AtomicI32,
    none_left: UnsafeCell<KEVENT>,
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
}

impl Counted {
    fn release(&self) {
        if InterlockedDecrement(&self.count) == 0 {
            set_event(self.none_left.get());
        }
    }
}

impl<const M: u8> Steps for Counts<M> {
    type Own = Counted;

    fn add(_: *mut DEVICE_OBJECT, own: &Counted) {
        own.lock.initialise();
        own.count.store(i32::from(M != WAITS_AT_ZERO), SeqCst);
        initialise_event(own.none_left.get());
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_dpc(own.dpc.get(), own, |own: &Counted| {
            if M == USES_AFTER_COUNT {
                own.release();
                own.lock.with(|| ());
            } else {
                own.lock.with(|| ());
                own.release();
            }
        });
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Counted, irp: *mut IRP, _: u32) -> NTSTATUS {
        InterlockedIncrement(&own.count);
        if nt!(KeSetTimer(own.timer.get(), -10, own.dpc.get())) != 0 {
            own.release();
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Counted) {
        if M == WAITS_AT_ZERO {
            if InterlockedCompareExchange(&own.count, 0, 0) != 0 {
                wait(own.none_left.get());
            }
        } else {
            own.release();
            wait(own.none_left.get());
        }
    }

    fn unload() {
        nt!(KeFlushQueuedDpcs());
    }
}

const CONTINUES: u8 = 1;

/// A filter whose completion routine keeps the IRP for a work item, which ends it.
struct Later<const M: u8>;

struct Kept {
    item: Cell<*mut IO_WORKITEM>,
}

unsafe extern "C" fn ends(_: *mut DEVICE_OBJECT, irp: *mut c_void) {
    nt!(IofCompleteRequest(irp.cast(), 0));
}

unsafe extern "C" fn keeps<const M: u8>(
    _: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    own: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the device stays while it has a request.
    let own = unsafe { &*own.cast::<Kept>() };
    queue_work(own.item.get(), ends, irp.cast());
    if M == CONTINUES {
        return STATUS_SUCCESS;
    }
    nt::STATUS_MORE_PROCESSING_REQUIRED
}

impl<const M: u8> Steps for Later<M> {
    type Own = Kept;

    fn add(device: *mut DEVICE_OBJECT, own: &Kept) {
        own.item.set(nt!(IoAllocateWorkItem(device)));
    }

    fn control(device: *mut DEVICE_OBJECT, own: &Kept, irp: *mut IRP, _: u32) -> NTSTATUS {
        mark(irp);
        nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
        on_completion(irp, keeps::<M>, from_ref(own).cast_mut().cast());
        nt!(IofCallDriver(lower::<Self>(device), irp));
        STATUS_PENDING
    }

    fn remove(own: &Kept) {
        nt!(IoFreeWorkItem(own.item.get()));
    }
}

fn ended_later<const M: u8, const CODE: u32>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Function>, &[entry::<Later<M>>]);
    end_of(&stage.send(CODE));
    stage.tear_down();
}

const LEAVES_HEAD: u8 = 1;

/// Takes all requests of its queue at once, and links them to another head.
struct Moves<const M: u8>;

struct Queue {
    lock: Lock,
    list: UnsafeCell<LIST_ENTRY>,
}

impl Queue {
    fn end_all<const M: u8>(&self) {
        let mut own = LIST_ENTRY {
            Flink: null_mut(),
            Blink: null_mut(),
        };
        let (own, list) = (&raw mut own, self.list.get());
        nt!(list::InitializeListHead(own));
        self.lock.with(|| {
            if nt!(list::IsListEmpty(list)) {
                return;
            }
            let all = get(list);
            put(own, all);
            // SAFETY: the entries are those of pended requests, and under the lock.
            unsafe { (*all.Flink).Blink = own };
            // SAFETY: as above.
            unsafe { (*all.Blink).Flink = own };
            if M != LEAVES_HEAD {
                nt!(list::InitializeListHead(list));
            }
        });
        while !nt!(list::IsListEmpty(own)) {
            let entry = get(own).Flink;
            nt!(list::RemoveEntryList(entry));
            complete(nt!(irp::from_list_entry(entry)), STATUS_SUCCESS);
        }
    }
}

impl<const M: u8> Steps for Moves<M> {
    type Own = Queue;

    fn add(_: *mut DEVICE_OBJECT, own: &Queue) {
        own.lock.initialise();
        nt!(list::InitializeListHead(own.list.get()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Queue, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            mark(irp);
            own.lock
                .with(|| nt!(list::InsertTailList(own.list.get(), io::list_entry(irp))));
            return STATUS_PENDING;
        }
        own.end_all::<M>();
        complete(irp, STATUS_SUCCESS)
    }

    fn cleanup(own: &Queue, _: *mut FILE_OBJECT) {
        own.end_all::<M>();
    }
}

fn moved<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Moves<M>>(kernel);
    let one = stage.send(FIRST);
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || {
        end_of(&file.device_control(SECOND, &[], Vec::new()));
    });
    let two = stage.send(FIRST);
    other.join();
    drop((one, two));
    stage.tear_down();
}

/// Creates a named device object for all of its devices when the first one starts, and deletes it when the last one is removed, as
/// the filter of the sample `toaster` does. A file of it can be open then.
struct Sideband;

const CONTROL: &str = r"\Device\Sideband";
const LINK: &str = r"\DosDevices\Sideband";

struct Instances {
    control: AtomicPtr<DEVICE_OBJECT>,
    mutex: UnsafeCell<FAST_MUTEX>,
}

impl Steps for Sideband {
    type Own = Instances;

    fn add(_: *mut DEVICE_OBJECT, own: &Instances) {
        nt!(ExInitializeFastMutex(own.mutex.get()));
    }

    fn pass_down(device: *mut DEVICE_OBJECT, own: &Instances, irp: *mut IRP) -> NTSTATUS {
        let is_pnp = nt!(irp::major_function(irp)) == nt::IRP_MJ_PNP;
        let starts = is_pnp && nt!(irp::minor_function(irp)) == nt::IRP_MN_START_DEVICE;
        nt!(irp::IoSkipCurrentIrpStackLocation(irp));
        let status = nt!(IofCallDriver(lower::<Self>(device), irp));
        if starts {
            // SAFETY: the device object is the driver's.
            let driver = unsafe { (*device).DriverObject };
            let control = create_named_device(driver, 64, CONTROL, 0, 0).expect("it is new");
            let linked = with_string(LINK, |link| {
                with_string(CONTROL, |name| nt!(IoCreateSymbolicLink(link, name)))
            });
            assert_eq!(linked, STATUS_SUCCESS);
            // SAFETY: the driver has just created it.
            let flags = unsafe { &mut (*control).Flags };
            *flags &= !nt::DO_DEVICE_INITIALIZING;
            with_fast_mutex(own.mutex.get(), || own.control.store(control, SeqCst));
        }
        status
    }

    fn remove(own: &Instances) {
        let control = with_fast_mutex(own.mutex.get(), || own.control.load(SeqCst));
        with_string(LINK, |link| nt!(IoDeleteSymbolicLink(link)));
        nt!(IoDeleteDevice(control));
    }
}

fn sideband_is_used(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(kernel, entry::<Sideband>) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    let file = kernel.open_device(LINK, Access::ReadWrite, User::Administrator);
    let file = file.expect("it opens");
    end_of(&file.device_control(FIRST, &[], Vec::new()));
    device.remove().expect("no file of the stack is open");
    // The device object was deleted, and stays until the file is closed.
    file.close();
    driver.unload();
}

/// A DPC that queues itself, and one whose timer it sets and cancels, until the driver stops them.
struct Repeats;

struct Repeated {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    runs: AtomicI32,
    done: UnsafeCell<KEVENT>,
}

impl Steps for Repeats {
    type Own = Repeated;

    fn add(_: *mut DEVICE_OBJECT, own: &Repeated) {
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_event(own.done.get());
        initialise_dpc(
            own.dpc.get(),
            own,
            |own: &Repeated| match InterlockedIncrement(&own.runs) {
                1 => {
                    nt!(KeInsertQueueDpc(own.dpc.get(), null_mut(), null_mut()));
                }
                2 => {
                    nt!(KeSetTimer(own.timer.get(), -1_000_000, own.dpc.get()));
                    nt!(KeCancelTimer(own.timer.get()));
                    nt!(KeSetTimer(own.timer.get(), -10, own.dpc.get()));
                }
                _ => set_event(own.done.get()),
            },
        );
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Repeated, irp: *mut IRP, _: u32) -> NTSTATUS {
        nt!(KeInsertQueueDpc(own.dpc.get(), null_mut(), null_mut()));
        wait(own.done.get());
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Repeated) {
        nt!(KeFlushQueuedDpcs());
        nt!(KeCancelTimer(own.timer.get()));
        nt!(KeFlushQueuedDpcs());
    }
}

pairs! {
    request_that_was_cancelled_is_not_completed:
        cancelled::<COMPLETES_NEVER>, cancelled::<CORRECT>, IrpProcessingComplete, "";
    device_is_used_after_its_last_request_was_counted:
        one::<Counts<USES_AFTER_COUNT>>, one::<Counts<CORRECT>>, FreedMemory, "";
    count_is_read_while_a_request_ends:
        one::<Counts<WAITS_AT_ZERO>>, two::<Counts<CORRECT>>, FreedMemory, "";
    irp_continues_and_is_ended_by_a_work_item:
        ended_later::<CONTINUES, LATER>, ended_later::<CORRECT, LATER>, WorkItem, "is freed while it is queued";
    head_of_a_list_keeps_the_entries_that_were_moved:
        moved::<LEAVES_HEAD>, moved::<CORRECT>, ListEntry, "";
}

#[test]
fn routines_are_called_under_a_spin_lock() {
    crate::passes(one::<UnderLock>);
}

#[test]
fn request_is_ended_by_a_work_item() {
    crate::passes(ended_later::<CORRECT, NOW>);
}

#[test]
fn device_object_is_deleted_while_its_file_is_open() {
    crate::passes(sideband_is_used);
}

#[test]
fn dpc_queues_itself() {
    crate::passes(one::<Repeats>);
}
