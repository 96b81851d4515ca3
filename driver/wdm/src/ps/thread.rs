//! System threads.

use core::{
    ffi::c_void,
    ptr::{from_ref, null_mut},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use nt::atomic::AtomicU32;

use crate::{
    Error, PassiveLevel,
    ke::{irql::Waitable, wait},
};

/// The largest number of threads that [`run`] starts.
pub const MAX_THREADS: usize = 64;

/// Runs a closure in several system threads in parallel, and waits for all of them (`PsCreateSystemThread`,
/// `ZwWaitForSingleObject`).
///
/// The closure receives the number of its thread, from 0.
///
/// The closure may borrow, since no thread outlives the call.
///
/// WDK: [PsCreateSystemThread](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-pscreatesystemthread).
///
/// # IRQL
/// `PASSIVE_LEVEL`; the closure runs at `PASSIVE_LEVEL` too.
///
/// # Errors
/// `STATUS_INVALID_PARAMETER` if `count` is larger than [`MAX_THREADS`]; the errors of `PsCreateSystemThread`, in
/// which case the threads that were started have run.
///
/// # Examples
///
/// ```
/// use wdm::{InterlockedLong, Error, PassiveLevel, thread};
///
/// fn count_together(irql: &mut PassiveLevel) -> Result<i32, Error> {
///     let sum = InterlockedLong::new(0);
///     thread::run(4, irql, &|_number, _irql| {
///         sum.increment();
///     })?;
///     Ok(sum.read())
/// }
/// ```
///
/// # What goes wrong in C
///
/// The driver is unloaded, or data is freed, while a thread still uses it.
#[doc(alias = "ZwClose")]
#[doc(alias = "PsTerminateSystemThread")]
#[doc(alias = "PsCreateSystemThread")]
#[doc(alias = "ZwWaitForSingleObject")]
pub fn run<F: Fn(u32, &mut PassiveLevel) + Sync>(
    count: u32,
    irql: &mut PassiveLevel,
    body: &F,
) -> Result<(), Error> {
    run_body(count, irql, body)
}

/// A closure that each thread runs. As `dyn Fn` it would be compiled several times, since `Fn` has three ways to call it.
trait Body: Sync {
    fn call(&self, thread: u32, irql: &mut PassiveLevel);
}

impl<F: Fn(u32, &mut PassiveLevel) + Sync> Body for F {
    fn call(&self, thread: u32, irql: &mut PassiveLevel) {
        self(thread, irql);
    }
}

/// Implements [`run`] for all closures, so that it is compiled once.
fn run_body(count: u32, irql: &mut PassiveLevel, body: &dyn Body) -> Result<(), Error> {
    let mut handles = [null_mut(); MAX_THREADS];
    if count as usize > MAX_THREADS {
        return Err(Error::INVALID_PARAMETER);
    }
    let job = Job {
        body,
        threads: AtomicU32::new(0),
    };
    let mut result = Ok(());
    for (_, handle) in (0..count).zip(&mut handles) {
        // SAFETY: the job is neither moved nor freed before the wait for the thread below.
        match unsafe { start(&job) } {
            Ok(started) => *handle = started,
            Err(status) => {
                result = Err(status);
                break;
            }
        }
    }
    for &handle in handles.iter().filter(|handle| !handle.is_null()) {
        // SAFETY: the handle is an open thread handle. The job and what the closure borrows stay valid until the
        // thread has ended.
        unsafe { wait::for_thread(handle, irql) };
        // SAFETY: the handle is open, and is not used again.
        let _ = unsafe { nt::ZwClose(handle) };
    }
    result
}

/// The work of all threads.
struct Job<'a> {
    body: &'a dyn Body,
    /// How many threads have begun. Each takes the number that it finds.
    threads: AtomicU32,
}

/// Starts a thread that does a job.
///
/// # Safety
/// The job stays valid and in place until the thread has ended; the IRQL is `PASSIVE_LEVEL`.
unsafe fn start(job: &Job<'_>) -> Result<nt::HANDLE, Error> {
    // SAFETY: the routine takes a job, which the caller keeps valid, at PASSIVE_LEVEL.
    unsafe { create(routine, from_ref(job).cast_mut().cast()) }
}

/// Starts a thread, and returns a handle to it (`PsCreateSystemThread`).
///
/// # Safety
/// The routine may be called with the context, and ends the thread; the IRQL is `PASSIVE_LEVEL`.
pub(crate) unsafe fn create(
    routine: unsafe extern "C" fn(*mut c_void),
    context: *mut c_void,
) -> Result<nt::HANDLE, Error> {
    #[expect(clippy::cast_possible_truncation, reason = "the structure is 48 bytes")]
    let mut attributes = nt::OBJECT_ATTRIBUTES {
        Length: size_of::<nt::OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: null_mut(),
        ObjectName: null_mut(),
        Attributes: nt::OBJ_KERNEL_HANDLE,
        SecurityDescriptor: null_mut(),
        SecurityQualityOfService: null_mut(),
    };
    let mut handle = null_mut();
    // SAFETY: the attributes and the handle are on this stack; the rest is guaranteed by the caller.
    let status = unsafe {
        nt::PsCreateSystemThread(
            &raw mut handle,
            nt::THREAD_ALL_ACCESS,
            &raw mut attributes,
            null_mut(),
            null_mut(),
            Some(routine),
            context,
        )
    };
    Error::check(status)?;
    Ok(handle)
}

/// The `KSTART_ROUTINE` of every thread.
///
/// # Safety
/// Called by the kernel in a new system thread, with a [`Job`].
unsafe extern "C" fn routine(context: *mut c_void) {
    // SAFETY: the job stays valid until this thread has ended, and its closure may be called by any thread.
    let Job { body, threads } = unsafe { &*context.cast::<Job<'_>>() };
    let number = threads.fetch_add(1, Relaxed);
    // SAFETY: system threads start at PASSIVE_LEVEL.
    body.call(number, &mut unsafe { PassiveLevel::assume() });
    // SAFETY: this is a system thread, at PASSIVE_LEVEL, and nothing is left to drop.
    unsafe { nt::PsTerminateSystemThread(nt::STATUS_SUCCESS) };
}

/// Waits for a time interval (`KeDelayExecutionThread`).
///
/// WDK:
/// [KeDelayExecutionThread](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kedelayexecutionthread).
///
/// # IRQL
/// `PASSIVE_LEVEL`.
#[doc(alias = "KeDelayExecutionThread")]
pub fn delay<L: Waitable>(time: Duration, irql: &mut L) {
    wait::delay(time, irql);
}
