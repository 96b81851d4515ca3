//! IRPs: sending, completing and cancelling them.

use core::{ffi::c_void, ptr::null_mut};
use std::sync::{
    Arc, Condvar, Mutex, PoisonError,
    atomic::{AtomicPtr, AtomicU8, Ordering},
};

use nt::{
    AssociatedIrp, DEVICE_OBJECT, FILE_OBJECT, IO_STACK_LOCATION, IRP, SL_INVOKE_ON_ERROR,
    SL_INVOKE_ON_SUCCESS, STATUS_MORE_PROCESSING_REQUIRED, STATUS_SUCCESS,
};

use super::{free, lock, make, routines};

/// How many bytes a request's system buffer has.
const BUFFER: usize = 64;

/// An IRP, its stack locations and its system buffer, which are freed together when it is completed.
#[repr(C)]
struct Packet {
    irp: IRP,
    /// For the driver below, and for the driver.
    stack: [IO_STACK_LOCATION; 2],
    buffer: [u128; BUFFER / 16],
    outcome: Arc<Outcome>,
}

/// What becomes of an IRP.
#[derive(Default)]
struct Outcome {
    progress: Mutex<Progress>,
    ended: Condvar,
}

#[derive(Default)]
struct Progress {
    end: Option<(i32, Vec<u8>)>,
    /// How many threads are about to cancel it: the I/O manager keeps an IRP for them.
    cancelling: usize,
}

/// What an IRP asks for.
#[derive(Clone, Copy)]
pub struct Parameters<'a> {
    pub major: usize,
    pub minor: u8,
    pub code: u32,
    pub input: &'a [u8],
    pub output: u32,
}

/// An IRP that was sent to a driver.
pub struct Request {
    irp: *mut IRP,
    outcome: Arc<Outcome>,
    answer: i32,
}

// SAFETY: the IRP is followed by `cancel` alone, which first sees to it that it is kept.
unsafe impl Send for Request {}
// SAFETY: as above.
unsafe impl Sync for Request {}

impl Request {
    /// Sends an IRP to a device.
    ///
    /// # Safety
    /// The device object is there, and the file object until the IRP has ended.
    pub unsafe fn send(
        device: *mut DEVICE_OBJECT,
        file: *mut FILE_OBJECT,
        parameters: &Parameters<'_>,
    ) -> Self {
        let outcome = Arc::<Outcome>::default();
        // SAFETY: NULL, zero and no function are values of all that is in an IRP.
        let irp: IRP = unsafe { core::mem::zeroed() };
        // SAFETY: as above.
        let stack: [IO_STACK_LOCATION; 2] = unsafe { core::mem::zeroed() };
        let packet = make(Packet {
            irp,
            stack,
            buffer: [0; BUFFER / 16],
            outcome: Arc::clone(&outcome),
        });
        // The packet's pointer, with which all of it can be reached.
        let irp = packet.cast::<IRP>();
        // SAFETY: the address alone is computed.
        let stack = unsafe { &raw mut (*packet).stack }.cast::<IO_STACK_LOCATION>();
        // SAFETY: as above.
        let buffer = unsafe { &raw mut (*packet).buffer }.cast::<u8>();
        assert!(parameters.input.len() <= BUFFER && parameters.output as usize <= BUFFER);
        // SAFETY: the buffer is as long.
        unsafe {
            buffer.copy_from_nonoverlapping(parameters.input.as_ptr(), parameters.input.len());
        };
        let associated = AssociatedIrp {
            SystemBuffer: buffer.cast(),
        };
        // SAFETY: the IRP is this thread's; so for all below.
        unsafe { (*irp).AssociatedIrp = associated };
        // SAFETY: as above.
        unsafe { (*irp).StackCount = 2 };
        // SAFETY: as above.
        unsafe { (*irp).CurrentLocation = 3 };
        // SAFETY: as above.
        unsafe { set_current(irp, stack.wrapping_add(2)) };
        let top = stack.wrapping_add(1);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a major function code is a byte"
        )]
        let major = parameters.major as u8;
        // SAFETY: as above.
        unsafe { (*top).MajorFunction = major };
        // SAFETY: as above.
        unsafe { (*top).MinorFunction = parameters.minor };
        // SAFETY: as above.
        unsafe { (*top).FileObject = file };
        let input = u64::try_from(parameters.input.len()).unwrap_or(u64::MAX);
        // Parameters.DeviceIoControl: output length, input length and code, each where a pointer could be.
        // SAFETY: as above.
        unsafe { (*top).Parameters = [parameters.output.into(), input, parameters.code.into(), 0] };
        // SAFETY: the caller gives a device, and the IRP is given up.
        let answer = unsafe { nt::IofCallDriver(device, irp) };
        Self {
            irp,
            outcome,
            answer,
        }
    }

    /// What the dispatch routine returned.
    pub fn answer(&self) -> i32 {
        self.answer
    }

    /// The IRP's status, if it is completed.
    pub fn status(&self) -> Option<i32> {
        lock(&self.outcome.progress)
            .end
            .as_ref()
            .map(|(status, _)| *status)
    }

    /// Waits until the IRP is completed, and gives its status.
    pub fn wait(&self) -> i32 {
        self.reply().0
    }

    /// Waits until the IRP is completed, and gives its status and what it replied.
    pub fn reply(&self) -> (i32, Vec<u8>) {
        let mut progress = lock(&self.outcome.progress);
        loop {
            if let Some(end) = &progress.end {
                return end.clone();
            }
            progress = self
                .outcome
                .ended
                .wait(progress)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Cancels the IRP, unless it is completed, and says whether that called a Cancel routine (`IoCancelIrp`).
    pub fn cancel(&self) -> bool {
        let mut progress = lock(&self.outcome.progress);
        if progress.end.is_some() {
            return false;
        }
        progress.cancelling += 1;
        drop(progress);
        // SAFETY: the IRP is kept.
        let called = unsafe { cancel(self.irp) };
        let mut progress = lock(&self.outcome.progress);
        progress.cancelling -= 1;
        if progress.end.is_some() && progress.cancelling == 0 {
            drop(progress);
            // SAFETY: the IRP was completed, and nobody cancels it any more.
            unsafe { free(packet_of(self.irp)) };
        }
        called
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.wait();
        }
    }
}

/// The packet that an IRP is in.
fn packet_of(irp: *mut IRP) -> *mut Packet {
    irp.cast()
}

/// Sets the current stack location.
///
/// # Safety
/// The caller owns `irp`.
unsafe fn set_current(irp: *mut IRP, stack: *mut IO_STACK_LOCATION) {
    // `Tail.Overlay.CurrentStackLocation`, by its place on 64-bit Windows.
    let field = irp.wrapping_byte_add(0xb8).cast::<*mut IO_STACK_LOCATION>();
    // SAFETY: guaranteed by the caller.
    unsafe { field.write(stack) };
}

/// `IoCancelIrp`.
///
/// # Safety
/// The IRP is there until this returns.
unsafe fn cancel(irp: *mut IRP) -> bool {
    let mut irql = 0;
    // SAFETY: the IRQL is at most DISPATCH_LEVEL.
    unsafe { nt::IoAcquireCancelSpinLock(&raw mut irql) };
    // SAFETY: the address alone is computed.
    let flag = unsafe { &raw mut (*irp).Cancel };
    // SAFETY: the IRP is there, and everybody goes by the atomic.
    unsafe { AtomicU8::from_ptr(flag) }.store(1, Ordering::SeqCst);
    // SAFETY: the IRP is there.
    let Some(routine) = (unsafe { nt::irp::IoSetCancelRoutine(irp, None) }) else {
        // SAFETY: the lock is held.
        unsafe { nt::IoReleaseCancelSpinLock(irql) };
        return false;
    };
    // Lets another thread find that the routine has been taken, before it runs.
    std::thread::yield_now();
    // SAFETY: the driver left the IRP to its Cancel routine.
    unsafe { (*irp).CancelIrql = irql };
    // SAFETY: as above.
    let device = unsafe { nt::irp::device_object(irp) };
    // SAFETY: as above; the lock is held.
    unsafe { routine(device, irp) };
    true
}

/// Ends an IRP that no driver has any more.
///
/// # Safety
/// The IRP was completed.
unsafe fn end(irp: *mut IRP) {
    let packet = packet_of(irp);
    // SAFETY: the packet is there.
    let outcome = Arc::clone(unsafe { &(*packet).outcome });
    // SAFETY: nobody else has the IRP but for who cancels it.
    let status = unsafe { nt::irp::status(irp) };
    // SAFETY: as above.
    let information = unsafe { (*irp).IoStatus.Information };
    let length = usize::try_from(information)
        .unwrap_or(usize::MAX)
        .min(BUFFER);
    // SAFETY: the address alone is computed.
    let buffer = unsafe { &raw const (*packet).buffer }.cast::<u8>();
    // SAFETY: the buffer is as long, and nobody writes to it any more.
    let reply = unsafe { core::slice::from_raw_parts(buffer, length) }.to_vec();
    let mut progress = lock(&outcome.progress);
    assert!(progress.end.is_none(), "completed twice");
    progress.end = Some((status, reply));
    let is_free = progress.cancelling == 0;
    drop(progress);
    if is_free {
        // SAFETY: the IRP is completed, and nobody can begin to cancel it any more.
        unsafe { free(packet) };
    }
    outcome.ended.notify_all();
}

routines! {
    fn IofCallDriver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        // SAFETY: the caller owns the IRP and gives it up; so for all below.
        unsafe { (*irp).CurrentLocation -= 1 };
        // SAFETY: as above.
        let stack = unsafe { nt::irp::current_stack_location(irp) }.wrapping_sub(1);
        // SAFETY: as above.
        unsafe { set_current(irp, stack) };
        // SAFETY: as above: the stack has a location for every driver.
        unsafe { (*stack).DeviceObject = device };
        // SAFETY: as above.
        let major = unsafe { (*stack).MajorFunction };
        // SAFETY: the caller gives a device object.
        let driver = unsafe { (*device).DriverObject };
        if driver.is_null() {
            // The bus driver, which succeeds in everything.
            // SAFETY: as above.
            unsafe { nt::irp::set_status(irp, STATUS_SUCCESS) };
            // SAFETY: as above.
            unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
            return STATUS_SUCCESS;
        }
        // SAFETY: the driver object stays as long as its devices; it was filled in before they were made.
        let routine = unsafe { (*driver).MajorFunction[usize::from(major)] };
        let routine = routine.expect("a dispatch routine");
        // SAFETY: the IRP is the dispatch routine's.
        unsafe { routine(device, irp) }
    }

    fn IofCompleteRequest(irp: *mut IRP, _boost: i8) {
        // SAFETY: the caller owns the IRP and gives it up; so for all below.
        let routine = unsafe { &raw mut (*irp).CancelRoutine }.cast::<*mut c_void>();
        // Who is about to cancel the IRP may look too, and finds none.
        // SAFETY: as above, and everybody goes by the atomic.
        let routine = unsafe { AtomicPtr::from_ptr(routine) }.load(Ordering::Relaxed);
        assert!(routine.is_null(), "completed with a Cancel routine");
        // SAFETY: as above.
        let status = unsafe { nt::irp::status(irp) };
        assert_ne!(status, nt::STATUS_PENDING, "completed with STATUS_PENDING");
        let wanted = if status >= 0 { SL_INVOKE_ON_SUCCESS } else { SL_INVOKE_ON_ERROR };
        loop {
            // SAFETY: as above.
            let stack = unsafe { nt::irp::current_stack_location(irp) };
            // SAFETY: as above.
            let (control, routine, context) = unsafe { completion(stack) };
            // SAFETY: as above.
            unsafe { (*irp).CurrentLocation += 1 };
            // SAFETY: as above.
            unsafe { set_current(irp, stack.wrapping_add(1)) };
            // SAFETY: as above.
            let location = unsafe { (*irp).CurrentLocation };
            // SAFETY: as above.
            let is_top = location > unsafe { (*irp).StackCount };
            let device = if is_top {
                null_mut()
            } else {
                // SAFETY: as above.
                unsafe { nt::irp::device_object(irp) }
            };
            if let Some(routine) = routine && control & wanted != 0 {
                // SAFETY: the driver above set the routine for this.
                if unsafe { routine(device, irp, context) } == STATUS_MORE_PROCESSING_REQUIRED {
                    return;
                }
            }
            if is_top {
                break;
            }
        }
        // SAFETY: every driver is done with the IRP.
        unsafe { end(irp) };
    }
}

/// What a stack location says about the driver above it.
///
/// # Safety
/// The caller owns the stack location's IRP.
unsafe fn completion(
    stack: *mut IO_STACK_LOCATION,
) -> (u8, nt::PIO_COMPLETION_ROUTINE, *mut c_void) {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { &*stack };
    (stack.Control, stack.CompletionRoutine, stack.Context)
}
