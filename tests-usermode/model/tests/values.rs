//! Values that a driver reads, and the ends of the requests that it makes, by Microsoft's pages.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use call::{attributes, build_io_control, create_named_device, with_string};
use common::{NO_CODE, event, initialise, passes, stops};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, IO_STATUS_BLOCK, IRP, KSEMAPHORE, NTSTATUS, STATUS_NOT_FOUND,
    STATUS_PENDING, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Access, Config, Driver, Kernel, Rule, User};
use steps::{FIRST, SECOND, Stage, Steps, complete, end_of, lower, mark, skip};

const TAG: u32 = u32::from_le_bytes(*b"test");

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exallocatepoolwithtag>: from `PAGE_SIZE` on.
#[test]
fn a_block_of_a_page_starts_at_a_page() {
    passes(|device| {
        for size in [4096, 5000] {
            let blocks = [(); 3].map(|()| nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, size, TAG)));
            for block in blocks {
                assert_eq!(block.addr() % 4096, 0);
                nt!(ExFreePoolWithTag(block, TAG));
            }
        }
        common::delete(device);
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_device_object>: with the device extension.
#[test]
fn the_size_of_a_device_object_includes_the_extension() {
    passes(|device| {
        // SAFETY: the device object is alive. Its extension has 64 bytes.
        let size = unsafe { (*device).Size };
        assert_eq!(usize::from(size), size_of::<DEVICE_OBJECT>() + 64);
        common::delete(device);
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-keinitializesemaphore>
#[test]
fn the_limit_of_a_semaphore_is_positive_and_not_below_its_count() {
    fn make(count: i32, limit: i32) {
        let mut semaphore = KSEMAPHORE { Reserved: [0; 4] };
        nt!(KeInitializeSemaphore(&raw mut semaphore, count, limit));
    }
    let routine = "KeInitializeSemaphore";
    stops(|_| make(0, 0), Rule::Mutex, NO_CODE, 0, routine);
    stops(|_| make(2, 1), Rule::Mutex, NO_CODE, 0, routine);
    stops(|_| make(-1, 1), Rule::Mutex, NO_CODE, 0, routine);
    passes(|device| {
        make(0, 1);
        make(1, 1);
        common::delete(device);
    });
}

const SERVICE: &str = r"\Registry\Machine\System\CurrentControlSet\Services\driver";

fn open_key(name: &str) -> NTSTATUS {
    with_string(name, |name| {
        let mut attributes = attributes(null_mut(), name, nt::OBJ_KERNEL_HANDLE);
        let mut handle = null_mut();
        let status = nt!(ZwOpenKey(&raw mut handle, 0x2_0019, &raw mut attributes));
        if status == STATUS_SUCCESS {
            nt!(ZwClose(handle));
        }
        status
    })
}

#[test]
fn the_key_parameters_is_opened_by_its_whole_path() {
    let kernel = Kernel::new(Config {
        parameters: vec![("Value".into(), 1)],
        ..Config::default()
    });
    common::scenario(|device| {
        assert_eq!(open_key(SERVICE), STATUS_SUCCESS);
        assert_eq!(open_key(&format!(r"{SERVICE}\Parameters")), STATUS_SUCCESS);
        for other in ["Parameters", r"\Other", r"\Parameters\Other"] {
            assert!(open_key(&format!("{SERVICE}{other}")) < 0, "{other}");
        }
        common::delete(device);
    })(&kernel);
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/local-and-global-ms-dos-device-names>
#[test]
fn a_link_in_the_global_directory_is_opened_by_the_names_of_it() {
    let kernel = Kernel::new(Config::default());
    for link in [r"\DosDevices\Global\Linked", r"\GLOBAL??\Linked"] {
        LINK.store(u32::from(link.starts_with(r"\GLOBAL")), SeqCst);
        // SAFETY: the entry point is that of a driver on `nt`.
        let driver = unsafe { Driver::load(&kernel, links) }.expect("DriverEntry");
        for name in [r"\\.\Linked", r"\??\Linked", r"\DosDevices\linked"] {
            let file = kernel.open_device(name, Access::Read, User::System);
            file.expect("the link is there").close();
        }
        driver.unload();
    }
}

static LINK: AtomicU32 = AtomicU32::new(0);

fn name_of_link() -> &'static str {
    [r"\DosDevices\Global\Linked", r"\GLOBAL??\Linked"][LINK.load(SeqCst) as usize]
}

unsafe extern "C" fn succeeds(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn unlinks(driver: *mut DRIVER_OBJECT) {
    with_string(name_of_link(), |link| nt!(IoDeleteSymbolicLink(link)));
    // SAFETY: the I/O manager passes the driver object.
    let device = unsafe { (*driver).DeviceObject };
    nt!(IoDeleteDevice(device));
}

fn create(driver: *mut DRIVER_OBJECT, size: u32) -> *mut DEVICE_OBJECT {
    let device = create_named_device(driver, size, r"\Device\Named", 0, 0);
    let device = device.expect("IoCreateDevice succeeds");
    // SAFETY: the device object was made here.
    let flags = unsafe { (*device).Flags };
    // DO_DEVICE_HAS_NAME
    assert_ne!(flags & 0x40, 0);
    device
}

unsafe extern "C" fn links(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    create(driver, 0);
    // SAFETY: as above.
    let fields = unsafe { &mut *driver };
    for major in [nt::IRP_MJ_CREATE, nt::IRP_MJ_CLEANUP, nt::IRP_MJ_CLOSE] {
        fields.MajorFunction[major] = Some(succeeds);
    }
    fields.DriverUnload = Some(unlinks);
    with_string(name_of_link(), |link| {
        with_string(r"\Device\Named", |name| {
            nt!(IoCreateSymbolicLink(link, name))
        })
    })
}

/// The function driver of a device, whose device object has a name.
struct Named;

impl Steps for Named {
    type Own = *mut DEVICE_OBJECT;
}

unsafe extern "C" fn add_named(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    let device = create(driver, 16);
    let lower = nt!(IoAttachDeviceToDeviceStack(device, pdo));
    // SAFETY: the device object was made here.
    let extension = unsafe { (*device).DeviceExtension };
    // SAFETY: the extension starts with the pointer.
    unsafe { extension.cast::<*mut DEVICE_OBJECT>().write(lower) };
    // SAFETY: the device object was made here.
    unsafe { (*device).Flags &= !nt::DO_DEVICE_INITIALIZING };
    STATUS_SUCCESS
}

unsafe extern "C" fn named(driver: *mut DRIVER_OBJECT, path: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the I/O manager passes both.
    let status = unsafe { steps::entry::<Named>(driver, path) };
    // SAFETY: as above.
    let extension = unsafe { (*driver).DriverExtension };
    // SAFETY: as above.
    unsafe { (*extension).AddDevice = Some(add_named) };
    status
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/handling-an-irp-mn-surprise-removal-request>
#[test]
fn a_device_is_removed_after_the_last_file_that_was_opened_by_its_name() {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, named) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    let open = || kernel.open_device(r"\Device\Named", Access::Read, User::System);
    let file = open().expect("it opens");
    assert!(device.remove().is_err(), "a file is open");
    device.surprise_remove();
    assert!(!device.is_removed());
    file.close();
    assert!(device.is_removed());
    driver.unload();
}

/// Checks the fields of the request that it gets.
struct Checks;

impl Steps for Checks {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, code: u32) -> NTSTATUS {
        // SAFETY: the IRP is this routine's.
        let flags = unsafe { (*irp).Flags };
        if code.trailing_zeros() >= 2 {
            // IRP_BUFFERED_IO, IRP_DEALLOCATE_BUFFER, IRP_INPUT_OPERATION
            assert_eq!(flags, 0x70);
            return complete(irp, STATUS_SUCCESS);
        }
        let mdl = nt!(irp::mdl(irp));
        // SAFETY: the request has an MDL.
        let mdl = unsafe { &*mdl };
        let pages = (mdl.ByteOffset as usize + mdl.ByteCount as usize).div_ceil(4096);
        assert_eq!(mdl.StartVa.addr() % 4096, 0);
        assert_eq!(usize::try_from(mdl.Size), Ok(size_of_val(mdl) + 8 * pages));
        complete(irp, STATUS_SUCCESS)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/using-mdls>
#[test]
fn the_fields_of_a_request_are_those_of_the_io_manager() {
    let kernel = Kernel::new(Config::default());
    let stage = Stage::set::<Checks>(&kernel);
    for code in [FIRST, FIRST | 1, FIRST | 2] {
        for length in [8, 10_000] {
            let sent = stage.file.device_control(code, &[0; 8], vec![0; length]);
            assert_eq!(end_of(&sent), STATUS_SUCCESS);
        }
    }
    stage.tear_down();
}

const UNTOUCHED: NTSTATUS = 0x1234_5678;

/// Sends a request to the filter's lower driver, which is [`Answers`], for each request.
struct Asks<const IS_SET: bool>;

impl<const IS_SET: bool> Steps for Asks<IS_SET> {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, code: u32) -> NTSTATUS {
        let (mut event, mut block) = (
            event(),
            IO_STATUS_BLOCK {
                Status: UNTOUCHED,
                Reserved: 0,
                Information: 0,
            },
        );
        initialise(&raw mut event);
        if IS_SET {
            common::set(&raw mut event);
        }
        let lower = lower::<Self>(device);
        let request = build_io_control(code, lower, &raw mut event, &raw mut block);
        let status = nt!(IofCallDriver(lower, request));
        if code == FIRST {
            assert_eq!(status, STATUS_NOT_FOUND);
            assert_eq!(block.Status, UNTOUCHED);
            assert_eq!(nt!(KeReadStateEvent(&raw mut event)), 0);
        } else {
            assert_eq!(status, STATUS_PENDING);
            assert_eq!(block.Status, STATUS_NOT_FOUND);
            assert_ne!(nt!(KeReadStateEvent(&raw mut event)), 0);
        }
        complete(irp, STATUS_SUCCESS)
    }

    fn other(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP) -> NTSTATUS {
        skip(lower::<Self>(device), irp)
    }
}

/// Fails a request, with `STATUS_PENDING` as its answer or without.
struct Answers;

impl Steps for Answers {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            return complete(irp, STATUS_NOT_FOUND);
        }
        mark(irp);
        complete(irp, STATUS_NOT_FOUND);
        STATUS_PENDING
    }
}

fn asks<const IS_SET: bool>(kernel: &Arc<Kernel>, code: u32) {
    let above = [steps::entry::<Asks<IS_SET>> as ntmodel::DriverEntry];
    let stage = Stage::stack(kernel, steps::entry::<Answers>, &above);
    assert_eq!(end_of(&stage.send(code)), STATUS_SUCCESS);
    stage.tear_down();
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_io_status_block>: a caller that does not get `STATUS_PENDING`
/// relies on the returned status.
#[test]
fn the_event_of_a_request_that_fails_immediately_is_not_set() {
    let kernel = Kernel::new(Config::default());
    asks::<false>(&kernel, FIRST);
    asks::<false>(&kernel, SECOND);
}

/// Bug check 0xC9, 0x307.
#[test]
fn a_request_has_an_event_that_is_set() {
    let violation = common::found_in(|kernel| asks::<true>(kernel, SECOND));
    let seen = (violation.code, violation.parameters[0], violation.routine);
    assert_eq!(seen, (0xc9, 0x307, "IoCallDriver"), "\n{violation}");
}
