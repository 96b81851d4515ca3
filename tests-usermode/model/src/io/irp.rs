//! IRPs: their memory, and the I/O manager's record of each.

mod describe;
mod driver;
mod ended;
mod lookup;
mod parameters;

use std::{
    cell::UnsafeCell,
    ops::Range,
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
};

use nt::{DEVICE_OBJECT, IO_STACK_LOCATION, IRP, MDL, SL_PENDING_RETURNED};
use smallvec::{SmallVec, smallvec};

use crate::{
    host::{
        Caller,
        footprint::{self, Access},
        layout::{DeviceIoControl, TailOverlay},
        thread,
    },
    io::{
        cancel::CancelRoutine, file::FileInner, mdl::DirectBuffer, system_buffer::SystemBuffer,
        user_buffer::UserBuffers,
    },
    ke::lists,
    mutex::locked,
    ps::{Process, SYSTEM, USER},
};

pub(in crate::io) use ended::ENDED;

/// `IO_TYPE_IRP`
const IO_TYPE_IRP: i16 = 6;

/// Memory for the kernel's structures, zeroed and with the alignment of the pool.
pub(crate) fn zeroed(size: usize) -> Box<UnsafeCell<[u128]>> {
    let words = vec![0_u128; size.div_ceil(16)].into_boxed_slice();
    // SAFETY: the types have the same layout, and the box is the memory's only owner.
    unsafe { Box::from_raw(Box::into_raw(words) as *mut UnsafeCell<[u128]>) }
}

/// The parameters of an IRP.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IrpParameters {
    pub(crate) major: usize,
    pub(crate) minor: u8,
    pub(crate) code: u32,
    pub(crate) input_length: usize,
    pub(crate) output_length: usize,
    /// The offset of a read or a write.
    pub(crate) offset: i64,
    /// Whether a read or a write is sent to a device with `DO_DIRECT_IO`.
    pub(crate) is_direct: bool,
    /// `Parameters.WMI.ProviderId`
    pub(crate) provider: usize,
    /// The address of `Parameters.StartDevice.AllocatedResources`, and of the same list as translated resources.
    pub(crate) resources: usize,
    /// The type and the state of a power request.
    pub(crate) power: (u32, u32),
}

impl IrpParameters {
    /// Makes the parameters of a request that has only its major and minor function.
    pub(crate) fn new(major: usize, minor: u8) -> Self {
        Self {
            major,
            minor,
            ..Self::default()
        }
    }
}

/// Who made an IRP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The I/O manager.
    IoManager,
    /// A driver, which frees the IRP (`IoAllocateIrp`).
    Allocated,
    /// A driver, which frees the IRP (`IoBuildAsynchronousFsdRequest`).
    Asynchronous,
    /// A driver. The I/O manager frees it when it is completed (`IoBuildDeviceIoControlRequest`).
    Threaded,
    /// A driver, for a part of a master IRP (`IoMakeAssociatedIrp`). The I/O manager frees it when it is completed.
    Associated,
    /// A driver, in memory of its own (`IoInitializeIrp`).
    Initialised,
}

/// The memory of an IRP.
enum Memory {
    /// The IRP, its stack locations and its MDL.
    Own(Box<UnsafeCell<[u128]>>),
    /// The driver's memory, and its size.
    Driver(*mut IRP, usize),
}

/// An IRP and the I/O manager's record of it.
pub(crate) struct IrpRecord {
    memory: Memory,
    /// The creator of the IRP.
    pub(crate) origin: Origin,
    /// The number of stack locations: one for each driver of the device stack.
    stack_count: i8,
    pub(in crate::io) system_buffer: Option<SystemBuffer>,
    /// The pages that the MDL describes.
    pub(crate) direct: Option<DirectBuffer>,
    /// The buffers of a request with `METHOD_NEITHER`.
    pub(in crate::io) user: Option<UserBuffers>,
    /// The structure that the parameters point to.
    pointed_to: Option<Box<UnsafeCell<[u128]>>>,
    pub(crate) number: u32,
    parameters: IrpParameters,
    /// The number of the thread that sent the IRP.
    pub(crate) sender: u32,
    /// The process of the thread that the IRP is associated with, if there is one.
    pub(in crate::io) requestor: Option<Process>,
    pub(crate) file: Option<Arc<FileInner>>,
    /// The key of the IRP among those of its file.
    pub(in crate::io) key: AtomicUsize,
    pub(crate) state: Mutex<State>,
    /// Whether the first dispatch routine has returned.
    pub(crate) has_returned: AtomicBool,
    /// Whether the IRP is on a device queue. The entry itself cannot be read for this, since it overlaps
    /// `DriverContext`.
    is_on_device_queue: AtomicBool,
    /// Whether the model has ever observed a Cancel routine in the IRP.
    pub(crate) had_cancel_routine: AtomicBool,
    /// Whether the IRP was inserted into a queue of the kernel before it was marked pending, and is still on it.
    queued_unmarked: AtomicBool,
    /// Whether the bus driver has received the IRP.
    pub(crate) reached_bus: AtomicBool,
}

/// The state in which the completion left a stack location.
#[derive(Clone, Copy)]
pub(crate) struct CompletedLocation {
    pub(crate) status: i32,
    /// Whether the location was marked pending.
    pub(crate) marked: bool,
}

/// The record of a stack location.
#[derive(Clone, Copy, Default)]
pub(crate) struct Visit {
    /// The state in which the completion left the location; `None` if the completion has not reached it.
    left: Option<CompletedLocation>,
    /// The number of times that the IRP was sent to the location after the completion had left it.
    again: u32,
    /// Whether its dispatch routine has returned `STATUS_PENDING` as the lower driver's, and had not marked it.
    pended: bool,
}

/// The progress of an IRP.
#[derive(Default)]
pub(crate) struct State {
    /// The status and `Information` of the completion.
    pub(crate) completion: Option<(i32, usize)>,
    /// The records of the stack locations, from the lowest to the highest, and one more.
    pub(crate) visits: SmallVec<[Visit; 3]>,
    /// The lower device objects to which a PnP request was sent by an `IoCallDriver` that has returned.
    pub(crate) passed_to: Vec<usize>,
    /// The thread that completed the IRP, and the source line if it is known.
    pub(crate) completed_by: Option<Caller>,
    /// Whether a completion routine has returned `STATUS_MORE_PROCESSING_REQUIRED` last.
    pub(crate) is_kept: bool,
    /// The user-mode output buffer.
    pub(crate) output: Vec<u8>,
    /// The address of the cancel-safe queue that contains the IRP, and the value of `DriverContext[3]` while it does.
    pub(crate) csq: Option<(usize, usize)>,
    /// The parameters with which a driver has sent an IRP that it made.
    pub(crate) parameters: IrpParameters,
    /// The current stack location at which a driver has sent an IRP that it made; `None` if the IRP has returned.
    pub(crate) sent_from: Option<i8>,
    /// The number of times that such an IRP was sent.
    pub(crate) round: u32,
    /// Whether the IRP is complete because the driver that made it has freed it.
    pub(crate) is_freed: bool,
}

impl State {
    fn of_stack(count: i8) -> Self {
        Self {
            visits: smallvec![Visit::default(); usize::from(count.unsigned_abs()) + 1],
            ..Self::default()
        }
    }
}

// SAFETY: the owner of the IRP accesses the memory, as NT requires. The model accesses it by atomics, or while it is
// the owner.
unsafe impl Send for IrpRecord {}
// SAFETY: as above.
unsafe impl Sync for IrpRecord {}

impl IrpRecord {
    /// Makes an IRP that was not sent yet.
    pub(crate) fn new(
        number: u32,
        stack_count: i8,
        parameters: IrpParameters,
        sender: u32,
        file: Option<Arc<FileInner>>,
        input: &[u8],
        output: Vec<u8>,
    ) -> Arc<Self> {
        let direct = DirectBuffer::lock(&parameters, input, &output);
        let system_buffer = SystemBuffer::new(&parameters, input);
        let mode = file.as_ref().map_or(0, |file| file.requestor_mode());
        let user = UserBuffers::new(&parameters, input, &output, mode);
        let pointed_to = parameters::pointed_to(&parameters);
        let mdl = direct.as_ref().map(DirectBuffer::mdl);
        let mdl_size = mdl.map_or(0, |mdl| usize::try_from(mdl.Size).unwrap_or_default());
        let record = Arc::new(Self {
            system_buffer,
            direct,
            user,
            pointed_to,
            parameters,
            requestor: Some(if mode == 0 { SYSTEM } else { USER }),
            file,
            state: Mutex::new(State {
                output,
                ..State::of_stack(stack_count.max(1))
            }),
            ..Self::blank(
                number,
                stack_count.max(1),
                sender,
                Origin::IoManager,
                mdl_size,
            )
        });
        record.fill_in();
        record
    }

    /// Makes an IRP of a driver, in the driver's memory or in its own.
    pub(crate) fn of_driver(
        number: u32,
        stack_count: i8,
        (sender, process): (u32, Process),
        origin: Origin,
        memory: Option<(*mut IRP, usize)>,
    ) -> Self {
        let mut record = Self::blank(number, stack_count, sender, origin, 0);
        let has_thread = !matches!(origin, Origin::Allocated | Origin::Initialised);
        record.requestor = has_thread.then_some(process);
        if let Some((irp, size)) = memory {
            record.memory = Memory::Driver(irp, size);
        }
        record.clear();
        // The driver that allocates an IRP sets the thread itself.
        if has_thread {
            record.set_thread();
        }
        record
    }

    fn blank(number: u32, stack_count: i8, sender: u32, origin: Origin, mdl_size: usize) -> Self {
        // One more, for a driver that reads the current stack location of an IRP that was not sent.
        let locations = usize::from(stack_count.unsigned_abs()) + 1;
        let stack_size = size_of::<IO_STACK_LOCATION>() * locations;
        let memory = if origin == Origin::Initialised {
            Memory::Driver(null_mut(), 0)
        } else {
            Memory::Own(zeroed(size_of::<IRP>() + stack_size + mdl_size))
        };
        Self {
            memory,
            origin,
            stack_count,
            system_buffer: None,
            direct: None,
            user: None,
            pointed_to: None,
            number,
            parameters: IrpParameters::default(),
            sender,
            requestor: None,
            file: None,
            key: AtomicUsize::new(0),
            state: Mutex::new(State::of_stack(stack_count)),
            has_returned: AtomicBool::new(false),
            is_on_device_queue: AtomicBool::new(false),
            had_cancel_routine: AtomicBool::new(false),
            queued_unmarked: AtomicBool::new(false),
            reached_bus: AtomicBool::new(false),
        }
    }

    /// Makes the IRP an unsent one, without parameters.
    pub(crate) fn clear(&self) {
        let stack_size =
            size_of::<IO_STACK_LOCATION>() * usize::from(self.stack_count.unsigned_abs());
        let size = size_of::<IRP>() + stack_size;
        // SAFETY: the memory is at least as long, and the driver that makes the IRP owns it.
        unsafe { self.raw().cast::<u8>().write_bytes(0, size) };
        // SAFETY: zero is valid for every field; as above.
        let irp = unsafe { &mut *self.raw() };
        irp.Type = IO_TYPE_IRP;
        irp.Size = u16::try_from(size).unwrap_or_default();
        irp.StackCount = self.stack_count;
        irp.CurrentLocation = self.stack_count + 1;
        self.overlay().current_stack_location = self.location(self.stack_count + 1);
    }

    /// Sets `Irp->Tail.Overlay.Thread`.
    fn set_thread(&self) {
        let thread = thread::object_of(self.sender);
        self.overlay().thread = std::ptr::without_provenance_mut(thread);
    }

    fn fill_in(&self) {
        self.clear();
        // SAFETY: zero is valid for every field, and no other thread knows the IRP yet.
        let irp = unsafe { &mut *self.raw() };
        let mode = self.file.as_ref().map(|file| file.requestor_mode());
        irp.RequestorMode = mode.unwrap_or_default();
        irp.Flags = self.parameters.flags();
        if let Some(buffer) = &self.system_buffer {
            irp.AssociatedIrp.SystemBuffer = buffer.start().cast();
        }
        if let Some(direct) = &self.direct {
            irp.MdlAddress = self.mdl();
            // SAFETY: the MDL is inside the memory, which is aligned, and no other thread knows it yet.
            unsafe { self.mdl().write(direct.mdl()) };
        }
        self.set_thread();
        if let Some(file) = &self.file {
            self.overlay().original_file_object = file.object();
        }
        if let Some(user) = &self.user {
            irp.UserBuffer = user.output();
        }
        // SAFETY: the stack location is inside the memory, and zero is valid for every field.
        let stack = unsafe { &mut *self.location(self.stack_count) };
        stack.MajorFunction = u8::try_from(self.parameters.major).unwrap_or_default();
        stack.MinorFunction = self.parameters.minor;
        stack.FileObject = self
            .file
            .as_ref()
            .map_or(std::ptr::null_mut(), |file| file.object());
        let parameters = (&raw mut stack.Parameters).cast::<DeviceIoControl>();
        // SAFETY: the layouts are asserted to be the same.
        unsafe { parameters.write(self.first_parameters()) };
    }

    /// Returns the IRP.
    pub(crate) fn raw(&self) -> *mut IRP {
        match &self.memory {
            Memory::Own(memory) => memory.get().cast(),
            Memory::Driver(irp, _) => *irp,
        }
    }

    fn size(&self) -> usize {
        match &self.memory {
            Memory::Own(memory) => size_of_val(&**memory),
            Memory::Driver(_, size) => *size,
        }
    }

    /// Returns the address of the MDL, after the last stack location, if there is one.
    pub(crate) fn mdl(&self) -> *mut MDL {
        self.location(self.stack_count + 2).cast()
    }

    pub(crate) fn address(&self) -> usize {
        self.raw().addr()
    }

    /// Records that the current step reads or changes the IRP.
    pub(crate) fn touch(&self) {
        footprint::touch(self.address(), Access::Exclusive);
    }

    /// Returns the address range of the memory.
    pub(crate) fn addresses(&self) -> Range<usize> {
        let start = self.address();
        start..start + self.size()
    }

    /// Returns whether an address is in the memory.
    pub(crate) fn contains(&self, address: usize) -> bool {
        self.addresses().contains(&address)
    }

    /// Returns the address of the file; `None` if the IRP was sent without one.
    pub(in crate::io) fn file_address(&self) -> Option<usize> {
        self.file.as_ref().map(|file| Arc::as_ptr(file).addr())
    }

    /// Returns a stack location by its number; 1 is that of the lowest driver.
    pub(in crate::io) fn location(&self, number: i8) -> *mut IO_STACK_LOCATION {
        let locations = self.raw().wrapping_add(1).cast::<IO_STACK_LOCATION>();
        locations.wrapping_offset(isize::from(number) - 1)
    }

    #[expect(clippy::mut_from_ref, reason = "only the owner of the IRP accesses it")]
    fn overlay(&self) -> &mut TailOverlay {
        // SAFETY: the IRP is inside the memory.
        let tail = unsafe { &raw mut (*self.raw()).Tail };
        // SAFETY: the layout is asserted, and the caller owns the IRP.
        unsafe { &mut *tail.cast() }
    }

    /// Returns the number of the current stack location; one more than the count if the IRP was not sent yet.
    pub(crate) fn current(&self) -> i8 {
        // SAFETY: the caller owns the IRP.
        unsafe { (*self.raw()).CurrentLocation }
    }

    /// Returns whether the current stack location is a driver's; not so if the IRP was not sent yet, or has returned.
    pub(crate) fn has_location(&self) -> bool {
        self.current() <= self.stack_count
    }

    /// Returns the current stack location.
    #[expect(clippy::mut_from_ref, reason = "only the owner of the IRP accesses it")]
    pub(crate) fn stack(&self) -> &mut IO_STACK_LOCATION {
        let current = self.overlay().current_stack_location;
        // SAFETY: the IRP was sent, so its current stack location is inside the memory.
        unsafe { &mut *current }
    }

    /// Moves to the stack location of the next lower driver, which must exist.
    pub(crate) fn next_location(&self, device: *mut DEVICE_OBJECT) {
        // SAFETY: the caller owns the IRP.
        unsafe { (*self.raw()).CurrentLocation -= 1 };
        let overlay = self.overlay();
        overlay.current_stack_location = overlay.current_stack_location.wrapping_sub(1);
        self.stack().DeviceObject = device;
    }

    /// Moves back to the upper driver's stack location; returns whether there is one.
    pub(crate) fn previous_location(&self) -> bool {
        // SAFETY: the caller owns the IRP.
        unsafe { (*self.raw()).CurrentLocation += 1 };
        let overlay = self.overlay();
        overlay.current_stack_location = overlay.current_stack_location.wrapping_add(1);
        self.has_location()
    }

    /// Returns the device object of the current stack location.
    pub(crate) fn device(&self) -> *mut DEVICE_OBJECT {
        self.stack().DeviceObject
    }

    /// Returns the state in which the completion left a stack location, or `None` if the completion has not reached it, and
    /// the number of times that the IRP was sent to it again.
    pub(crate) fn visit(state: &State, location: i8) -> (Option<CompletedLocation>, u32) {
        let index = usize::try_from(location).unwrap_or_default().checked_sub(1);
        let visit = index.and_then(|index| state.visits.get(index));
        visit.map_or((None, 0), |visit| (visit.left, visit.again))
    }

    /// Records the state in which the completion leaves a stack location, or `None` when the IRP is sent to it. Returns the
    /// number of times that it was sent there again.
    pub(crate) fn leave(&self, location: i8, left: Option<CompletedLocation>) -> u32 {
        let Some(index) = usize::try_from(location)
            .ok()
            .and_then(|location| location.checked_sub(1))
        else {
            return 0;
        };
        let mut state = locked(&self.state);
        let Some(visit) = state.visits.get_mut(index) else {
            return 0;
        };
        if left.is_none() && visit.left.is_some() {
            visit.again += 1;
        }
        visit.left = left;
        visit.pended = false;
        visit.again
    }

    /// Records that the dispatch routine of a stack location that is not marked has returned `STATUS_PENDING`.
    pub(crate) fn note_pended(&self, location: i8) {
        let mut state = locked(&self.state);
        let index = usize::try_from(location - 1).unwrap_or(usize::MAX);
        if let Some(visit) = state
            .visits
            .get_mut(index)
            .filter(|visit| visit.left.is_none())
        {
            visit.pended = true;
        }
    }

    /// Returns whether the dispatch routine of a stack location has returned `STATUS_PENDING` and had not marked it.
    pub(crate) fn is_pended(&self, location: i8) -> bool {
        let state = locked(&self.state);
        let index = usize::try_from(location - 1).unwrap_or(usize::MAX);
        state.visits.get(index).is_some_and(|visit| visit.pended)
    }

    /// Returns whether a stack location is marked pending.
    pub(crate) fn is_marked(&self, location: i8) -> bool {
        let location = self.location(location);
        // SAFETY: the stack location is inside the memory.
        let control = unsafe { &raw mut (*location).Control };
        // SAFETY: the field is a byte; the owner of the IRP may write it at the same time.
        let control = unsafe { AtomicU8::from_ptr(control) };
        control.load(Ordering::Relaxed) & SL_PENDING_RETURNED != 0
    }

    fn cancel_field(&self) -> &AtomicU8 {
        // SAFETY: the field is inside the IRP.
        let field = unsafe { &raw mut (*self.raw()).Cancel };
        // SAFETY: the field is a byte, and read and written atomically.
        unsafe { AtomicU8::from_ptr(field) }
    }

    /// Sets `Irp->Cancel`.
    pub(crate) fn set_cancel(&self) {
        footprint::touch_memory();
        self.cancel_field().store(1, Ordering::SeqCst);
    }

    /// Returns whether `Irp->Cancel` is set.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel_field().load(Ordering::SeqCst) != 0
    }

    pub(crate) fn set_cancel_irql(&self, irql: u8) {
        // SAFETY: IoCancelIrp has taken the Cancel routine, so no thread completes the IRP before the routine is
        // called.
        unsafe { (*self.raw()).CancelIrql = irql };
    }

    /// Takes the Cancel routine (`IoSetCancelRoutine` with NULL).
    pub(crate) fn take_cancel_routine(&self) -> Option<CancelRoutine> {
        footprint::touch_memory();
        // SAFETY: the record keeps the IRP's memory.
        let routine = unsafe { nt::irp::IoSetCancelRoutine(self.raw(), None) };
        if routine.is_some() {
            self.had_cancel_routine.store(true, Ordering::Relaxed);
        }
        routine
    }

    /// Returns whether a Cancel routine is set.
    pub(crate) fn has_cancel_routine(&self) -> bool {
        // SAFETY: the field is inside the IRP.
        let field = unsafe { &raw mut (*self.raw()).CancelRoutine };
        // SAFETY: the field is a pointer, which is accessed only atomically.
        let field = unsafe { std::sync::atomic::AtomicPtr::<()>::from_ptr(field.cast()) };
        let has = !field.load(Ordering::SeqCst).is_null();
        if has {
            self.had_cancel_routine.store(true, Ordering::Relaxed);
        }
        has
    }

    /// Records that the IRP is inserted into a queue of the kernel or removed from it. A driver that sets the pending bit
    /// itself does not call the model.
    fn note_queued(&self, queued: bool) {
        let marked = self.is_marked(self.current());
        self.queued_unmarked
            .store(queued && !marked, Ordering::Relaxed);
    }

    /// Returns whether the IRP was inserted into a queue of the kernel before it was marked pending.
    pub(crate) fn was_queued_unmarked(&self) -> bool {
        self.queued_unmarked.load(Ordering::Relaxed)
    }

    pub(crate) fn is_completed(&self) -> bool {
        locked(&self.state).completion.is_some()
    }

    /// Returns whether the IRP is on a device queue.
    pub(crate) fn is_on_device_queue(&self) -> bool {
        self.is_on_device_queue.load(Ordering::Relaxed)
    }

    /// Returns whether the list entry is on a list. The driver can use the memory of the entry for something else.
    pub(crate) fn is_linked(&self) -> bool {
        lists::is_on_list(nt::irp::list_entry(self.raw()).addr())
    }
}
