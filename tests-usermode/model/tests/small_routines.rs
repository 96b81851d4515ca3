//! Routines without a separate test program: the numbers of objects, run-down protection by counts, access control lists, random
//! numbers, links, and the last chance at a shutdown. The comments name their pages.

#[macro_use]
mod call;
mod body;
mod steps;

use std::{
    ptr::null_mut,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};

use body::{found, passes, run, stops};
use call::{create_named_device, with_string};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, EX_RUNDOWN_REF, IRP, NTSTATUS, STATUS_BUFFER_TOO_SMALL,
    STATUS_OBJECT_NAME_COLLISION, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Access, Config, Driver, Kernel, Rule, User};

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psgetthreadid> and the related pages.
#[test]
fn objects_have_the_numbers_of_their_threads_and_processes() {
    passes(|| {
        let (thread, process) = (nt!(PsGetCurrentThread()), nt!(IoGetCurrentProcess()));
        assert_eq!(nt!(PsGetThreadId(thread)), nt!(PsGetCurrentThreadId()));
        assert_eq!(nt!(PsGetProcessId(process)), nt!(PsGetCurrentProcessId()));
        // DriverEntry is called in the system process, whose number is 4.
        // SAFETY: the model has the variable.
        assert_eq!(process, unsafe { nt::PsInitialSystemProcess });
        assert_eq!(nt!(PsGetProcessId(process)).addr(), 4);
        let priority = nt!(KeQueryPriorityThread(thread));
        assert_eq!(nt!(KeSetPriorityThread(thread, 16)), priority);
        assert_eq!(nt!(KeQueryPriorityThread(thread)), 16);
    });
    let wrong = found(|| {
        let process = nt!(IoGetCurrentProcess());
        nt!(PsGetThreadId(process));
    });
    let seen = (wrong.rule, wrong.code, wrong.routine);
    assert_eq!(seen, (Rule::Pointer, 0x50, "PsGetThreadId"), "{wrong}");
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquirerundownprotectionex> and the related pages.
#[test]
fn run_down_protection_is_counted() {
    passes(|| {
        let mut run_ref = EX_RUNDOWN_REF { Count: 0 };
        let run_ref = &raw mut run_ref;
        nt!(ExInitializeRundownProtection(run_ref));
        assert_eq!(nt!(ExAcquireRundownProtectionEx(run_ref, 3)), 1);
        nt!(ExReleaseRundownProtection(run_ref));
        nt!(ExReleaseRundownProtectionEx(run_ref, 2));
        nt!(ExWaitForRundownProtectionRelease(run_ref));
        nt!(ExRundownCompleted(run_ref));
        assert_eq!(nt!(ExAcquireRundownProtectionEx(run_ref, 1)), 0);
    });
    let rule = Rule::Rundown;
    let body = || {
        let mut run_ref = EX_RUNDOWN_REF { Count: 0 };
        nt!(ExInitializeRundownProtection(&raw mut run_ref));
        nt!(ExAcquireRundownProtectionEx(&raw mut run_ref, 2));
        nt!(ExReleaseRundownProtectionEx(&raw mut run_ref, 3));
    };
    stops(body, rule, 0, 0, "ExReleaseRundownProtectionEx");
    let body = || {
        let mut run_ref = EX_RUNDOWN_REF { Count: 0 };
        nt!(ExInitializeRundownProtection(&raw mut run_ref));
        nt!(ExRundownCompleted(&raw mut run_ref));
    };
    stops(body, rule, 0, 0, "ExRundownCompleted");
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtlrandomex>: numbers from 0 to `MAXLONG` - 1.
#[test]
fn random_numbers_change_the_seed() {
    passes(|| {
        let (mut seed, mut other) = (7, 7);
        for _ in 0..1000 {
            let number = nt!(RtlRandomEx(&raw mut seed));
            assert!(number < 0x7fff_ffff);
            assert_eq!(number, nt!(RtlRandom(&raw mut other)), "the same seed");
        }
        assert_ne!(seed, 7);
        // PF_XMMI64_INSTRUCTIONS_AVAILABLE and an unknown one
        let features = [10, 60].map(|feature| nt!(ExIsProcessorFeaturePresent(feature)));
        assert_eq!(features, [1, 0]);
        let before = nt!(KeQueryUnbiasedInterruptTime());
        nt!(KeStallExecutionProcessor(100));
        assert!(nt!(KeQueryUnbiasedInterruptTime()) >= before + 1000);
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-mmisaddressvalid>
#[test]
fn addresses_without_memory_are_not_valid() {
    passes(|| {
        let here = 0_u8;
        let address = (&raw const here).cast_mut().cast();
        assert_eq!(nt!(MmIsAddressValid(address)), 1);
        assert_eq!(nt!(MmIsAddressValid(null_mut())), 0);
        let block = nt!(ExAllocatePoolWithTagPriority(512, 16, 7, 16));
        assert_eq!(nt!(MmIsAddressValid(block)), 1);
        nt!(ExFreePoolWithTag(block, 7));
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-iogetconfigurationinformation>
#[test]
fn drivers_count_their_devices() {
    let kernel = Kernel::new(Config::default());
    for _ in 0..2 {
        run(&kernel, || {
            let information = nt!(IoGetConfigurationInformation());
            // SAFETY: the structure stays as long as the kernel.
            let count = unsafe { &mut (*information).SerialCount };
            *count += 1;
        });
    }
    run(&kernel, || {
        let information = nt!(IoGetConfigurationInformation());
        // SAFETY: as above.
        assert_eq!(unsafe { (*information).SerialCount }, 2);
    });
}

/// S-1-5-32-544, the administrators.
const ADMINISTRATORS: [u8; 16] = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];

static SHUTDOWNS: AtomicU32 = AtomicU32::new(0);
static ORDER: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

unsafe extern "C" fn dispatch(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    if nt!(irp::major_function(irp)) == nt::IRP_MJ_SHUTDOWN {
        // SAFETY: the device type is the number of the device.
        let number = unsafe { (*device).DeviceType } & 1;
        ORDER[number as usize].store(SHUTDOWNS.fetch_add(1, SeqCst) + 1, SeqCst);
    }
    steps::complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    for link in [r"\??\First", r"\??\Second"] {
        with_string(link, |link| nt!(IoDeleteSymbolicLink(link)));
    }
    for _ in 0..2 {
        // SAFETY: the driver object is valid in its Unload routine.
        let device = unsafe { (*driver).DeviceObject };
        nt!(IoDeleteDevice(device));
    }
}

/// Makes a device whose DACL has administrators only, or a NULL one, as a driver in C does.
fn secure(device: *mut DEVICE_OBJECT, has_list: bool) {
    let (mut descriptor, mut acl) = ([0_u64; 5], [0_u32; 16]);
    let (place, list) = (descriptor.as_mut_ptr().cast(), acl.as_mut_ptr().cast());
    assert_eq!(nt!(RtlCreateSecurityDescriptor(place, 1)), STATUS_SUCCESS);
    assert!(nt!(RtlCreateSecurityDescriptor(place, 2)) < 0);
    let mut sid = ADMINISTRATORS;
    let sid = sid.as_mut_ptr().cast();
    assert_eq!(nt!(RtlLengthSid(sid)), 16);
    // A list without room for an entry, and one with room for it.
    assert_eq!(nt!(RtlCreateAcl(list, 7, 2)), STATUS_BUFFER_TOO_SMALL);
    assert_eq!(nt!(RtlCreateAcl(list, 16, 2)), STATUS_SUCCESS);
    let all = nt::FILE_ALL_ACCESS;
    let added = nt!(RtlAddAccessAllowedAce(list, 2, all, sid));
    assert_eq!(
        added.cast_unsigned(),
        0xc000_0099,
        "STATUS_ALLOTTED_SPACE_EXCEEDED"
    );
    assert_eq!(nt!(RtlCreateAcl(list, 64, 2)), STATUS_SUCCESS);
    let status = nt!(RtlAddAccessAllowedAce(list, 2, all, sid));
    assert_eq!(status, STATUS_SUCCESS);
    let list = if has_list { list } else { null_mut() };
    let set = nt!(RtlSetDaclSecurityDescriptor(place, 1, list, 0));
    assert_eq!(set, STATUS_SUCCESS);
    let (flags, mut handle) = (nt::OBJ_KERNEL_HANDLE, null_mut());
    // SAFETY: the kernel gives the variable.
    let kind = unsafe { nt::IoDeviceObjectType };
    let opened = nt!(ObOpenObjectByPointer(
        device.cast(),
        flags,
        null_mut(),
        nt::WRITE_DAC,
        kind,
        nt::KERNEL_MODE,
        &raw mut handle
    ));
    assert_eq!(opened, STATUS_SUCCESS);
    let information = nt::DACL_SECURITY_INFORMATION;
    let set = nt!(ZwSetSecurityObject(handle, information, place));
    assert_eq!(set, STATUS_SUCCESS);
    nt!(ZwClose(handle));
}

/// Two devices: the first is registered for the last chance before the second one is registered for a shutdown.
unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the driver object is valid in DriverEntry.
    let driver_object = unsafe { &mut *driver };
    driver_object.MajorFunction.fill(Some(dispatch));
    driver_object.DriverUnload = Some(unload);
    for (number, (name, link)) in [
        (r"\Device\First", r"\??\First"),
        (r"\Device\Second", r"\??\Second"),
    ]
    .into_iter()
    .enumerate()
    {
        let device = create_named_device(driver, 0, name, 0, 0).expect("a device");
        let make = || {
            with_string(link, |link| {
                with_string(name, |name| {
                    nt!(IoCreateUnprotectedSymbolicLink(link, name))
                })
            })
        };
        assert_eq!(
            (make(), make()),
            (STATUS_SUCCESS, STATUS_OBJECT_NAME_COLLISION)
        );
        // SAFETY: the device is the driver's.
        let object = unsafe { &mut *device };
        object.DeviceType = 0x8000 + u32::try_from(number).expect("it is small");
        object.Flags &= !nt::DO_DEVICE_INITIALIZING;
        secure(device, number == 0);
        let status = if number == 0 {
            nt!(IoRegisterLastChanceShutdownNotification(device))
        } else {
            nt!(IoRegisterShutdownNotification(device))
        };
        assert_eq!(status, STATUS_SUCCESS);
    }
    STATUS_SUCCESS
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioregisterlastchanceshutdownnotification>, and
/// <https://learn.microsoft.com/windows/win32/secauthz/null-dacls-and-empty-dacls>.
#[test]
fn links_access_lists_and_shutdowns_work_as_documented() {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, entry) }.expect("DriverEntry succeeds");
    let opens = |name, user| kernel.open_device(name, Access::ReadWrite, user).is_ok();
    assert!(opens(r"\\.\First", User::Administrator));
    assert!(
        !opens(r"\\.\First", User::Ordinary),
        "the list has no entry for it"
    );
    assert!(
        opens(r"\\.\Second", User::Ordinary),
        "a NULL list grants all"
    );
    kernel.notify_shutdown();
    let order = ORDER.each_ref().map(|number| number.load(SeqCst));
    assert_eq!(order, [2, 1]);
    driver.unload();
}
