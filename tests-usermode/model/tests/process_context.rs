//! Uses of handles and addresses by a driver in the context of the process that has sent a request.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    ptr::{null_mut, with_exposed_provenance},
    sync::Arc,
};

use nt::{DEVICE_OBJECT, IRP, NTSTATUS, OBJECT_ATTRIBUTES, STATUS_SUCCESS, UNICODE_STRING};
use ntmodel::{Config, Kernel, Rule};
use steps::{FIRST, Stage, Steps, complete, end_of, one_request};

fn with_name<R>(name: &str, routine: impl FnOnce(*mut UNICODE_STRING) -> R) -> R {
    let mut units: Vec<u16> = name.encode_utf16().collect();
    let length = u16::try_from(units.len() * 2).expect("the name is short");
    let mut name = UNICODE_STRING {
        Length: length,
        MaximumLength: length,
        Buffer: units.as_mut_ptr(),
    };
    routine(&raw mut name)
}

/// Opens the key of its service with these attributes.
struct OpensKey<const ATTRIBUTES: u32>;

impl<const ATTRIBUTES: u32> Steps for OpensKey<ATTRIBUTES> {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let service = r"\Registry\Machine\System\CurrentControlSet\Services\driver";
        with_name(service, |name| {
            let mut attributes = OBJECT_ATTRIBUTES {
                Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).expect("it is short"),
                RootDirectory: null_mut(),
                ObjectName: name,
                Attributes: ATTRIBUTES,
                SecurityDescriptor: null_mut(),
                SecurityQualityOfService: null_mut(),
            };
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
