//! Memory that a driver accesses itself: user-mode buffers, the paged pool, the end of a buffer or a block, and the stack.
//!
//! The expected results are those of these pages: [Neither I/O], [Force IRQL Checking], [Special Pool], [Using the Kernel Stack].
//!
//! [Neither I/O]: https://learn.microsoft.com/windows-hardware/drivers/kernel/using-neither-buffered-nor-direct-i-o
//! [Force IRQL Checking]: https://learn.microsoft.com/windows-hardware/drivers/devtest/force-irql-checking
//! [Special Pool]: https://learn.microsoft.com/windows-hardware/drivers/devtest/special-pool
//! [Using the Kernel Stack]: https://learn.microsoft.com/windows-hardware/drivers/kernel/using-the-kernel-stack

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    hint::black_box,
    ptr::{from_ref, null_mut},
    sync::Arc,
};

use nt::{
    DEVICE_OBJECT, IO_WORKITEM, IRP, KDPC, KEVENT, NTSTATUS, POOL_FLAG_PAGED,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER, STATUS_MORE_PROCESSING_REQUIRED,
    STATUS_PENDING, STATUS_SUCCESS,
};
use ntmodel::{Config, Kernel};

use crate::{
    call::{initialise_dpc, wait},
    call::{on_completion, queue_work},
    frame::{CORRECT, Lock, TAG, allocate, free, get, initialise_event, put, set_event},
    steps::{FIRST, Stage, Steps, complete, end_of, entry, lower, mark, one_request as one},
};

/// `CTL_CODE(FILE_DEVICE_UNKNOWN, 0x805, METHOD_NEITHER, FILE_ANY_ACCESS)`
const NEITHER: u32 = 0x22_2017;

const READS_UNPROBED: u8 = 1;
const WRITES_UNPROBED: u8 = 2;
const READS_IN_WORKER: u8 = 3;
const READS_AT_DISPATCH: u8 = 4;
const READS_TOO_MUCH: u8 = 5;
const LOCKS_IN_KERNEL_MODE: u8 = 6;
const LOCKS_IN_WORKER: u8 = 7;
/// The correct driver that locks the pages, and accesses them in a work item.
const LOCKS: u8 = 8;

/// Copies the input to the output.
struct Copies<const M: u8>;

struct Copy {
    item: Cell<*mut IO_WORKITEM>,
    irp: Cell<*mut IRP>,
    input: Cell<*mut c_void>,
    event: UnsafeCell<KEVENT>,
}

/// Locks the pages of a buffer, reads it and unlocks them.
fn read_locked(buffer: *mut c_void, mode: i8) {
    let mdl = nt!(IoAllocateMdl(buffer, 8, 0, 0, null_mut()));
    nt!(MmProbeAndLockPages(mdl, mode, nt::IoReadAccess));
    let irql = nt!(KeRaiseIrqlToDpcLevel());
    let address = nt!(MmGetSystemAddressForMdlSafe(mdl, nt::NormalPagePriority));
    get(address.cast::<u64>());
    nt!(KeLowerIrql(irql));
    nt!(MmUnlockPages(mdl));
    nt!(IoFreeMdl(mdl));
}

unsafe extern "C" fn in_worker<const M: u8>(_: *mut DEVICE_OBJECT, copy: *mut c_void) {
    // SAFETY: the context is the driver's data, which stays until the item is freed.
    let copy = unsafe { &*copy.cast::<Copy>() };
    match M {
        LOCKS_IN_WORKER => read_locked(copy.input.get(), 1),
        LOCKS => {
            let mdl = copy.input.get().cast();
            let address = nt!(MmGetSystemAddressForMdlSafe(mdl, nt::NormalPagePriority));
            get(address.cast::<u64>());
            nt!(MmUnlockPages(mdl));
            nt!(IoFreeMdl(mdl));
        }
        _ => drop(black_box(get(copy.input.get().cast::<u64>()))),
    }
    complete(copy.irp.get(), STATUS_SUCCESS);
}

fn work<const M: u8>(irp: *mut IRP, copy: &Copy, input: *mut c_void) -> NTSTATUS {
    copy.input.set(input);
    copy.irp.set(irp);
    mark(irp);
    let context = from_ref(copy).cast_mut().cast();
    queue_work(copy.item.get(), in_worker::<M>, context);
    STATUS_PENDING
}

impl<const M: u8> Steps for Copies<M> {
    type Own = Copy;

    fn add(device: *mut DEVICE_OBJECT, own: &Copy) {
        own.item.set(nt!(IoAllocateWorkItem(device)));
        initialise_event(own.event.get());
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Copy, irp: *mut IRP, _: u32) -> NTSTATUS {
        let lengths = nt!(irp::io_control(irp));
        if lengths.input_length < 8 || lengths.output_length < 8 {
            return complete(irp, STATUS_INVALID_PARAMETER);
        }
        let input = nt!(irp::argument4(irp));
        // SAFETY: this routine owns the IRP.
        let output = unsafe { (*irp).UserBuffer };
        if M != READS_UNPROBED && M != LOCKS_IN_KERNEL_MODE {
            nt!(ProbeForRead(input, 8, 1));
        }
        if M != WRITES_UNPROBED {
            nt!(ProbeForWrite(output, 8, 1));
        }
        match M {
            READS_IN_WORKER | LOCKS_IN_WORKER => return work::<M>(irp, own, input),
            READS_AT_DISPATCH => {
                let irql = nt!(KeRaiseIrqlToDpcLevel());
                black_box(get(input.cast::<u64>()));
                nt!(KeLowerIrql(irql));
            }
            READS_TOO_MUCH => drop(black_box(get(input.cast::<[u64; 4]>()))),
            LOCKS_IN_KERNEL_MODE => read_locked(input, 0),
            LOCKS => {
                let mdl = nt!(IoAllocateMdl(input, 8, 0, 0, null_mut()));
                nt!(MmProbeAndLockPages(mdl, 1, nt::IoReadAccess));
                return work::<M>(irp, own, mdl.cast());
            }
            // A call between the probe and the access changes nothing, at any IRQL.
            _ => {
                let irql = nt!(KeRaiseIrqlToDpcLevel());
                set_event(own.event.get());
                nt!(KeLowerIrql(irql));
            }
        }
        put(output.cast::<u64>(), get(input.cast::<u64>()));
        nt!(irp::set_status(irp, STATUS_SUCCESS));
        nt!(irp::set_information(irp, 8));
        nt!(IofCompleteRequest(irp, nt::IO_NO_INCREMENT));
        STATUS_SUCCESS
    }

    fn remove(own: &Copy) {
        nt!(IoFreeWorkItem(own.item.get()));
    }
}

fn copies<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Copies<M>>(kernel);
    let request = stage.file.device_control(NEITHER, &[5; 8], vec![7; 8]);
    assert_eq!(end_of(&request), STATUS_SUCCESS);
    let output = request.ended().map(|end| end.output);
    if M == CORRECT {
        assert_eq!(output, Some(vec![5; 8]));
    }
    stage.tear_down();
}

const READS_PAGED_UNDER_LOCK: u8 = 1;
const WRITES_PAGED_UNDER_LOCK: u8 = 2;
const READS_PAGED_IN_DPC: u8 = 3;

/// A driver whose table is in the paged pool.
struct Pages<const M: u8>;

struct Paged {
    lock: Lock,
    table: Cell<*mut u64>,
    dpc: UnsafeCell<KDPC>,
    event: UnsafeCell<KEVENT>,
}

fn on_dpc<const M: u8>(own: &Paged) {
    if M == READS_PAGED_IN_DPC {
        black_box(get(own.table.get()));
    }
    set_event(own.event.get());
}

impl<const M: u8> Steps for Pages<M> {
    type Own = Paged;

    fn add(_: *mut DEVICE_OBJECT, own: &Paged) {
        own.lock.initialise();
        initialise_event(own.event.get());
        initialise_dpc(own.dpc.get(), own, on_dpc::<M>);
        let block = nt!(ExAllocatePool2(POOL_FLAG_PAGED, 64, TAG));
        own.table.set(block.cast());
        put(own.table.get(), 1);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Paged, irp: *mut IRP, _: u32) -> NTSTATUS {
        let table = own.table.get();
        let copy = get(table);
        own.lock.with(|| match M {
            READS_PAGED_UNDER_LOCK => drop(black_box(get(table))),
            WRITES_PAGED_UNDER_LOCK => put(table, 2),
            _ => drop(black_box(copy)),
        });
        put(table, copy + 1);
        nt!(KeInsertQueueDpc(own.dpc.get(), null_mut(), null_mut()));
        wait(own.event.get());
        assert_eq!(get(table), 2);
        complete(irp, STATUS_SUCCESS)
    }

    fn remove(own: &Paged) {
        free(own.table.get());
    }
}

const READS_PAST_INPUT: u8 = 1;
const WRITES_PAST_OUTPUT: u8 = 2;
const READS_PAST_BLOCK: u8 = 3;
const READS_FREED: u8 = 4;
const WRITES_FREED: u8 = 5;
const WRITES_BEFORE: u8 = 6;
const WRITES_AFTER: u8 = 7;
const SUBTRACTS: u8 = 8;

/// A driver whose input is a header of 16 bytes, and data.
struct Bounds<const M: u8>;

impl<const M: u8> Steps for Bounds<M> {
    type Own = u64;

    #[expect(
        clippy::cast_ptr_alignment,
        reason = "system buffers and pool blocks are aligned to 16 bytes"
    )]
    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let buffer = nt!(irp::system_buffer(irp));
        let length = nt!(irp::io_control(irp)).input_length;
        if length < 16 && M != SUBTRACTS {
            return complete(irp, STATUS_INVALID_PARAMETER);
        }
        let data = length.wrapping_sub(16);
        let block = allocate::<[u8; 60]>();
        match M {
            READS_PAST_INPUT => drop(black_box(get(buffer.cast::<[u64; 4]>()))),
            WRITES_PAST_OUTPUT => put(buffer.cast::<[u64; 4]>(), [0; 4]),
            READS_PAST_BLOCK => drop(black_box(get(block.cast::<[u64; 9]>()))),
            WRITES_BEFORE => put(block.cast::<u64>().wrapping_sub(1), 1),
            WRITES_AFTER => put(block.cast::<u8>().wrapping_add(60), 1),
            _ => {
                let from = buffer.cast::<u8>().wrapping_add(16);
                // SAFETY: the lengths are those of the buffer and of the block, which the model checks.
                unsafe { block.cast::<u8>().copy_from(from, data as usize) };
            }
        }
        free(block);
        match M {
            READS_FREED => drop(black_box(get(block))),
            WRITES_FREED => put(block.cast::<u8>(), 1),
            _ => {}
        }
        complete(irp, STATUS_SUCCESS)
    }
}

fn sends<const M: u8, const LENGTH: usize>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Bounds<M>>(kernel);
    let expected = if LENGTH < 16 {
        STATUS_INVALID_PARAMETER
    } else {
        STATUS_SUCCESS
    };
    let request = stage.file.device_control(FIRST, &[1; LENGTH], Vec::new());
    assert_eq!(end_of(&request), expected);
    stage.tear_down();
}

const CHECKS_NOTHING: u8 = 1;

/// A driver that allocates a block for the data behind a header of 16 bytes, and does not check that there is a header.
struct Subtracts<const M: u8>;

impl<const M: u8> Steps for Subtracts<M> {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let length = nt!(irp::io_control(irp)).input_length.wrapping_sub(16);
        let block = nt!(ExAllocatePool2(
            nt::POOL_FLAG_NON_PAGED,
            length as usize,
            TAG
        ));
        if block.is_null() && M != CHECKS_NOTHING {
            return complete(irp, STATUS_INSUFFICIENT_RESOURCES);
        }
        put(block.cast::<u64>(), 0);
        free(block);
        complete(irp, STATUS_SUCCESS)
    }
}

fn subtracts<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Subtracts<M>>(kernel);
    let request = stage.file.device_control(FIRST, &[1; 8], Vec::new());
    assert_eq!(end_of(&request), STATUS_INSUFFICIENT_RESOURCES);
    stage.tear_down();
    let messages = kernel.messages();
    assert!(
        messages
            .iter()
            .any(|message| message.contains("4294967288")),
        "{messages:?}"
    );
}

const SENDS_IN_ROUTINE: u8 = 1;
const RECURSES: u8 = 2;
const RECURSES_WITHOUT_CALLS: u8 = 3;

/// A filter that sends an IRP of its own many times.
struct Sends<const M: u8>;

struct Sending {
    left: Cell<u32>,
    lower: Cell<*mut DEVICE_OBJECT>,
    event: UnsafeCell<KEVENT>,
}

fn send<const M: u8>(own: &Sending, irp: *mut IRP) {
    own.left.set(own.left.get() - 1);
    nt!(IoReuseIrp(irp, STATUS_SUCCESS));
    let stack = nt!(irp::IoGetNextIrpStackLocation(irp));
    // SAFETY: the IRP has a stack location for the lower driver.
    unsafe { (*stack).MajorFunction = 0x0f };
    let context = from_ref(own).cast_mut().cast();
    on_completion(irp, sent::<M>, context);
    nt!(IofCallDriver(own.lower.get(), irp));
}

unsafe extern "C" fn sent<const M: u8>(
    _: *mut DEVICE_OBJECT,
    irp: *mut IRP,
    own: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the context is the device extension, and the dispatch routine waits.
    let own = unsafe { &*own.cast::<Sending>() };
    if M == SENDS_IN_ROUTINE && own.left.get() > 0 {
        send::<M>(own, irp);
    } else {
        set_event(own.event.get());
    }
    STATUS_MORE_PROCESSING_REQUIRED
}

/// Calls itself, with a kilobyte of the stack each time.
fn recurse<const M: u8>(own: &Sending, depth: u32) -> u64 {
    let local = black_box([u64::from(depth); 128]);
    if depth == 0 {
        return local[0];
    }
    if M == RECURSES {
        set_event(own.event.get());
    }
    recurse::<M>(own, depth - 1) + local[1]
}

impl<const M: u8> Steps for Sends<M> {
    type Own = Sending;

    fn add(device: *mut DEVICE_OBJECT, own: &Sending) {
        own.lower.set(lower::<Self>(device));
        initialise_event(own.event.get());
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Sending, irp: *mut IRP, _: u32) -> NTSTATUS {
        match M {
            RECURSES | RECURSES_WITHOUT_CALLS => drop(black_box(recurse::<M>(own, 100_000))),
            _ => {
                // SAFETY: the device objects of the stack exist.
                let size = unsafe { (*own.lower.get()).StackSize };
                let sent = nt!(IoAllocateIrp(size, 0));
                own.left.set(300);
                while own.left.get() > 0 {
                    send::<M>(own, sent);
                    wait(own.event.get());
                }
                nt!(IoFreeIrp(sent));
            }
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// Completes each request.
struct Completes;

impl Steps for Completes {
    type Own = u64;
}

fn recursion<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::stack(kernel, entry::<Completes>, &[entry::<Sends<M>>]);
    end_of(&stage.send(FIRST));
    stage.tear_down();
}

#[test]
fn blocks_are_ordinary_without_the_special_pool() {
    let config = Config {
        special_pool: false,
        ..Config::default()
    };
    sends::<READS_FREED, 16>(&Kernel::new(config));
}

pairs! {
    input_of_user_mode_is_read_without_a_probe:
        copies::<READS_UNPROBED>, copies::<CORRECT>, UserBuffer, "not probed";
    output_of_user_mode_is_written_without_a_probe:
        copies::<WRITES_UNPROBED>, copies::<CORRECT>, UserBuffer, "not probed";
    buffer_of_user_mode_is_read_in_a_work_item:
        copies::<READS_IN_WORKER>, copies::<LOCKS>, UserBuffer, "system thread";
    buffer_of_user_mode_is_read_at_dispatch_level:
        copies::<READS_AT_DISPATCH>, copies::<CORRECT>, UserBuffer, "DISPATCH_LEVEL";
    buffer_of_user_mode_is_read_past_its_end:
        copies::<READS_TOO_MUCH>, copies::<CORRECT>, UserBuffer, "past the end";
    buffer_of_user_mode_is_locked_in_kernel_mode:
        copies::<LOCKS_IN_KERNEL_MODE>, copies::<LOCKS>, UserBuffer, "RequestorMode";
    buffer_of_user_mode_is_locked_in_a_work_item:
        copies::<LOCKS_IN_WORKER>, copies::<LOCKS>, UserBuffer, "system thread";
    paged_block_is_read_under_a_spin_lock:
        one::<Pages<READS_PAGED_UNDER_LOCK>>, one::<Pages<CORRECT>>, PagedMemory, "reads from";
    paged_block_is_written_under_a_spin_lock:
        one::<Pages<WRITES_PAGED_UNDER_LOCK>>, one::<Pages<CORRECT>>, PagedMemory, "writes to";
    paged_block_is_read_in_a_dpc:
        one::<Pages<READS_PAGED_IN_DPC>>, one::<Pages<CORRECT>>, PagedMemory, "reads from";
    input_is_read_past_its_end:
        sends::<READS_PAST_INPUT, 16>, sends::<CORRECT, 16>, Pool, "byte 16 of the system buffer";
    output_is_written_past_its_end:
        sends::<WRITES_PAST_OUTPUT, 16>, sends::<CORRECT, 32>, Pool, "byte 16 of the system buffer";
    block_is_read_past_its_end:
        sends::<READS_PAST_BLOCK, 16>, sends::<CORRECT, 48>, Pool, "byte 64 of a block of 60 bytes";
    freed_block_is_read:
        sends::<READS_FREED, 16>, sends::<CORRECT, 76>, FreedMemory, "reads from";
    freed_block_is_written:
        sends::<WRITES_FREED, 16>, sends::<CORRECT, 76>, FreedMemory, "writes to";
    byte_before_a_block_is_written:
        sends::<WRITES_BEFORE, 16>, sends::<CORRECT, 76>, Pool, "before its start";
    byte_between_a_block_and_the_next_page_is_written:
        sends::<WRITES_AFTER, 16>, sends::<CORRECT, 76>, Pool, "0 bytes past its end";
    length_that_wraps_is_copied:
        sends::<SUBTRACTS, 8>, sends::<CORRECT, 8>, Pool, "of the system buffer";
    length_that_wraps_is_allocated:
        subtracts::<CHECKS_NOTHING>, subtracts::<CORRECT>, Pointer, "";
    completion_routine_sends_the_irp_again_and_again:
        recursion::<SENDS_IN_ROUTINE>, recursion::<CORRECT>, KernelStack, "24 KB";
    driver_recurses:
        recursion::<RECURSES>, recursion::<CORRECT>, KernelStack, "24 KB";
    driver_recurses_without_calls:
        recursion::<RECURSES_WITHOUT_CALLS>, recursion::<CORRECT>, KernelStack, "24 KB";
}
