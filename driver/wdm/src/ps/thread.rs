//! System threads.

use core::{
    ffi::c_void,
    ptr::{from_ref, null_mut},
};

use crate::{Error, PassiveLevel, ke::wait};

/// How many threads [`run`] starts at the most.
pub const MAX_THREADS: usize = 64;

/// Runs a closure in several system threads at a time, each with its number, and waits for all
/// (`PsCreateSystemThread`, `ZwWaitForSingleObject`).
///
/// The closure may borrow, since no thread outlives the call. In C a driver is unloaded, or its data freed,
/// while a thread still runs in it.
///
/// WDK: "`PsCreateSystemThread` function".
///
/// # Errors
/// `STATUS_INVALID_PARAMETER` for more than [`MAX_THREADS`], and what `PsCreateSystemThread` says; the
/// threads that were started until then have run.
///
/// # IRQL
/// `PASSIVE_LEVEL`; so does the closure run.
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
pub fn run<F: Fn(u32, &mut PassiveLevel) + Sync>(
    count: u32,
    irql: &mut PassiveLevel,
    body: &F,
) -> Result<(), Error> {
    run_body(count, irql, body)
}

type Body<'a> = dyn Fn(u32, &mut PassiveLevel) + Sync + 'a;

/// Does the same, compiled once for every closure.
fn run_body(count: u32, irql: &mut PassiveLevel, body: &Body<'_>) -> Result<(), Error> {
    let mut handles = [null_mut(); MAX_THREADS];
    if count as usize > MAX_THREADS {
        return Err(Error::INVALID_PARAMETER);
    }
    let mut jobs = [const { None }; MAX_THREADS];
    let mut result = Ok(());
    for (number, (handle, job)) in (0..count).zip(handles.iter_mut().zip(&mut jobs)) {
        let job = job.insert(Job { body, number });
        // SAFETY: the job stays where it is until the thread has been waited for below.
        match unsafe { start(job) } {
            Ok(started) => *handle = started,
            Err(status) => {
                result = Err(status);
                break;
            }
        }
    }
    for handle in handles.into_iter().filter(|handle| !handle.is_null()) {
        // SAFETY: the handle is a thread's, and open. The job and what the closure borrows stay until it has ended.
        unsafe { wait::for_thread(handle, irql) };
        // SAFETY: the handle is open, and used no more.
        let _ = unsafe { nt::ZwClose(handle) };
    }
    result
}

/// What a thread does.
struct Job<'a> {
    body: &'a Body<'a>,
    number: u32,
}

/// Starts a thread.
///
/// # Safety
/// The job stays where it is until the thread has ended; the IRQL is `PASSIVE_LEVEL`.
unsafe fn start(job: &Job<'_>) -> Result<nt::HANDLE, Error> {
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
    let context = from_ref(job).cast_mut().cast();
    // SAFETY: the attributes and the handle are on this stack; the routine takes a job, which the
    // caller keeps; the IRQL is PASSIVE_LEVEL.
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
/// Called by the kernel in a thread of its own, with a [`Job`].
unsafe extern "C" fn routine(context: *mut c_void) {
    // SAFETY: the job is kept until this thread has ended, and its closure may be called by any thread.
    let Job { body, number } = unsafe { &*context.cast::<Job<'_>>() };
    // SAFETY: system threads start at PASSIVE_LEVEL.
    body(*number, &mut unsafe { PassiveLevel::assume() });
    // SAFETY: this is a system thread, at PASSIVE_LEVEL, and nothing is left to drop.
    unsafe { nt::PsTerminateSystemThread(nt::STATUS_SUCCESS) };
}
