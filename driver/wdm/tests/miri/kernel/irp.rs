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

/// The size of a request's system buffer in bytes.
const BUFFER: usize = 64;

/// An IRP, its stack locations and its system buffer, which are freed together when it is completed.
#[repr(C)]
struct Packet {
    irp: IRP,
    /// The stack locations of the lower driver and of the driver.
    stack: [IO_STACK_LOCATION; 2],
    buffer: [u128; BUFFER / 16],
    outcome: Arc<Outcome>,
}

/// The state of an IRP.
#[derive(Default)]
struct Outcome {
    progress: Mutex<Progress>,
    ended: Condvar,
}

#[derive(Default)]
struct Progress {
    end: Option<(i32, Vec<u8>)>,
    /// The number of threads that are cancelling the IRP. The I/O manager keeps the IRP for them.
    cancelling: usize,
}

/// The request in an IRP.
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

// SAFETY: only `cancel` dereferences the IRP, after it has made sure that the IRP is kept.
unsafe impl Send for Request {}
// SAFETY: as above.
unsafe impl Sync for Request {}

impl Request {
    /// Sends an IRP to a device.
    ///
    /// # Safety
    /// The device object is valid, and so is the file object until the IRP is completed.
    pub unsafe fn send(
        device: *mut DEVICE_OBJECT,
        file: *mut FILE_OBJECT,
        parameters: &Parameters<'_>,
    ) -> Self {
        let outcome = Arc::<Outcome>::default();
        // SAFETY: zero is valid for every field of an IRP.
        let irp: IRP = unsafe { core::mem::zeroed() };
        // SAFETY: as above.
        let stack: [IO_STACK_LOCATION; 2] = unsafe { core::mem::zeroed() };
        let packet = make(Packet {
            irp,
            stack,
            buffer: [0; BUFFER / 16],
            outcome: Arc::clone(&outcome),
        });
        // Derived from the pointer to the packet, so that it may access all of the packet.
        let irp = packet.cast::<IRP>();
        // SAFETY: only the address is computed.
        let stack = unsafe { &raw mut (*packet).stack }.cast::<IO_STACK_LOCATION>();
        // SAFETY: as above.
        let buffer = unsafe { &raw mut (*packet).buffer }.cast::<u8>();
        assert!(parameters.input.len() <= BUFFER && parameters.output as usize <= BUFFER);
        // SAFETY: the buffer has this length.
        unsafe {
            buffer.copy_from_nonoverlapping(parameters.input.as_ptr(), parameters.input.len());
        };
        let associated = AssociatedIrp {
            SystemBuffer: buffer.cast(),
        };
        // SAFETY: this thread owns the IRP; the same holds for all blocks below.
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
        // Parameters.DeviceIoControl: output length, input length and code, each at the offset of a pointer.
        // SAFETY: as above.
        unsafe { (*top).Parameters = [parameters.output.into(), input, parameters.code.into(), 0] };
        // SAFETY: the caller passes a device, and the IRP is given up.
        let answer = unsafe { nt::IofCallDriver(device, irp) };
        Self {
            irp,
            outcome,
            answer,
        }
    }

    /// Returns the status that the dispatch routine returned.
    pub fn answer(&self) -> i32 {
        self.answer
    }

    /// Returns the IRP's status, if it is completed.
    pub fn status(&self) -> Option<i32> {
        lock(&self.outcome.progress)
            .end
            .as_ref()
            .map(|(status, _)| *status)
    }

    /// Waits until the IRP is completed, and returns its status.
    pub fn wait(&self) -> i32 {
        self.reply().0
    }

    /// Waits until the IRP is completed, and returns its status and its output.
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

    /// Cancels the IRP unless it is completed; returns whether a Cancel routine was called (`IoCancelIrp`).
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
            // SAFETY: the IRP was completed, and no thread is cancelling it.
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

/// Returns the packet that contains an IRP.
fn packet_of(irp: *mut IRP) -> *mut Packet {
    irp.cast()
}

/// Sets the current stack location.
///
/// # Safety
/// The caller owns `irp`.
pub unsafe fn set_current(irp: *mut IRP, stack: *mut IO_STACK_LOCATION) {
    // `Tail.Overlay.CurrentStackLocation`, at its offset on 64-bit Windows.
    let field = irp.wrapping_byte_add(0xb8).cast::<*mut IO_STACK_LOCATION>();
    // SAFETY: guaranteed by the caller.
    unsafe { field.write(stack) };
}

/// `IoCancelIrp`.
///
/// # Safety
/// The IRP is valid until this returns.
pub unsafe fn cancel(irp: *mut IRP) -> bool {
    let mut irql = 0;
    // SAFETY: the IRQL is at most DISPATCH_LEVEL.
    unsafe { nt::IoAcquireCancelSpinLock(&raw mut irql) };
    // SAFETY: only the address is computed.
    let flag = unsafe { &raw mut (*irp).Cancel };
    // SAFETY: the IRP is valid, and all accesses are atomic.
    unsafe { AtomicU8::from_ptr(flag) }.store(1, Ordering::SeqCst);
    // SAFETY: the IRP is valid.
    let Some(routine) = (unsafe { nt::irp::IoSetCancelRoutine(irp, None) }) else {
        // SAFETY: the lock is held.
        unsafe { nt::IoReleaseCancelSpinLock(irql) };
        return false;
    };
    // Lets another thread observe that the routine was taken, before it runs.
    std::thread::yield_now();
    // SAFETY: the driver left the IRP to its Cancel routine.
    unsafe { (*irp).CancelIrql = irql };
    // SAFETY: as above.
    let device = unsafe { nt::irp::device_object(irp) };
    // SAFETY: as above; the lock is held.
    unsafe { routine(device, irp) };
    true
}

/// Finishes an IRP that is no longer owned by a driver.
///
/// # Safety
/// The IRP was completed.
unsafe fn end(irp: *mut IRP) {
    let packet = packet_of(irp);
    // SAFETY: the packet is valid.
    let outcome = Arc::clone(unsafe { &(*packet).outcome });
    // SAFETY: only threads that are cancelling the IRP also access it.
    let status = unsafe { nt::irp::status(irp) };
    // SAFETY: as above.
    let information = unsafe { (*irp).IoStatus.Information };
    let length = usize::try_from(information)
        .unwrap_or(usize::MAX)
        .min(BUFFER);
    // SAFETY: only the address is computed.
    let buffer = unsafe { &raw const (*packet).buffer }.cast::<u8>();
    // SAFETY: the buffer has this length and is no longer written.
    let reply = unsafe { core::slice::from_raw_parts(buffer, length) }.to_vec();
    let mut progress = lock(&outcome.progress);
    assert!(progress.end.is_none(), "completed twice");
    progress.end = Some((status, reply));
    let is_free = progress.cancelling == 0;
    drop(progress);
    if is_free {
        // SAFETY: the IRP is completed, and no thread can start to cancel it.
        unsafe { free(packet) };
    }
    outcome.ended.notify_all();
}

routines! {
    fn IofCallDriver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> i32 {
        // SAFETY: the caller owns the IRP and gives it up; the same holds for all blocks below.
        unsafe { (*irp).CurrentLocation -= 1 };
        // SAFETY: as above.
        let stack = unsafe { nt::irp::current_stack_location(irp) }.wrapping_sub(1);
        // SAFETY: as above.
        unsafe { set_current(irp, stack) };
        // SAFETY: as above; the stack has a location for every driver.
        unsafe { (*stack).DeviceObject = device };
        // SAFETY: as above.
        let major = unsafe { (*stack).MajorFunction };
        // SAFETY: the caller passes a device object.
        let driver = unsafe { (*device).DriverObject };
        if driver.is_null() {
            // The bus driver completes everything with success.
            // SAFETY: as above.
            unsafe { nt::irp::set_status(irp, STATUS_SUCCESS) };
            // SAFETY: as above.
            unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
            return STATUS_SUCCESS;
        }
        // SAFETY: the driver object lives as long as its devices, and was filled in before they were made.
        let routine = unsafe { (*driver).MajorFunction[usize::from(major)] };
        let routine = routine.expect("a dispatch routine");
        // SAFETY: the dispatch routine owns the IRP.
        unsafe { routine(device, irp) }
    }

    fn IofCompleteRequest(irp: *mut IRP, _boost: i8) {
        // SAFETY: the caller owns the IRP and gives it up; the same holds for all blocks below.
        let routine = unsafe { &raw mut (*irp).CancelRoutine }.cast::<*mut c_void>();
        // A thread that is cancelling the IRP may read this too, and finds no routine.
        // SAFETY: as above, and all accesses are atomic.
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
                // SAFETY: the upper driver set the routine for this call.
                if unsafe { routine(device, irp, context) } == STATUS_MORE_PROCESSING_REQUIRED {
                    return;
                }
            }
            if is_top {
                break;
            }
        }
        // SAFETY: drivers no longer use the IRP.
        unsafe { end(irp) };
    }

    fn MmMapLockedPagesSpecifyCache(
        _mdl: *mut nt::MDL,
        _mode: i8,
        _cache: i32,
        _address: *mut core::ffi::c_void,
        _bug_check: u32,
        _priority: u32,
    ) -> *mut core::ffi::c_void {
        unreachable!("no request of this kernel has an MDL")
    }
}

/// Returns the completion routine that the upper driver set in a stack location.
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
