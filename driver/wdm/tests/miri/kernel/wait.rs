//! Events, system threads and worker threads.

use core::ffi::c_void;
use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use nt::{
    _EVENT_TYPE, DEVICE_OBJECT, HANDLE, IO_WORKITEM, KEVENT, OBJECT_ATTRIBUTES,
    PIO_WORKITEM_ROUTINE, PKSTART_ROUTINE, STATUS_SUCCESS,
};

use super::{Sent, free, io, irql::assert_passive, lock, make, routines};

/// Locked while an event is read, set or waited for.
static DISPATCHER: Mutex<()> = Mutex::new(());

/// Notified when an event is set.
static SIGNALED: Condvar = Condvar::new();

/// The worker threads that were started.
static WORKERS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// The contents of a `KEVENT`.
#[repr(C)]
struct Event {
    kind: _EVENT_TYPE::Type,
    signaled: AtomicBool,
    reserved: [u64; 2],
}

const _: () = assert!(size_of::<Event>() == size_of::<KEVENT>());

/// A work item.
struct WorkItem {
    device: *mut DEVICE_OBJECT,
}

/// Waits for every worker thread.
pub fn join_workers() {
    loop {
        // A separate statement, so that the mutex is not locked during the wait.
        let worker = lock(&WORKERS).pop();
        let Some(worker) = worker else { return };
        worker.join().expect("a worker thread");
    }
}

routines! {
    fn KeInitializeEvent(event: *mut KEVENT, kind: _EVENT_TYPE::Type, state: u8) {
        let new = Event { kind, signaled: (state != 0).into(), reserved: [0; 2] };
        // SAFETY: the caller passes valid memory for the event.
        unsafe { event.cast::<Event>().write(new) };
    }

    fn KeSetEvent(event: *mut KEVENT, _increment: i32, _wait: u8) -> i32 {
        // SAFETY: the caller passes an initialised event. A waiting thread reads it after the mutex is unlocked.
        let Event { kind, signaled, .. } = unsafe { &*event.cast::<Event>() };
        // No documentation says that the routine has a barrier if it changes nothing.
        if *kind == nt::_EVENT_TYPE::NotificationEvent && signaled.load(Relaxed) {
            return 1;
        }
        let held = lock(&DISPATCHER);
        let was = signaled.swap(true, Relaxed);
        SIGNALED.notify_all();
        drop(held);
        i32::from(was)
    }

    fn KeClearEvent(event: *mut KEVENT) {
        // As in NT, one write without a barrier.
        // SAFETY: the caller passes an initialised event.
        unsafe { &(*event.cast::<Event>()).signaled }.store(false, Relaxed);
    }

    fn KeWaitForSingleObject(
        object: *mut c_void,
        _reason: nt::_KWAIT_REASON::Type,
        _mode: i8,
        _alertable: u8,
        _timeout: *mut i64,
    ) -> i32 {
        assert_passive("KeWaitForSingleObject");
        let event = object.cast::<Event>();
        let mut held = lock(&DISPATCHER);
        loop {
            // SAFETY: the caller passes an initialised event, which stays valid during the wait; the mutex is
            // locked.
            if unsafe { &(*event).signaled }.load(Relaxed) {
                break;
            }
            held = SIGNALED.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        // SAFETY: as above.
        if unsafe { (*event).kind } == _EVENT_TYPE::SynchronizationEvent {
            // SAFETY: as above.
            unsafe { &(*event).signaled }.store(false, Relaxed);
        }
        STATUS_SUCCESS
    }

    fn KeDelayExecutionThread(_mode: i8, _alertable: u8, _interval: *mut i64) -> i32 {
        assert_passive("KeDelayExecutionThread");
        std::thread::yield_now();
        STATUS_SUCCESS
    }

    fn PsCreateSystemThread(
        handle: *mut HANDLE,
        _access: u32,
        _attributes: *mut OBJECT_ATTRIBUTES,
        _process: HANDLE,
        _client: *mut c_void,
        routine: PKSTART_ROUTINE,
        context: *mut c_void,
    ) -> i32 {
        let context = Sent(context);
        let routine = routine.expect("a start routine");
        // SAFETY: the caller passes a routine that a new thread may run with this context.
        let thread = std::thread::spawn(move || unsafe { routine(context.get()) });
        let object = make(Some(thread));
        // SAFETY: the caller passes valid memory for the handle.
        unsafe { handle.write(object.cast()) };
        STATUS_SUCCESS
    }

    fn PsTerminateSystemThread(_status: i32) -> i32 {
        // The thread ends when its routine returns, which is the next step.
        STATUS_SUCCESS
    }

    fn ZwWaitForSingleObject(handle: HANDLE, _alertable: u8, _timeout: *mut i64) -> i32 {
        assert_passive("ZwWaitForSingleObject");
        let thread = handle.cast::<Option<JoinHandle<()>>>();
        // SAFETY: the handle is a thread's, and only the caller uses it.
        let thread = unsafe { (*thread).take() };
        thread.expect("waited for once").join().expect("a system thread");
        STATUS_SUCCESS
    }

    fn ZwClose(handle: HANDLE) -> i32 {
        // SAFETY: the handle is from `PsCreateSystemThread`, since no other handles are opened here.
        unsafe { free(handle.cast::<Option<JoinHandle<()>>>()) };
        STATUS_SUCCESS
    }

    fn IoAllocateWorkItem(device: *mut DEVICE_OBJECT) -> *mut IO_WORKITEM {
        make(WorkItem { device }).cast()
    }

    fn IoFreeWorkItem(item: *mut IO_WORKITEM) {
        // SAFETY: the item is from `IoAllocateWorkItem` and is no longer used: a worker thread has copied what
        // it needs.
        unsafe { free(item.cast::<WorkItem>()) };
    }

    fn IoQueueWorkItem(item: *mut IO_WORKITEM, routine: PIO_WORKITEM_ROUTINE, _queue: i32, context: *mut c_void) {
        // SAFETY: the caller passes a work item that is not freed.
        let device = unsafe { (*item.cast::<WorkItem>()).device };
        // SAFETY: the caller has a reference to the device object; this one belongs to the worker thread.
        unsafe { io::reference(device) };
        let (device, context) = (Sent(device), Sent(context));
        let routine = routine.expect("a work item's routine");
        let work = move || {
            // SAFETY: the caller passes a routine that a worker thread may run with this context.
            unsafe { routine(device.get(), context.get()) };
            // SAFETY: the reference was acquired above.
            unsafe { io::dereference(device.get()) };
        };
        lock(&WORKERS).push(std::thread::spawn(work));
    }
}
