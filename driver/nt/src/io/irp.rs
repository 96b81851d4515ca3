//! The IRP and its stack locations: the WDK's inline functions, and access to the anonymous unions.
//!
//! The functions take an IRP that the caller owns: the I/O manager sent it to this driver, and the driver has
//! neither completed it nor passed it on.

#![warn(missing_docs)]

mod pnp;
mod power;

use core::{
    ffi::c_void,
    mem::offset_of,
    ptr::{addr_of, addr_of_mut, null_mut},
    sync::atomic::{AtomicPtr, AtomicU8, Ordering},
};

use crate::{
    DEVICE_OBJECT, FILE_OBJECT, IO_STACK_LOCATION, IRP, IRP_ASSOCIATED_IRP, KDEVICE_QUEUE_ENTRY,
    LIST_ENTRY, MDL, PDRIVER_CANCEL, PIO_COMPLETION_ROUTINE, SL_INVOKE_ON_CANCEL,
    SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS, SL_PENDING_RETURNED,
    model::{Inline, before},
};

pub use pnp::{add_capabilities, usage_in_path};
pub use power::{Power, power};

/// `IRP.Tail.Overlay`, whose inner unions and structures are anonymous.
#[repr(C)]
pub(crate) struct TailOverlay {
    /// For the driver's use while it owns the IRP; the first words are also a `KDEVICE_QUEUE_ENTRY`.
    pub(crate) DriverContext: [*mut c_void; 4],
    pub(crate) Thread: *mut c_void,
    pub(crate) AuxiliaryBuffer: *mut c_void,
    /// For the driver's use while it owns the IRP.
    pub(crate) ListEntry: LIST_ENTRY,
    pub(crate) CurrentStackLocation: *mut IO_STACK_LOCATION,
    pub(crate) OriginalFileObject: *mut FILE_OBJECT,
}

/// `IO_STATUS_BLOCK`, whose status is in a union with a pointer.
#[repr(C)]
pub(crate) struct StatusBlock {
    pub(crate) Status: i32,
    pub(crate) Reserved: u32,
    pub(crate) Information: u64,
}

/// `IO_STACK_LOCATION.Parameters.DeviceIoControl`, each member aligned as a pointer.
#[repr(C)]
pub(crate) struct DeviceIoControl {
    pub(crate) OutputBufferLength: u32,
    pub(crate) Reserved0: u32,
    pub(crate) InputBufferLength: u32,
    pub(crate) Reserved1: u32,
    pub(crate) IoControlCode: u32,
    pub(crate) Reserved2: u32,
    pub(crate) Type3InputBuffer: *mut c_void,
}

/// `IO_STACK_LOCATION.Parameters.Read` and `Parameters.Write`, which are alike.
#[repr(C)]
pub(crate) struct ReadWrite {
    pub(crate) Length: u32,
    pub(crate) Reserved0: u32,
    pub(crate) Key: u32,
    pub(crate) Reserved1: u32,
    pub(crate) ByteOffset: i64,
}

/// The parameters of a read or write request: `Parameters.Read` or `Parameters.Write` by value.
#[derive(Clone, Copy)]
pub struct Transfer {
    /// The number of bytes to read or write.
    pub length: u32,
    /// The byte offset on the device at which the transfer starts.
    pub offset: i64,
}

/// The parameters of a request for information of a file: `Parameters.QueryFile` or `Parameters.SetFile` by value.
#[derive(Clone, Copy)]
pub struct FileInformation {
    /// The length of the system buffer in bytes.
    pub length: u32,
    /// The `FILE_INFORMATION_CLASS`, which determines the contents of the buffer.
    pub class: u32,
}

/// The parameters of a device control request: `Parameters.DeviceIoControl` by value.
#[derive(Clone, Copy)]
pub struct IoControl {
    /// The I/O control code.
    pub code: u32,
    /// The length of the input buffer in bytes.
    pub input_length: u32,
    /// The length of the output buffer in bytes.
    pub output_length: u32,
}

/// Returns the address of `Tail.Overlay`. The pointer is only computed, and is valid if `irp` is.
fn overlay(irp: *mut IRP) -> *mut TailOverlay {
    irp.wrapping_byte_add(offset_of!(IRP, Tail)).cast()
}

/// Returns the address of `IoStatus`. The pointer is only computed, and is valid if `irp` is.
fn status_block(irp: *mut IRP) -> *mut StatusBlock {
    irp.wrapping_byte_add(offset_of!(IRP, IoStatus)).cast()
}

/// `IoGetCurrentIrpStackLocation`: returns the driver's stack location.
///
/// # Safety
/// The caller owns `irp`.
#[must_use]
pub unsafe fn current_stack_location(irp: *mut IRP) -> *mut IO_STACK_LOCATION {
    // SAFETY: the caller owns the IRP, so its current stack location does not change.
    unsafe { (*overlay(irp)).CurrentStackLocation }
}

/// `IoGetNextIrpStackLocation`: returns the stack location of the next lower driver.
///
/// # Safety
/// The caller owns `irp`, which has a stack location for a lower driver.
#[must_use]
pub unsafe fn IoGetNextIrpStackLocation(irp: *mut IRP) -> *mut IO_STACK_LOCATION {
    // SAFETY: guaranteed by the caller. Stack locations are adjacent.
    unsafe { current_stack_location(irp) }.wrapping_sub(1)
}

/// Returns the device object that the IRP was sent to.
///
/// # Safety
/// The caller owns `irp`.
#[must_use]
pub unsafe fn device_object(irp: *mut IRP) -> *mut DEVICE_OBJECT {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid.
    unsafe { (*stack).DeviceObject }
}

/// Returns the file object of the IRP, or NULL if it was sent without one.
///
/// # Safety
/// The caller owns `irp`.
#[must_use]
pub unsafe fn file_object(irp: *mut IRP) -> *mut FILE_OBJECT {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid.
    unsafe { (*stack).FileObject }
}

/// Returns the major function code.
///
/// # Safety
/// The caller owns `irp`.
#[must_use]
pub unsafe fn major_function(irp: *mut IRP) -> usize {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid.
    unsafe { (*stack).MajorFunction }.into()
}

/// Returns the minor function code.
///
/// # Safety
/// The caller owns `irp`.
#[must_use]
pub unsafe fn minor_function(irp: *mut IRP) -> u8 {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid.
    unsafe { (*stack).MinorFunction }
}

/// Returns `Parameters.DeviceIoControl` of the current stack location.
///
/// # Safety
/// The caller owns `irp`, and it is an `IRP_MJ_DEVICE_CONTROL` or `IRP_MJ_FILE_SYSTEM_CONTROL`, whose parameters are alike.
#[must_use]
pub unsafe fn io_control(irp: *mut IRP) -> IoControl {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid; `layout` asserts that the view fits.
    let parameters = unsafe { addr_of!((*stack).Parameters) }.cast::<DeviceIoControl>();
    // SAFETY: the caller guarantees that the I/O manager initialised this member of the union.
    let parameters = unsafe { &*parameters };
    IoControl {
        code: parameters.IoControlCode,
        input_length: parameters.InputBufferLength,
        output_length: parameters.OutputBufferLength,
    }
}

/// Returns `Parameters.Read` or `Parameters.Write` of the current stack location.
///
/// # Safety
/// The caller owns `irp`, and it is an `IRP_MJ_READ` or an `IRP_MJ_WRITE`.
#[must_use]
pub unsafe fn transfer(irp: *mut IRP) -> Transfer {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid; `layout` asserts that the view fits.
    let parameters = unsafe { addr_of!((*stack).Parameters) }.cast::<ReadWrite>();
    // SAFETY: the caller guarantees that the I/O manager initialised this member of the union.
    let parameters = unsafe { &*parameters };
    Transfer {
        length: parameters.Length,
        offset: parameters.ByteOffset,
    }
}

/// Returns `Parameters.QueryFile` or `Parameters.SetFile` of the current stack location.
///
/// # Safety
/// The caller owns `irp`, and it is an `IRP_MJ_QUERY_INFORMATION` or an `IRP_MJ_SET_INFORMATION`.
#[must_use]
pub unsafe fn file_information(irp: *mut IRP) -> FileInformation {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid. Length and class are where a read has Length and Key.
    let parameters = unsafe { addr_of!((*stack).Parameters) }.cast::<ReadWrite>();
    // SAFETY: the caller guarantees that the I/O manager initialised this member of the union.
    let length = unsafe { (*parameters).Length };
    // SAFETY: as above.
    let class = unsafe { (*parameters).Key };
    FileInformation { length, class }
}

/// Returns the system buffer of a buffered request. NULL if input and output are empty, and for an associated IRP,
/// which has a pointer to its master IRP in this place.
///
/// # Safety
/// The caller owns `irp`.
#[must_use]
pub unsafe fn system_buffer(irp: *mut IRP) -> *mut u8 {
    // SAFETY: the caller owns the IRP.
    if unsafe { (*irp).Flags } & IRP_ASSOCIATED_IRP != 0 {
        return null_mut();
    }
    // SAFETY: the caller owns the IRP.
    let associated = unsafe { &(*irp).AssociatedIrp };
    // SAFETY: in an IRP that was sent to a driver, and is not an associated IRP, this member of the union is in use, or
    // the union is NULL.
    let buffer = unsafe { associated.SystemBuffer };
    buffer.cast()
}

/// Returns `RequestorMode`.
///
/// # Safety
/// The caller owns `irp`.
#[must_use]
pub unsafe fn requestor_mode(irp: *mut IRP) -> i8 {
    // SAFETY: the caller owns the IRP.
    unsafe { (*irp).RequestorMode }
}

/// Returns `Irp->MdlAddress`: the MDL of the sender's buffer, or NULL.
///
/// # Safety
/// The caller owns `irp`.
#[must_use]
pub unsafe fn mdl(irp: *mut IRP) -> *mut MDL {
    // SAFETY: the caller owns the IRP.
    unsafe { (*irp).MdlAddress }.cast()
}

/// Returns `IoStatus.Status`.
///
/// # Safety
/// The caller owns `irp`.
#[must_use]
pub unsafe fn status(irp: *mut IRP) -> i32 {
    // SAFETY: the caller owns the IRP.
    unsafe { (*status_block(irp)).Status }
}

/// Sets `IoStatus.Status` and leaves `IoStatus.Information` unchanged, which other drivers in the stack use.
///
/// # Safety
/// The caller owns `irp`.
pub unsafe fn set_status(irp: *mut IRP, status: i32) {
    // SAFETY: the caller owns the IRP.
    unsafe { (*status_block(irp)).Status = status };
}

/// Returns `IoStatus.Information`.
///
/// # Safety
/// The caller owns `irp`.
#[must_use]
pub unsafe fn information(irp: *mut IRP) -> usize {
    // SAFETY: the caller owns the IRP.
    let information = unsafe { (*status_block(irp)).Information };
    usize::try_from(information).unwrap_or(usize::MAX)
}

/// Sets `IoStatus.Information`.
///
/// # Safety
/// The caller owns `irp`.
pub unsafe fn set_information(irp: *mut IRP, information: usize) {
    // SAFETY: the caller owns the IRP.
    unsafe { (*status_block(irp)).Information = information as u64 };
}

/// `IoMarkIrpPending`: marks the IRP as pending; the dispatch routine must return `STATUS_PENDING`.
///
/// # Safety
/// The caller owns `irp`, and no other thread can complete it yet.
pub unsafe fn IoMarkIrpPending(irp: *mut IRP) {
    before(Inline::MarkIrpPending, irp.cast());
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the current stack location of an owned IRP is valid.
    unsafe { (*stack).Control |= SL_PENDING_RETURNED };
}

/// `IoSetCancelRoutine`: exchanges the Cancel routine, in one interlocked operation, which is sequentially consistent with reads of `Irp->Cancel`.
///
/// # Safety
/// `irp` stays valid during the call: the caller owns it, or holds a lock that its Cancel routine acquires before
/// it completes the IRP.
pub unsafe fn IoSetCancelRoutine(irp: *mut IRP, routine: PDRIVER_CANCEL) -> PDRIVER_CANCEL {
    let inline = match routine {
        Some(_) => Inline::SetCancelRoutine,
        None => Inline::ClearCancelRoutine,
    };
    before(inline, irp.cast());
    // SAFETY: only the address is computed, inside the IRP.
    let field = unsafe { addr_of_mut!((*irp).CancelRoutine) };
    // SAFETY: the field is an aligned pointer, and the kernel also accesses it only with interlocked exchanges.
    let field = unsafe { AtomicPtr::from_ptr(field.cast::<*mut c_void>()) };
    let new = routine.map_or(core::ptr::null_mut(), |routine| routine as *mut c_void);
    let old = field.swap(new, Ordering::SeqCst);
    before(Inline::AfterInterlocked, irp.cast());
    // SAFETY: PDRIVER_CANCEL is an optional function pointer, so NULL is `None`, and any other value was stored as
    // a Cancel routine.
    unsafe { core::mem::transmute::<*mut c_void, PDRIVER_CANCEL>(old) }
}

/// `Irp->Cancel`: returns whether cancellation of the IRP was requested.
///
/// # Safety
/// As for [`IoSetCancelRoutine`].
#[must_use]
pub unsafe fn is_cancel_requested(irp: *mut IRP) -> bool {
    before(Inline::ReadCancel, irp.cast());
    // SAFETY: only the address is computed, inside the IRP.
    let field = unsafe { addr_of_mut!((*irp).Cancel) };
    // SAFETY: the field is a byte; IoCancelIrp may write it at the same time, so it is read atomically.
    let field = unsafe { AtomicU8::from_ptr(field) };
    field.load(Ordering::SeqCst) != 0
}

/// `Irp->CancelIrql`: returns the IRQL that the Cancel routine must pass to `IoReleaseCancelSpinLock`.
///
/// # Safety
/// The caller is the IRP's Cancel routine and holds the cancel spin lock.
#[must_use]
pub unsafe fn cancel_irql(irp: *mut IRP) -> u8 {
    // SAFETY: IoCancelIrp wrote the field before it called the Cancel routine.
    unsafe { (*irp).CancelIrql }
}

/// Returns the address of `Tail.Overlay.ListEntry`, by which a driver can link an IRP that it owns.
///
/// The pointer is only computed, and is valid if `irp` is.
#[must_use]
pub fn list_entry(irp: *mut IRP) -> *mut LIST_ENTRY {
    overlay(irp)
        .wrapping_byte_add(offset_of!(TailOverlay, ListEntry))
        .cast()
}

/// Returns the IRP of an entry: `CONTAINING_RECORD(entry, IRP, Tail.Overlay.ListEntry)`.
///
/// # Safety
/// `entry` was returned by [`list_entry`].
#[must_use]
pub unsafe fn from_list_entry(entry: *mut LIST_ENTRY) -> *mut IRP {
    let offset = offset_of!(IRP, Tail) + offset_of!(TailOverlay, ListEntry);
    // SAFETY: the entry is at that offset in the IRP.
    unsafe { entry.byte_sub(offset) }.cast()
}

/// Returns the address of `Tail.Overlay.DeviceQueueEntry`, which overlaps the first three words of `DriverContext`.
///
/// The pointer is only computed, and is valid if `irp` is.
#[must_use]
pub fn device_queue_entry(irp: *mut IRP) -> *mut KDEVICE_QUEUE_ENTRY {
    overlay(irp).cast()
}

/// Returns the IRP of an entry: `CONTAINING_RECORD(entry, IRP, Tail.Overlay.DeviceQueueEntry)`.
///
/// # Safety
/// `entry` was returned by [`device_queue_entry`].
#[must_use]
pub unsafe fn from_device_queue_entry(entry: *mut KDEVICE_QUEUE_ENTRY) -> *mut IRP {
    // SAFETY: the entry is at that offset in the IRP.
    unsafe { entry.byte_sub(offset_of!(IRP, Tail)) }.cast()
}

/// Returns the address of the first two words of `Tail.Overlay.DriverContext` as a `LIST_ENTRY`, by which a driver
/// can link an IRP that it owns into a second list. A device queue uses the same words.
///
/// The pointer is only computed, and is valid if `irp` is.
#[must_use]
pub fn second_list_entry(irp: *mut IRP) -> *mut LIST_ENTRY {
    overlay(irp).cast()
}

/// Returns the IRP of a second list entry.
///
/// # Safety
/// `entry` was returned by [`second_list_entry`].
#[must_use]
pub unsafe fn from_second_list_entry(entry: *mut LIST_ENTRY) -> *mut IRP {
    // SAFETY: the entry is at that offset in the IRP.
    unsafe { entry.byte_sub(offset_of!(IRP, Tail)) }.cast()
}

/// Reads word `N` of `Tail.Overlay.DriverContext`.
///
/// # Safety
/// The driver owns `irp`.
#[must_use]
pub unsafe fn driver_context<const N: usize>(irp: *mut IRP) -> *mut c_void {
    // SAFETY: the driver owns the IRP, so it may use the words.
    unsafe { driver_context_word::<N>(irp).read() }
}

/// Writes word `N` of `Tail.Overlay.DriverContext`.
///
/// # Safety
/// The caller owns `irp`.
pub unsafe fn set_driver_context<const N: usize>(irp: *mut IRP, word: *mut c_void) {
    // SAFETY: the caller owns the IRP, so it may use the words.
    unsafe { driver_context_word::<N>(irp).write(word) };
}

fn driver_context_word<const N: usize>(irp: *mut IRP) -> *mut *mut c_void {
    const { assert!(N < 4, "DriverContext has four words") };
    overlay(irp).cast::<*mut c_void>().wrapping_add(N)
}

/// Reads `Parameters.Others.Argument4` of the driver's stack location.
///
/// # Safety
/// The driver owns `irp`, or the caller is its Cancel routine.
#[must_use]
pub unsafe fn argument4(irp: *mut IRP) -> *mut c_void {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the driver may use its stack location until the IRP is completed or passed on.
    unsafe { argument4_of(stack).read() }
}

/// Writes `Parameters.Others.Argument4` of the driver's stack location. In a buffered device control request the
/// field holds the address of the sender's input buffer, which drivers do not use.
///
/// # Safety
/// The caller owns `irp`. If it is passed on, the lower drivers do not need the old value.
pub unsafe fn set_argument4(irp: *mut IRP, word: *mut c_void) {
    // SAFETY: guaranteed by the caller.
    let stack = unsafe { current_stack_location(irp) };
    // SAFETY: the driver may use its stack location until the IRP is completed or passed on.
    unsafe { argument4_of(stack).write(word) };
}

fn argument4_of(stack: *mut IO_STACK_LOCATION) -> *mut *mut c_void {
    const OFFSET: usize =
        offset_of!(IO_STACK_LOCATION, Parameters) + offset_of!(DeviceIoControl, Type3InputBuffer);
    stack.wrapping_byte_add(OFFSET).cast()
}

/// Returns `FsContext` and `FsContext2` of the IRP's file object; NULL if it was sent without one.
///
/// # Safety
/// The caller owns `irp`, or it is on a queue whose lock the caller holds; and the driver has set the fields at
/// `IRP_MJ_CREATE`.
#[must_use]
pub unsafe fn file_contexts(irp: *mut IRP) -> [*mut c_void; 2] {
    // SAFETY: guaranteed by the caller.
    let file = unsafe { file_object(irp) };
    if file.is_null() {
        return [core::ptr::null_mut(); 2];
    }
    // SAFETY: the IRP keeps the file object, whose fields do not change after IRP_MJ_CREATE.
    let first = unsafe { (*file).FsContext };
    // SAFETY: as above.
    let second = unsafe { (*file).FsContext2 };
    [first, second]
}

/// Sets `FsContext` and `FsContext2` of the file object that an `IRP_MJ_CREATE` opens.
///
/// # Safety
/// `irp` is an `IRP_MJ_CREATE` that the caller owns, with a file object.
pub unsafe fn set_file_contexts(irp: *mut IRP, contexts: [*mut c_void; 2]) {
    // SAFETY: guaranteed by the caller.
    let file = unsafe { file_object(irp) };
    let [first, second] = contexts;
    // SAFETY: the driver may use the field, and no other code accesses the file object yet.
    unsafe { (*file).FsContext = first };
    // SAFETY: as above.
    unsafe { (*file).FsContext2 = second };
}

/// `IoSkipCurrentIrpStackLocation`: passes the driver's own stack location to the next lower driver.
///
/// # Safety
/// The caller owns `irp`, has set no completion routine, and then passes the IRP on.
pub unsafe fn IoSkipCurrentIrpStackLocation(irp: *mut IRP) {
    // SAFETY: the caller owns the IRP.
    unsafe { (*irp).CurrentLocation += 1 };
    // SAFETY: as above.
    let current = unsafe { &mut (*overlay(irp)).CurrentStackLocation };
    *current = current.wrapping_add(1);
}

/// `IoCopyCurrentIrpStackLocationToNext`: copies the driver's stack location to that of the next lower driver,
/// except for the completion routine and `Control`.
///
/// # Safety
/// The caller owns `irp`, which has a stack location for a lower driver.
pub unsafe fn IoCopyCurrentIrpStackLocationToNext(irp: *mut IRP) {
    // SAFETY: guaranteed by the caller.
    let current = unsafe { current_stack_location(irp) };
    // SAFETY: as above.
    let next = unsafe { IoGetNextIrpStackLocation(irp) };
    let length = offset_of!(IO_STACK_LOCATION, CompletionRoutine);
    // SAFETY: the caller guarantees that the next stack location exists; stack locations are adjacent, and each is
    // plain data.
    unsafe { core::ptr::copy_nonoverlapping::<u8>(current.cast(), next.cast(), length) };
    // SAFETY: as above.
    unsafe { (*next).Control = 0 };
}

/// `IoSetCompletionRoutine`: sets the routine that is called when the next lower driver has completed the IRP, on
/// success, error or cancellation.
///
/// # Safety
/// The caller owns `irp`, which has a stack location for a lower driver, and then passes it on. `routine` may be
/// called with `context` at an IRQL up to `DISPATCH_LEVEL`, in any thread, until the caller owns the IRP again.
pub unsafe fn IoSetCompletionRoutine(
    irp: *mut IRP,
    routine: PIO_COMPLETION_ROUTINE,
    context: *mut c_void,
    on_success: bool,
    on_error: bool,
    on_cancel: bool,
) {
    // SAFETY: guaranteed by the caller.
    let next = unsafe { IoGetNextIrpStackLocation(irp) };
    // SAFETY: the caller guarantees that the next stack location exists.
    let next = unsafe { &mut *next };
    next.CompletionRoutine = routine;
    next.Context = context;
    let flag = |wanted: bool, flag: u8| if wanted { flag } else { 0 };
    next.Control = flag(on_success, SL_INVOKE_ON_SUCCESS)
        | flag(on_error, SL_INVOKE_ON_ERROR)
        | flag(on_cancel, SL_INVOKE_ON_CANCEL);
}

/// Calls [`IoCopyCurrentIrpStackLocationToNext`], and [`IoSetCompletionRoutine`] for success, error and
/// cancellation.
///
/// # Safety
/// As for [`IoSetCompletionRoutine`].
pub unsafe fn copy_to_next_with_completion(
    irp: *mut IRP,
    routine: PIO_COMPLETION_ROUTINE,
    context: *mut c_void,
) {
    // SAFETY: guaranteed by the caller.
    unsafe { IoCopyCurrentIrpStackLocationToNext(irp) };
    // SAFETY: as above.
    unsafe { IoSetCompletionRoutine(irp, routine, context, true, true, true) };
}

/// `Irp->PendingReturned`, for a completion routine: returns whether the next lower driver has marked the IRP
/// pending.
///
/// # Safety
/// The caller is a completion routine of `irp`.
#[must_use]
pub unsafe fn pending_returned(irp: *mut IRP) -> bool {
    // SAFETY: the caller is a completion routine of the IRP.
    unsafe { (*irp).PendingReturned != 0 }
}
