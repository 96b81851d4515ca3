//! IRPs that a driver makes and sends.
//!
//! An IRP of `IoAllocateIrp` returns to its driver in a completion routine, which keeps it with `STATUS_MORE_PROCESSING_REQUIRED`.
//! The driver frees it. The I/O manager frees an IRP of `IoBuildDeviceIoControlRequest` and sets the driver's event.
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/kernel/creating-irps-for-lower-level-drivers)

use std::{
    ffi::c_void,
    ptr::null_mut,
    sync::{Arc, atomic::Ordering},
};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IO_STATUS_BLOCK, IRP, IRP_BUFFERED_IO, IRP_DEALLOCATE_BUFFER,
    IRP_INPUT_OPERATION, KEVENT, NTSTATUS,
};

use crate::{
    host::{
        Call, footprint,
        layout::{DeviceIoControl, Dispatcher},
    },
    io::irp::{IrpRecord, Origin},
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The tag of a system buffer that a driver frees.
const TAG: u32 = u32::from_le_bytes(*b"Io  ");

impl Origin {
    /// Returns whether the driver that makes the IRP frees it.
    fn is_freed_by_driver(self) -> bool {
        matches!(
            self,
            Self::Allocated | Self::Asynchronous | Self::Initialised
        )
    }
}

/// The buffers of a request that a driver makes.
#[derive(Clone, Copy)]
struct Buffers {
    input: *mut c_void,
    input_length: u32,
    output: *mut c_void,
    output_length: u32,
}

impl Call {
    /// Makes an IRP of a driver, and calls a closure that sets it up.
    pub(in crate::io) fn make_irp(
        &self,
        stack_size: i8,
        origin: Origin,
        memory: Option<(*mut IRP, usize)>,
        set_up: impl FnOnce(&mut IrpRecord) -> Option<()>,
    ) -> *mut IRP {
        let io = self.kernel.io();
        let mut record = IrpRecord::of_driver(
            io.next_irp(),
            stack_size,
            (self.number, self.process()),
            origin,
            memory,
        );
        if set_up(&mut record).is_none() {
            return null_mut();
        }
        let record = Arc::new(record);
        footprint::make(record.addresses());
        self.kernel.sleepers.nodes.forget(record.addresses());
        io.add(&record);
        record.raw()
    }

    /// Stops the system if a driver completes an IRP that it has made itself and not sent.
    pub(in crate::io) fn require_sent(&self, record: &IrpRecord) {
        let rule = match record.origin {
            Origin::Asynchronous => Rule::IoBuildFsdComplete,
            _ => Rule::IoAllocateComplete,
        };
        let owned = record.origin.is_freed_by_driver() && !record.is_down();
        self.require(!owned, rule, || {
            format!("{record} is completed by the driver that has made it, and must be freed by it")
        });
    }

    /// Stops the system if an IRP has returned to the driver that has made it and frees it, but its completion routine has
    /// not kept it. `answer` is the routine's result, or `None` if there was no routine for the status.
    pub(in crate::io) fn require_kept(
        &self,
        record: &IrpRecord,
        is_back: bool,
        answer: Option<NTSTATUS>,
    ) {
        if !is_back || !record.origin.is_freed_by_driver() {
            return;
        }
        let continues = "the I/O manager goes on to complete an IRP that it has not made";
        let what = match answer {
            None => format!(
                "{record} has returned to the driver that has made it, which has no completion routine for it: {continues}"
            ),
            Some(answer) if locked(&record.state).is_freed => format!(
                "the completion routine has freed {record}, and returns {answer:#x}, not STATUS_MORE_PROCESSING_REQUIRED: \
                 the I/O manager goes on with memory that is free"
            ),
            Some(answer) => format!(
                "the completion routine of {record} returns {answer:#x}, not STATUS_MORE_PROCESSING_REQUIRED: {continues}"
            ),
        };
        self.stop(BugCheck::NONE, Rule::OwnIrp, what);
    }

    /// Ends an IRP that a driver has made and the I/O manager frees. `is_event_set` is whether a completion routine has set its event.
    pub(in crate::io) fn finish_threaded(&self, record: &Arc<IrpRecord>, is_event_set: bool) {
        record.touch();
        footprint::touch_memory();
        // SAFETY: the caller that completes an IRP owns it.
        let irp = unsafe { &mut *record.raw() };
        // SAFETY: as above.
        let status = unsafe { nt::irp::status(record.raw()) };
        let information = usize::try_from(irp.IoStatus.Information).unwrap_or(usize::MAX);
        let copied = status.cast_unsigned() >> 30 != 3;
        self.verify_information(record, information, copied);
        let (block, event) = (irp.UserIosb, irp.UserEvent);
        if irp.Flags & IRP_INPUT_OPERATION != 0 && copied {
            let bytes = record.system_bytes(information);
            // SAFETY: the driver has given a buffer of the length that was verified, which stays until the request ends.
            unsafe { self.fill(irp.UserBuffer.cast(), bytes) };
        }
        let by = self.caller();
        let is_first = {
            let mut state = locked(&record.state);
            state.completed_by = Some(by);
            state.completion.replace((status, information)).is_none()
        };
        self.require(is_first, Rule::DoubleCompletion, || {
            let bug_check = BugCheck(0x44, [record.address() as u64, 0, 0, 0]);
            (bug_check, format!("{record} is completed again"))
        });
        // The caller that gets an error immediately relies on it, and on nothing else.
        // [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_io_status_block)
        let is_answered = copied || irp.PendingReturned != 0;
        let is_set_twice = is_answered && is_event_set;
        self.require(!is_set_twice, Rule::IoBuildDeviceIoControlSetEvent, || {
            format!(
                "the completion routine of {record} has set the event that the I/O manager sets when the request has ended: whoever waits \
                 goes on before that, and the event and the status block are written later"
            )
        });
        if is_answered && !block.is_null() {
            // SAFETY: the driver has given a status block that stays until the request ends.
            let _ = unsafe { self.view::<IO_STATUS_BLOCK, _>(block) };
            let value = IO_STATUS_BLOCK {
                Status: status,
                Reserved: 0,
                Information: information as u64,
            };
            // SAFETY: as above.
            unsafe { block.write(value) };
        }
        self.free_mdls(record);
        self.kernel.io().threaded.fetch_sub(1, Ordering::Relaxed);
        self.kernel.io().retire(record);
        record.poison();
        if is_answered && !event.is_null() {
            // SAFETY: as above, for the event.
            let event = unsafe { self.view::<Dispatcher, _>(event) };
            self.synchronise((&raw const *event).addr());
            self.set_event(event);
        }
    }

    /// Stops the system if a driver that is unloaded has not freed an IRP that it has made.
    pub(in crate::io) fn require_no_kept_irp(&self) {
        if let Some(record) = self.kernel.io().kept().first() {
            let what =
                format!("the driver is unloaded and has not freed {record}, which it has made");
            self.stop(BugCheck::NONE, Rule::OwnIrp, what);
        }
    }

    /// Stops the system if memory is freed that holds an IRP which has not returned to its driver, or a remove lock that is held.
    pub(crate) fn memory_freed(&self, start: usize, length: usize) {
        self.forget_remove_locks(start..start + length);
        self.require_no_work_item_in(&(start..start + length));
        self.require_no_locked_mdl_in(&(start..start + length));
        let io = self.kernel.io();
        io.notifications
            .require_no_context_in(self, start..start + length);
        self.require_no_setting_context_in(&(start..start + length));
        let any = io.initialised.load(Ordering::Relaxed) != 0;
        let forgotten = any.then(|| io.forget_in(&(start..start + length)));
        if let Some(record) = forgotten.flatten() {
            let what =
                format!("the memory of {record} is freed, which was sent and has not returned");
            self.stop(BugCheck::NONE, Rule::OwnIrp, what);
        }
    }

    fn free_irp(&self, irp: *mut IRP) {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        footprint::touch(irp.addr(), footprint::Access::Exclusive);
        let address = irp.addr() as u64;
        let Some(record) = self.kernel.io().find(irp.addr()) else {
            let what = format!("{irp:?} is freed, and is not an IRP");
            self.stop(BugCheck::io(1, [address, 0, 0]), Rule::IoAllocateFree, what)
        };
        let (ended, is_freed) = {
            let state = locked(&record.state);
            let ended = state.completed_by.clone();
            (ended, state.is_freed)
        };
        let (code, rule, what) = match (record.origin, ended) {
            (Origin::Threaded, _) => (
                2,
                Rule::IoBuildDeviceControlNoFree,
                "the I/O manager frees it when it is completed".to_owned(),
            ),
            (Origin::IoManager, _) => (
                2,
                Rule::IoAllocateFree,
                "the I/O manager has made it: a driver completes it".to_owned(),
            ),
            (_, Some(by)) if is_freed => {
                (1, Rule::IoAllocateFree, format!("{by} has freed it before"))
            }
            (Origin::Initialised, _) => (
                1,
                Rule::IoAllocateFree,
                "its memory is the driver's own (IoInitializeIrp)".to_owned(),
            ),
            _ if record.is_down() => (
                0x20b,
                Rule::IoAllocateFree,
                "it is still in use: it has not returned to the driver that has made it".to_owned(),
            ),
            _ => {
                let by = self.caller();
                {
                    let mut state = locked(&record.state);
                    state.completion = Some((0, 0));
                    state.completed_by = Some(by);
                    state.is_freed = true;
                }
                footprint::free(record.addresses());
                self.kernel.io().retire(&record);
                return record.poison();
            }
        };
        let what = format!("{record} is freed by IoFreeIrp, but {what}");
        self.stop(BugCheck::io(code, [address, 0, 0]), rule, what);
    }

    /// Fills in the stack location of the next driver, and the fields of the IRP.
    fn set_up(
        &self,
        record: &IrpRecord,
        (major, parameters): (usize, DeviceIoControl),
        flags: u32,
        (event, block): (*mut KEVENT, *mut IO_STATUS_BLOCK),
    ) {
        let irp = record.raw();
        // SAFETY: the IRP is made here.
        let stack = unsafe { nt::IoGetNextIrpStackLocation(irp) };
        // SAFETY: as above; it has a stack location for each lower driver.
        let stack = unsafe { &mut *stack };
        stack.MajorFunction = u8::try_from(major).unwrap_or_default();
        let field = (&raw mut stack.Parameters).cast::<DeviceIoControl>();
        // SAFETY: the layouts are asserted to be the same.
        unsafe { field.write(parameters) };
        // SAFETY: as above.
        let irp = unsafe { &mut *irp };
        irp.Flags = flags;
        irp.UserEvent = event;
        irp.UserIosb = block;
        if record.origin == Origin::Threaded {
            self.kernel.io().threaded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Allocates a system buffer for the longer of input and output. Returns whether this succeeded.
    fn give_system_buffer(&self, record: &mut IrpRecord, buffers: Buffers) -> Option<u32> {
        let length = buffers.input_length.max(buffers.output_length) as usize;
        if length == 0 {
            return Some(0);
        }
        let start = if record.origin == Origin::Threaded {
            record.own_system_buffer(length)
        } else {
            self.allocate_pool(length, TAG, false)
        };
        if start.is_null() {
            return None;
        }
        let length = buffers.input_length as usize;
        // SAFETY: the driver gives a buffer of this length.
        let input = unsafe { self.elements(buffers.input.cast::<u8>(), length) };
        // SAFETY: the system buffer is as long.
        unsafe { start.cast::<u8>().copy_from(input.as_ptr(), length) };
        // SAFETY: the IRP is made here.
        let irp = unsafe { &mut *record.raw() };
        irp.AssociatedIrp.SystemBuffer = start;
        irp.UserBuffer = buffers.output;
        let is_input = buffers.output_length != 0;
        let input = if is_input { IRP_INPUT_OPERATION } else { 0 };
        Some(IRP_BUFFERED_IO | IRP_DEALLOCATE_BUFFER | input)
    }

    /// Makes an MDL of a buffer, whose pages are locked. Returns whether this succeeded.
    fn give_mdl(&self, record: &IrpRecord, buffer: *mut c_void, length: u32) -> Option<()> {
        if length == 0 {
            return Some(());
        }
        self.require_array(buffer.cast::<u8>(), length as usize);
        let mdl = self.allocate_mdl(length)?;
        // SAFETY: there is room for an MDL, which no other thread knows yet.
        unsafe { mdl.write(super::own_mdl::locked_mdl(buffer, length)) };
        // SAFETY: the IRP is made here.
        unsafe { (*record.raw()).MdlAddress = mdl };
        Some(())
    }

    /// `IoBuildSynchronousFsdRequest` and `IoBuildAsynchronousFsdRequest`.
    #[expect(clippy::too_many_arguments, reason = "they are those of the routines")]
    fn build_fsd_request(
        &self,
        origin: Origin,
        major: u32,
        device: *mut DEVICE_OBJECT,
        buffer: *mut c_void,
        length: u32,
        offset: *mut i64,
        answer: (*mut KEVENT, *mut IO_STATUS_BLOCK),
    ) -> *mut IRP {
        self.require_at_most(1, Rule::Irql, 0xe5);
        self.require_live_device(device);
        if self.kernel.fails() {
            return null_mut();
        }
        let major = major as usize;
        // SAFETY: the device object is alive.
        let device = unsafe { &*device };
        let (stack_size, kind) = (device.StackSize, device.Flags);
        // SAFETY: the caller passes NULL or an offset.
        let offset = unsafe { self.optional(offset) }.unwrap_or_default();
        let transfers = matches!(major, nt::IRP_MJ_READ | nt::IRP_MJ_WRITE);
        let parameters = DeviceIoControl {
            output_length: if transfers { length.into() } else { 0 },
            input_length: 0,
            code: if transfers { offset.cast_unsigned() } else { 0 },
            type3_input: null_mut(),
        };
        self.make_irp(stack_size, origin, None, |record| {
            let mut flags = 0;
            let is_read = major == nt::IRP_MJ_READ;
            if transfers && kind & nt::DO_BUFFERED_IO != 0 {
                let buffers = Buffers {
                    input: buffer,
                    input_length: if is_read { 0 } else { length },
                    output: buffer,
                    output_length: if is_read { length } else { 0 },
                };
                flags = self.give_system_buffer(record, buffers)?;
            } else if transfers && kind & nt::DO_DIRECT_IO != 0 {
                self.give_mdl(record, buffer, length)?;
            } else {
                // SAFETY: the IRP is made here.
                unsafe { (*record.raw()).UserBuffer = buffer };
            }
            self.set_up(record, (major, parameters), flags, answer);
            Some(())
        })
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioallocateirp)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoAllocateIrp(stack_size: i8, _charge_quota: u8) -> *mut IRP {
    let call = Call::enter_noted("IoAllocateIrp").at_most(DISPATCH_LEVEL);
    if call.kernel.fails() {
        return null_mut();
    }
    call.make_irp(stack_size, Origin::Allocated, None, |_| Some(()))
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioinitializeirp)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoInitializeIrp(irp: *mut IRP, size: u16, stack_size: i8) {
    let call = Call::enter_noted("IoInitializeIrp").at_most(DISPATCH_LEVEL);
    call.require_room(irp);
    let known = call.kernel.io().find(irp.addr());
    if let Some(record) = known.filter(|record| !record.is_completed()) {
        let is_own = record.origin == Origin::Initialised;
        call.require(is_own && !record.is_down(), Rule::OwnIrp, || {
            let (code, why) = if is_own {
                (0, "it was sent, and has not returned")
            } else {
                (
                    0x20d,
                    "IoAllocateIrp has initialised it; IoReuseIrp is for one that is used again",
                )
            };
            let what = format!("{record} is passed to IoInitializeIrp, but {why}");
            let bug_check = if code == 0 {
                BugCheck::NONE
            } else {
                BugCheck::io(code, [0, irp.addr() as u64, 0])
            };
            (bug_check, what)
        });
    }
    call.require(size >= nt::IoSizeOfIrp(stack_size), Rule::OwnIrp, || {
        let needed = nt::IoSizeOfIrp(stack_size);
        format!(
            "an IRP with {stack_size} stack locations has {needed} bytes, and PacketSize is {size}"
        )
    });
    call.kernel.io().initialised.fetch_add(1, Ordering::Relaxed);
    let memory = Some((irp, size.into()));
    call.make_irp(stack_size, Origin::Initialised, memory, |_| Some(()));
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioreuseirp)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoReuseIrp(irp: *mut IRP, status: NTSTATUS) {
    let call = Call::enter_noted("IoReuseIrp").at_most(DISPATCH_LEVEL);
    let record = call.live_irp(irp);
    let is_own = matches!(record.origin, Origin::Allocated | Origin::Initialised);
    call.require(is_own && !record.is_down(), Rule::IoReuseIrp, || {
        let why = if is_own {
            "it was sent, and has not returned"
        } else {
            "the driver has not made it by IoAllocateIrp"
        };
        format!("{record} is passed to IoReuseIrp, but {why}")
    });
    record.clear();
    // SAFETY: the IRP is the driver's.
    unsafe { nt::irp::set_status(irp, status) };
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iofreeirp)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoFreeIrp(irp: *mut IRP) {
    let call = Call::enter_noted("IoFreeIrp");
    call.switch_if_unguarded(call.routine());
    call.free_irp(irp);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iobuilddeviceiocontrolrequest)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoBuildDeviceIoControlRequest(
    code: u32,
    device: *mut DEVICE_OBJECT,
    input: *mut c_void,
    input_length: u32,
    output: *mut c_void,
    output_length: u32,
    internal: u8,
    event: *mut KEVENT,
    block: *mut IO_STATUS_BLOCK,
) -> *mut IRP {
    let call = Call::enter_noted("IoBuildDeviceIoControlRequest");
    call.require_at_most(1, Rule::IrqlIoPassive1, 0x2_000a);
    call.require_live_device(device);
    call.require_room(block);
    let is_paired = |buffer: *mut c_void, length| length == 0 || !buffer.is_null();
    let valid = is_paired(input, input_length) && is_paired(output, output_length);
    call.require(valid, Rule::Pointer, || {
        let bug_check = BugCheck::io(9, [device.addr() as u64, code.into(), 0]);
        (bug_check, "a buffer is NULL, and its length is not zero")
    });
    if call.kernel.fails() {
        return null_mut();
    }
    let buffers = Buffers {
        input,
        input_length,
        output,
        output_length,
    };
    let method = code & 3;
    let major = if internal == 0 {
        nt::IRP_MJ_DEVICE_CONTROL
    } else {
        nt::IRP_MJ_INTERNAL_DEVICE_CONTROL
    };
    let is_direct = matches!(method, nt::METHOD_IN_DIRECT | nt::METHOD_OUT_DIRECT);
    let is_neither = !is_direct && method != nt::METHOD_BUFFERED;
    let parameters = DeviceIoControl {
        output_length: output_length.into(),
        input_length: input_length.into(),
        code: code.into(),
        type3_input: if is_neither { input } else { null_mut() },
    };
    // SAFETY: the device object is alive.
    let stack_size = unsafe { (*device).StackSize };
    call.make_irp(stack_size, Origin::Threaded, None, |record| {
        let mut flags = 0;
        if is_neither {
            // SAFETY: the IRP is made here.
            unsafe { (*record.raw()).UserBuffer = output };
        } else {
            let copied = Buffers {
                output_length: if is_direct { 0 } else { output_length },
                ..buffers
            };
            flags = call.give_system_buffer(record, copied)?;
        }
        if is_direct {
            call.give_mdl(record, output, output_length)?;
        }
        call.set_up(record, (major, parameters), flags, (event, block));
        Some(())
    })
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iobuildsynchronousfsdrequest)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoBuildSynchronousFsdRequest(
    major: u32,
    device: *mut DEVICE_OBJECT,
    buffer: *mut c_void,
    length: u32,
    offset: *mut i64,
    event: *mut KEVENT,
    block: *mut IO_STATUS_BLOCK,
) -> *mut IRP {
    let call = Call::enter_noted("IoBuildSynchronousFsdRequest");
    call.require_room(event);
    call.require_room(block);
    let answer = (event, block);
    call.build_fsd_request(
        Origin::Threaded,
        major,
        device,
        buffer,
        length,
        offset,
        answer,
    )
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iobuildasynchronousfsdrequest)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoBuildAsynchronousFsdRequest(
    major: u32,
    device: *mut DEVICE_OBJECT,
    buffer: *mut c_void,
    length: u32,
    offset: *mut i64,
    block: *mut IO_STATUS_BLOCK,
) -> *mut IRP {
    let call = Call::enter_noted("IoBuildAsynchronousFsdRequest");
    let answer = (null_mut(), block);
    call.build_fsd_request(
        Origin::Asynchronous,
        major,
        device,
        buffer,
        length,
        offset,
        answer,
    )
}
