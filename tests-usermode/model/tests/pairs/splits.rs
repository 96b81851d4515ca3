//! Requests that are split, sent again, or accessed in the address space of user mode.
//!
//! The expected results are those of these pages: [`IoMakeAssociatedIrp`], [`IoBuildPartialMdl`], [`IoCompleteRequest`], [`ProbeForRead`],
//! [using neither buffered nor direct I/O], [bug check 0x44], [bug check 0x40].
//!
//! [`IoMakeAssociatedIrp`]: https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-iomakeassociatedirp
//! [`IoBuildPartialMdl`]: https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iobuildpartialmdl
//! [`IoCompleteRequest`]: https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocompleterequest
//! [`ProbeForRead`]: https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-probeforread
//! [using neither buffered nor direct I/O]: https://learn.microsoft.com/windows-hardware/drivers/kernel/using-neither-buffered-nor-direct-i-o
//! [bug check 0x44]: https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0x44--multiple-irp-complete-requests
//! [bug check 0x40]: https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0x40--target-mdl-too-small

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::{from_ref, null_mut},
    sync::{Arc, atomic::AtomicI32},
};

use nt::{
    DEVICE_OBJECT, IO_WORKITEM, IRP, KDPC, KTIMER, MDL, NTSTATUS, STATUS_DEVICE_BUSY,
    STATUS_MORE_PROCESSING_REQUIRED, STATUS_PENDING, STATUS_SUCCESS,
    interlocked::{InterlockedDecrement, InterlockedExchange, InterlockedIncrement},
    irp::IoControl,
};
use ntmodel::Kernel;

use crate::{
    call::{initialise_dpc, on_completion, queue_work},
    frame::{CORRECT, get, put},
    steps::{Stage, Steps, complete, end_of, entry, lower, mark},
};

/// The IOCTLs of the lower driver: complete immediately, complete in a DPC, fail the first time.
const NOW: u32 = 0x22_2000;
const LATER: u32 = 0x22_2004;
const BUSY_ONCE: u32 = 0x22_2008;

struct Lower;

struct Device {
    timer: UnsafeCell<KTIMER>,
    dpc: UnsafeCell<KDPC>,
    kept: Cell<*mut IRP>,
    was_busy: AtomicI32,
}

impl Steps for Lower {
    type Own = Device;

    fn add(_: *mut DEVICE_OBJECT, own: &Device) {
        nt!(KeInitializeTimer(own.timer.get()));
        initialise_dpc(own.dpc.get(), own, |own: &Device| {
            complete(own.kept.get(), STATUS_SUCCESS);
        });
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Device, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == BUSY_ONCE && InterlockedExchange(&own.was_busy, 1) == 0 {
            return complete(irp, STATUS_DEVICE_BUSY);
        }
        if code != LATER {
            return complete(irp, STATUS_SUCCESS);
        }
        mark(irp);
        own.kept.set(irp);
        nt!(KeSetTimer(own.timer.get(), -10_000, own.dpc.get()));
        STATUS_PENDING
    }

    fn remove(_: &Device) {
        nt!(KeFlushQueuedDpcs());
    }
}

const COUNTS_ONE: u8 = 1;
const COMPLETES_MASTER: u8 = 2;
const KEEPS_ASSOCIATED: u8 = 3;
const KEEPS_ONE_UNSENT: u8 = 4;
const CONTINUES_AFTER_SENDING: u8 = 5;
const FORGETS_TO_SEND: u8 = 6;
/// The correct drivers that complete the master themselves, and that send a request again.
const HAS_ROUTINE: u8 = 10;
const SENDS_AGAIN: u8 = 11;

/// The highest-level driver, which splits each request in two.
struct Splits<const M: u8>;

struct Parts {
    left: AtomicI32,
}

/// The completion routine of a part, which frees it. The last one completes the master IRP.
unsafe extern "C" fn part_ended<const M: u8>(
    _: *mut DEVICE_OBJECT,
    part: *mut IRP,
    parts: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the context is the driver's data, which stays while a request pends.
    let parts = unsafe { &*parts.cast::<Parts>() };
    let master = nt!(master_irp(part));
    nt!(IoFreeIrp(part));
    let last = InterlockedDecrement(&parts.left) == 0;
    if last && M == HAS_ROUTINE {
        complete(master, STATUS_SUCCESS);
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Makes an associated IRP with an IOCTL for the lower driver.
fn part<const M: u8>(
    master: *mut IRP,
    lower: *mut DEVICE_OBJECT,
    own: &Parts,
    code: u32,
) -> *mut IRP {
    // SAFETY: the lower device object is alive.
    let size = unsafe { (*lower).StackSize };
    let part = nt!(IoMakeAssociatedIrp(master, size));
    let (input_length, output_length) = (0, 0);
    let parameters = IoControl {
        code,
        input_length,
        output_length,
    };
    let next = nt!(IoGetNextIrpStackLocation(part));
    nt!(set_io_control(next, nt::IRP_MJ_DEVICE_CONTROL, parameters));
    if matches!(M, KEEPS_ASSOCIATED | HAS_ROUTINE) {
        InterlockedIncrement(&own.left);
        on_completion(part, part_ended::<M>, from_ref(own).cast_mut().cast());
    }
    part
}

/// Sends a request again that the lower driver is too busy for.
unsafe extern "C" fn again<const M: u8>(
    device: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    _: *mut c_void,
) -> NTSTATUS {
    if nt!(irp::status(irp)) == STATUS_DEVICE_BUSY {
        if M == FORGETS_TO_SEND {
            return STATUS_MORE_PROCESSING_REQUIRED;
        }
        send_with_routine::<M>(lower::<Splits<M>>(device), irp);
        if M != CONTINUES_AFTER_SENDING {
            return STATUS_MORE_PROCESSING_REQUIRED;
        }
    }
    STATUS_SUCCESS
}

fn send_with_routine<const M: u8>(lower: *mut DEVICE_OBJECT, irp: *mut IRP) {
    nt!(irp::copy_to_next_with_completion(
        irp,
        Some(again::<M>),
        null_mut()
    ));
    nt!(IofCallDriver(lower, irp));
}

impl<const M: u8> Steps for Splits<M> {
    type Own = Parts;

    fn control(device: *mut DEVICE_OBJECT, own: &Parts, irp: *mut IRP, _: u32) -> NTSTATUS {
        let lower = lower::<Self>(device);
        let status = mark(irp);
        if matches!(M, SENDS_AGAIN | CONTINUES_AFTER_SENDING | FORGETS_TO_SEND) {
            send_with_routine::<M>(lower, irp);
            return status;
        }
        nt!(irp::set_status(irp, STATUS_SUCCESS));
        // With these mistakes the request ends before its second part does, unless that ends immediately.
        let second = if matches!(M, COUNTS_ONE | COMPLETES_MASTER) {
            NOW
        } else {
            LATER
        };
        let parts = [NOW, second].map(|code| part::<M>(irp, lower, own, code));
        nt!(set_irp_count(irp, if M == COUNTS_ONE { 1 } else { 2 }));
        if M != KEEPS_ONE_UNSENT {
            nt!(IofCallDriver(lower, parts[0]));
        }
        if M == COMPLETES_MASTER {
            complete(irp, STATUS_SUCCESS);
        }
        nt!(IofCallDriver(lower, parts[1]));
        status
    }
}

fn split<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Lower>, &[entry::<Splits<M>>]);
    end_of(&stage.send(BUSY_ONCE));
    stage.tear_down();
}

const IS_LONGER: u8 = 1;
const UNLOCKS_PART: u8 = 2;
const BUILDS_AGAIN: u8 = 3;
const MAPS_AFTER_END: u8 = 4;
const IS_TOO_SMALL: u8 = 5;
const PROBES_AT_DISPATCH: u8 = 6;
const PROBES_EXTENSION: u8 = 7;
const PROBES_ODD_ADDRESS: u8 = 8;
const PROBES_IN_WORKER: u8 = 9;

/// `CTL_CODE(FILE_DEVICE_UNKNOWN, 0x804, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)`, and one with `METHOD_NEITHER`.
const OUT_DIRECT: u32 = 0x22_2012;
const NEITHER: u32 = 0x22_2017;
const LENGTH: u32 = 0x4000;

/// Writes the user's buffer in two halves.
struct Halves<const M: u8>;

struct Worker {
    item: Cell<*mut IO_WORKITEM>,
    address: Cell<*mut c_void>,
    irp: Cell<*mut IRP>,
}

fn map(mdl: *mut MDL) -> *mut u8 {
    nt!(MmGetSystemAddressForMdlSafe(mdl, nt::NormalPagePriority)).cast()
}

fn write_halves<const M: u8>(irp: *mut IRP) -> NTSTATUS {
    let whole = nt!(irp::mdl(irp));
    let start = nt!(MmGetMdlVirtualAddress(whole));
    let half = LENGTH / 2;
    let size = if M == IS_TOO_SMALL { 1 } else { LENGTH };
    let part = nt!(IoAllocateMdl(start, size, 0, 0, null_mut()));
    let length = if M == IS_LONGER { LENGTH } else { half };
    for place in [0, half] {
        let address = start.wrapping_byte_add(place as usize);
        nt!(IoBuildPartialMdl(whole, part, address, length));
        if M == MAPS_AFTER_END {
            complete(irp, STATUS_SUCCESS);
        }
        put(map(part), 1);
        if M == UNLOCKS_PART {
            nt!(MmUnlockPages(part));
        }
        if M != BUILDS_AGAIN {
            nt!(MmPrepareMdlForReuse(part));
        }
    }
    nt!(IoFreeMdl(part));
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn probes(_: *mut DEVICE_OBJECT, worker: *mut c_void) {
    // SAFETY: the context is the driver's data, which stays until the item is freed.
    let worker = unsafe { &*worker.cast::<Worker>() };
    nt!(ProbeForRead(worker.address.get(), 8, 1));
    complete(worker.irp.get(), STATUS_SUCCESS);
}

fn copy_halves<const M: u8>(irp: *mut IRP, own: &Worker) -> NTSTATUS {
    let input = nt!(irp::argument4(irp));
    // SAFETY: this routine owns the IRP.
    let output = unsafe { (*irp).UserBuffer };
    let length = LENGTH as usize;
    match M {
        PROBES_AT_DISPATCH => {
            let irql = nt!(KeRaiseIrqlToDpcLevel());
            nt!(ProbeForRead(input, length, 1));
            nt!(KeLowerIrql(irql));
        }
        PROBES_EXTENSION => nt!(ProbeForRead(from_ref(own).cast(), 8, 1)),
        PROBES_ODD_ADDRESS => nt!(ProbeForRead(input.wrapping_byte_add(1), 8, 8)),
        PROBES_IN_WORKER => {
            own.address.set(input);
            own.irp.set(irp);
            mark(irp);
            let context = from_ref(own).cast_mut().cast();
            let item = own.item.get();
            queue_work(item, probes, context);
            return STATUS_PENDING;
        }
        _ => nt!(ProbeForRead(input, length, 8)),
    }
    nt!(ProbeForWrite(output, length, 1));
    nt!(ProbeForRead(null_mut(), 0, 8));
    put(output.cast::<u8>(), get(input.cast::<u8>()));
    complete(irp, STATUS_SUCCESS)
}

impl<const M: u8> Steps for Halves<M> {
    type Own = Worker;

    fn add(device: *mut DEVICE_OBJECT, own: &Worker) {
        own.item.set(nt!(IoAllocateWorkItem(device)));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Worker, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == OUT_DIRECT {
            return write_halves::<M>(irp);
        }
        copy_halves::<M>(irp, own)
    }

    fn remove(own: &Worker) {
        nt!(IoFreeWorkItem(own.item.get()));
    }
}

fn transfers<const M: u8, const CODE: u32>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Halves<M>>(kernel);
    let length = LENGTH as usize;
    let request = stage
        .file
        .device_control(CODE, &vec![5; length], vec![7; length]);
    end_of(&request);
    let output = request.ended().map(|end| end.output).unwrap_or_default();
    let expected = if CODE == OUT_DIRECT { [1, 1] } else { [5, 7] };
    assert_eq!([output[0], output[length / 2]], expected);
    stage.tear_down();
}

pairs! {
    fewer_associated_irps_are_counted_than_sent:
        split::<COUNTS_ONE>, split::<CORRECT>, AssociatedIrp, "IrpCount";
    master_irp_is_completed_by_its_driver_too:
        split::<COMPLETES_MASTER>, split::<CORRECT>, DoubleCompletion, "completed again";
    associated_irps_are_kept_and_their_master_is_never_completed:
        split::<KEEPS_ASSOCIATED>, split::<HAS_ROUTINE>, IrpProcessingComplete, "";
    associated_irp_is_not_sent:
        split::<KEEPS_ONE_UNSENT>, split::<CORRECT>, IrpProcessingComplete, "";
    completion_routine_sends_the_irp_again_and_continues:
        split::<CONTINUES_AFTER_SENDING>, split::<SENDS_AGAIN>, DoubleCompletion, "completed again";
    completion_routine_keeps_a_failed_irp_and_does_not_send_it_again:
        split::<FORGETS_TO_SEND>, split::<SENDS_AGAIN>, IrpProcessingComplete, "STATUS_MORE_PROCESSING_REQUIRED";
    partial_mdl_is_longer_than_its_source:
        transfers::<IS_LONGER, OUT_DIRECT>, transfers::<CORRECT, OUT_DIRECT>, Mdl, "not part of";
    pages_of_a_partial_mdl_are_unlocked:
        transfers::<UNLOCKS_PART, OUT_DIRECT>, transfers::<CORRECT, OUT_DIRECT>, Mdl, "not locked";
    mapped_partial_mdl_is_built_again:
        transfers::<BUILDS_AGAIN, OUT_DIRECT>, transfers::<CORRECT, OUT_DIRECT>, Mdl, "MmPrepareMdlForReuse";
    partial_mdl_is_mapped_after_the_request_has_ended:
        transfers::<MAPS_AFTER_END, OUT_DIRECT>, transfers::<CORRECT, OUT_DIRECT>, CompletedIrp, "";
    partial_mdl_has_no_room:
        transfers::<IS_TOO_SMALL, OUT_DIRECT>, transfers::<CORRECT, OUT_DIRECT>, Mdl, "TARGET_MDL_TOO_SMALL";
    buffer_is_probed_at_dispatch_level:
        transfers::<PROBES_AT_DISPATCH, NEITHER>, transfers::<CORRECT, NEITHER>, IrqlExApcLte2, "the IRQL is 2";
    address_of_the_kernel_is_probed:
        transfers::<PROBES_EXTENSION, NEITHER>, transfers::<CORRECT, NEITHER>, Exception, "0xc0000005";
    buffer_is_not_aligned:
        transfers::<PROBES_ODD_ADDRESS, NEITHER>, transfers::<CORRECT, NEITHER>, Exception, "0x80000002";
    buffer_is_probed_in_another_process:
        transfers::<PROBES_IN_WORKER, NEITHER>, transfers::<CORRECT, NEITHER>, Pointer, "system thread";
}
