//! Uses of handles and addresses by a driver in the context of the process that has sent a request.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr::{null_mut, with_exposed_provenance, with_exposed_provenance_mut},
    sync::Arc,
};

use call::{attributes, queue_work, with_string};

use nt::{DEVICE_OBJECT, IRP, KAPC_STATE, NTSTATUS, STATUS_PENDING, STATUS_SUCCESS};
use ntmodel::{Config, Kernel, Rule};
use steps::{FIRST, Stage, Steps, complete, end_of, one_request};

/// Opens the key of its service with these attributes.
struct OpensKey<const ATTRIBUTES: u32>;

impl<const ATTRIBUTES: u32> Steps for OpensKey<ATTRIBUTES> {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let service = r"\Registry\Machine\System\CurrentControlSet\Services\driver";
        with_string(service, |name| {
            let mut attributes = attributes(null_mut(), name, ATTRIBUTES);
            let mut handle = null_mut();
            let status = nt!(ZwOpenKey(&raw mut handle, 0x2_0019, &raw mut attributes));
            assert_eq!(status, STATUS_SUCCESS);
            nt!(ZwClose(handle));
        });
        complete(irp, STATUS_SUCCESS)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwopenkey>: a caller that does not run in a system thread sets
/// `OBJ_KERNEL_HANDLE`.
#[test]
fn a_handle_that_is_opened_in_the_context_of_a_process_is_the_kernels() {
    one_request::<OpensKey<0x240>>(&Kernel::new(Config::default()));
    let violation = common::found_in(one_request::<OpensKey<0x40>>);
    let seen = (violation.rule, violation.routine);
    assert_eq!(seen, (Rule::KernelHandle, "ZwOpenKey"), "\n{violation}");
}

/// A structure of `METHOD_BUFFERED`, with a pointer to memory of the program.
struct Embedded<const PROBES: bool>;

impl<const PROBES: bool> Steps for Embedded<PROBES> {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let buffer = nt!(irp::system_buffer(irp)).cast::<[u8; 8]>();
        // SAFETY: the program passes a pointer.
        let pointer = usize::from_le_bytes(unsafe { buffer.read() });
        let pointer = with_exposed_provenance::<u32>(pointer);
        if PROBES {
            nt!(ProbeForRead(pointer.cast(), 4, 4));
        }
        // SAFETY: the model checks the address.
        assert_eq!(unsafe { pointer.read_volatile() }, 0x1234_5678);
        complete(irp, STATUS_SUCCESS)
    }
}

fn sends_pointer<S: Steps>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<S>(kernel);
    let memory = kernel.user_memory(&0x1234_5678_u32.to_le_bytes());
    let pointer = memory.address().to_le_bytes();
    let sent = stage.file.device_control(FIRST, &pointer, Vec::new());
    assert_eq!(end_of(&sent), STATUS_SUCCESS);
    assert_eq!(memory.bytes(), 0x1234_5678_u32.to_le_bytes());
    stage.tear_down();
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/buffer-handling>: embedded pointers are probed.
#[test]
fn a_pointer_in_a_buffer_is_probed_before_it_is_used() {
    sends_pointer::<Embedded<true>>(&Kernel::new(Config::default()));
    // Other hosts have no special pages.
    if !cfg!(target_os = "linux") {
        return;
    }
    let violation = common::found_in(sends_pointer::<Embedded<false>>);
    assert_eq!(violation.rule, Rule::UserBuffer, "\n{violation}");
}

/// Reads a pointer of the program in a work item, which runs in the system's process.
struct ReadsLater<const READS: u8>;

/// The request, and the process that has sent it.
#[derive(Default)]
struct Sent {
    irp: Cell<usize>,
    process: Cell<usize>,
    item: Cell<usize>,
}

const ATTACHED: u8 = 0;
const IN_ITS_OWN_PROCESS: u8 = 1;
const AFTER_DETACH: u8 = 2;
const STAYS_ATTACHED: u8 = 3;

fn read(irp: *mut IRP) {
    let buffer = nt!(irp::system_buffer(irp)).cast::<[u8; 8]>();
    // SAFETY: the program passes a pointer.
    let pointer = usize::from_le_bytes(unsafe { buffer.read() });
    let pointer = with_exposed_provenance::<u32>(pointer);
    nt!(ProbeForRead(pointer.cast(), 4, 4));
    // SAFETY: the model checks the address.
    assert_eq!(unsafe { pointer.read_volatile() }, 0x1234_5678);
}

unsafe extern "C" fn reads_later<const READS: u8>(_: *mut DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: the device exists while its work item runs.
    let sent = unsafe { &*context.cast::<Sent>() };
    let irp: *mut IRP = with_exposed_provenance_mut(sent.irp.get());
    let process = with_exposed_provenance_mut(sent.process.get());
    let own = nt!(IoGetCurrentProcess());
    assert_ne!(own, process);
    nt!(IoFreeWorkItem(with_exposed_provenance_mut(sent.item.get())));
    if READS == IN_ITS_OWN_PROCESS {
        read(irp);
    }
    let mut state = KAPC_STATE { Reserved: [0; 6] };
    nt!(KeStackAttachProcess(process, &raw mut state));
    assert_eq!(nt!(IoGetCurrentProcess()), process);
    read(irp);
    if READS != STAYS_ATTACHED {
        nt!(KeUnstackDetachProcess(&raw mut state));
        assert_eq!(nt!(IoGetCurrentProcess()), own);
    }
    if READS == AFTER_DETACH {
        read(irp);
    }
    complete(irp, STATUS_SUCCESS);
}

impl<const READS: u8> Steps for ReadsLater<READS> {
    type Own = Sent;

    fn control(device: *mut DEVICE_OBJECT, own: &Sent, irp: *mut IRP, _: u32) -> NTSTATUS {
        own.irp.set(irp.expose_provenance());
        own.process
            .set(nt!(IoGetCurrentProcess()).expose_provenance());
        let item = nt!(IoAllocateWorkItem(device));
        own.item.set(item.expose_provenance());
        nt!(irp::IoMarkIrpPending(irp));
        let own = (&raw const *own).cast_mut().cast();
        queue_work(item, reads_later::<READS>, own);
        STATUS_PENDING
    }
}

/// [`KeStackAttachProcess`](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-kestackattachprocess) gives a thread
/// the address space of another process.
#[test]
fn attached_thread_reads_the_memory_of_its_process() {
    sends_pointer::<ReadsLater<ATTACHED>>(&Kernel::new(Config::default()));
    let violation = common::found_in(sends_pointer::<ReadsLater<IN_ITS_OWN_PROCESS>>);
    assert_eq!(violation.rule, Rule::Pointer, "\n{violation}");
    let violation = common::found_in(sends_pointer::<ReadsLater<AFTER_DETACH>>);
    assert_eq!(violation.rule, Rule::Pointer, "\n{violation}");
    let violation = common::found_in(sends_pointer::<ReadsLater<STAYS_ATTACHED>>);
    let seen = (violation.rule, violation.code);
    assert_eq!(seen, (Rule::Attach, 5), "\n{violation}");
}

/// [Bug check 0x5](https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0x5--invalid-process-attach-attempt): "the
/// thread returned from certain function calls in an attached state".
struct StaysAttached<const DETACHES: bool>;

impl<const DETACHES: bool> Steps for StaysAttached<DETACHES> {
    type Own = UnsafeCell<[KAPC_STATE; 2]>;

    fn control(_: *mut DEVICE_OBJECT, own: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        // SAFETY: the extension has room for both.
        let [first, second] = unsafe { &mut *own.get() }
            .each_mut()
            .map(|state| &raw mut *state);
        // SAFETY: the kernel gives the variable.
        let system = unsafe { nt::PsInitialSystemProcess };
        nt!(KeStackAttachProcess(system, first));
        nt!(KeStackAttachProcess(system, second));
        nt!(KeUnstackDetachProcess(second));
        if DETACHES {
            nt!(KeUnstackDetachProcess(first));
        }
        complete(irp, STATUS_SUCCESS)
    }
}

fn nothing() -> KAPC_STATE {
    KAPC_STATE { Reserved: [0; 6] }
}

#[test]
fn thread_is_detached_before_its_dispatch_routine_returns() {
    one_request::<StaysAttached<true>>(&Kernel::new(Config::default()));
    let violation = common::found_in(one_request::<StaysAttached<false>>);
    let seen = (violation.rule, violation.code);
    assert_eq!(seen, (Rule::Attach, 5), "\n{violation}");
}

/// "The caller must allocate storage for this structure from nonpaged pool or the caller's own thread stack"; below `DISPATCH_LEVEL`.
#[test]
fn attachment_is_used_as_documented() {
    // SAFETY: the kernel gives the variable.
    let system = || unsafe { nt::PsInitialSystemProcess };
    let paged = move |_| {
        let state = nt!(ExAllocatePool2(nt::POOL_FLAG_PAGED, 48, 1));
        nt!(KeStackAttachProcess(system(), state.cast()));
    };
    let (rule, routine) = (Rule::PagedMemory, "KeStackAttachProcess");
    assert_eq!(common::found(paged).rule, rule);
    let at_dispatch = move |_| {
        let mut state = nothing();
        nt!(KfRaiseIrql(nt::DISPATCH_LEVEL));
        nt!(KeStackAttachProcess(system(), &raw mut state));
    };
    common::stops(at_dispatch, Rule::Irql, 0xc4, 0xe5, routine);
    let detaches_at_dispatch = move |_| {
        let mut state = nothing();
        nt!(KeStackAttachProcess(system(), &raw mut state));
        nt!(KfRaiseIrql(nt::DISPATCH_LEVEL));
        nt!(KeUnstackDetachProcess(&raw mut state));
    };
    let routine = "KeUnstackDetachProcess";
    common::stops(detaches_at_dispatch, Rule::Irql, 0xc4, 0xe5, routine);
    let crosses = move |_| {
        let mut states = [nothing(), nothing()];
        let [one, two] = states.each_mut().map(|state| &raw mut *state);
        nt!(KeStackAttachProcess(system(), one));
        nt!(KeStackAttachProcess(system(), two));
        nt!(KeUnstackDetachProcess(one));
    };
    common::stops(crosses, Rule::Attach, 6, 0, routine);
    let no_process = |_| {
        let mut state = nothing();
        nt!(KeStackAttachProcess(
            with_exposed_provenance_mut(16),
            &raw mut state
        ));
    };
    common::stops(no_process, Rule::Attach, 0x50, 16, "KeStackAttachProcess");
}
