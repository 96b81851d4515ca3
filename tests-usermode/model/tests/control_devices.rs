//! Named device objects and symbolic links: when and by which user they can be opened, and objects that a driver must delete.

#[macro_use]
mod call;
mod common;

use std::{
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use call::{create_named_device, with_string};
use common::{NO_CODE, found_in, is, stops};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_DEVICE_SECURE_OPEN, HANDLE, IRP, NTSTATUS,
    STATUS_ACCESS_DENIED, STATUS_CANCELLED, STATUS_INVALID_SECURITY_DESCR, STATUS_NO_SUCH_DEVICE,
    STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_SYNTAX_BAD,
    STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Access, Config, Driver, File, Kernel, Rule, User};

const DEVICE: &str = r"\Device\Named";
const LINK: &str = r"\DosDevices\Named";

fn create(driver: *mut DRIVER_OBJECT, name: &str, flags: u32) -> Result<*mut DEVICE_OBJECT, i32> {
    create_named_device(driver, 0, name, flags, 0)
}

fn delete(device: *mut DEVICE_OBJECT) {
    nt!(IoDeleteDevice(device));
}

fn link() -> NTSTATUS {
    with_string(LINK, |link| {
        with_string(DEVICE, |device| nt!(IoCreateSymbolicLink(link, device)))
    })
}

fn unlink() -> NTSTATUS {
    with_string(LINK, |link| nt!(IoDeleteSymbolicLink(link)))
}

/// Sets a security descriptor through a handle with an access.
fn secure(device: *mut DEVICE_OBJECT, access: u32, descriptor: &mut [u32]) -> NTSTATUS {
    let mut handle: HANDLE = null_mut();
    let (object, attributes) = (device.cast(), nt::OBJ_KERNEL_HANDLE);
    let (state, kind) = (null_mut(), null_mut());
    let status = nt!(ObOpenObjectByPointer(
        object,
        attributes,
        state,
        access,
        kind,
        0,
        &raw mut handle
    ));
    assert_eq!(status, STATUS_SUCCESS);
    let status = nt!(ZwSetSecurityObject(
        handle,
        4,
        descriptor.as_mut_ptr().cast()
    ));
    assert_eq!(nt!(ZwClose(handle)), STATUS_SUCCESS);
    status
}

/// `D:P(A;;GA;;;BA)` by MS-DTYP: the descriptor, the ACL of one entry, and S-1-5-32-544.
fn administrators_only() -> [u32; 13] {
    let descriptor = [0x9004_0001, 0, 0, 0, 20];
    let acl = [0x0020_0002, 1];
    let entry = [0x0018_0000, 0x1000_0000, 0x0201, 0x0500_0000, 32, 544];
    let mut all = [0; 13];
    all[..5].copy_from_slice(&descriptor);
    all[5..7].copy_from_slice(&acl);
    all[7..].copy_from_slice(&entry);
    all
}

/// Completes every request with success.
unsafe extern "C" fn succeed(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    nt!(irp::set_status(irp, STATUS_SUCCESS));
    nt!(IofCompleteRequest(irp, 0));
    STATUS_SUCCESS
}

unsafe extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    assert_eq!(unlink(), STATUS_SUCCESS);
    // SAFETY: the I/O manager gives the driver object.
    delete(unsafe { (*driver).DeviceObject });
}

unsafe extern "C" fn unload_and_leave_the_link(driver: *mut DRIVER_OBJECT) {
    // SAFETY: as above.
    delete(unsafe { (*driver).DeviceObject });
}

unsafe extern "C" fn unload_and_leave_the_device(_: *mut DRIVER_OBJECT) {
    assert_eq!(unlink(), STATUS_SUCCESS);
}

/// Makes a device with a link, an Unload routine, and routines that succeed.
fn set_up(
    driver: *mut DRIVER_OBJECT,
    flags: u32,
    unload: nt::PDRIVER_UNLOAD,
) -> *mut DEVICE_OBJECT {
    // SAFETY: as above.
    let fields = unsafe { &mut *driver };
    for major in [nt::IRP_MJ_CREATE, nt::IRP_MJ_CLEANUP, nt::IRP_MJ_CLOSE] {
        fields.MajorFunction[major] = Some(succeed);
    }
    fields.DriverUnload = unload;
    let device = create(driver, DEVICE, flags).expect("the name is new");
    assert_eq!(link(), STATUS_SUCCESS);
    device
}

type Entry = unsafe extern "C" fn(*mut DRIVER_OBJECT, *mut UNICODE_STRING) -> NTSTATUS;

fn load(kernel: &Arc<Kernel>, entry: Entry) -> Driver {
    // SAFETY: the entry point is that of a driver on `nt`.
    unsafe { Driver::load(kernel, entry) }.expect("DriverEntry succeeds")
}

fn status(kernel: &Arc<Kernel>, name: &str, access: Access, user: User) -> NTSTATUS {
    let opened = kernel.open_device(name, access, user).map(File::close);
    opened.err().unwrap_or(STATUS_SUCCESS)
}

unsafe extern "C" fn unsecured(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    set_up(driver, 0, Some(unload));
    STATUS_SUCCESS
}

unsafe extern "C" fn secured(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let device = set_up(driver, FILE_DEVICE_SECURE_OPEN, Some(unload));
    let mut descriptor = administrators_only();
    assert_eq!(secure(device, 0, &mut descriptor), STATUS_ACCESS_DENIED);
    let mut invalid = descriptor;
    // The revision is 2, which does not exist.
    invalid[0] ^= 3;
    let status = secure(device, nt::WRITE_DAC, &mut invalid);
    assert_eq!(status, STATUS_INVALID_SECURITY_DESCR);
    let status = secure(device, nt::WRITE_DAC, &mut descriptor);
    assert_eq!(status, STATUS_SUCCESS);
    STATUS_SUCCESS
}

unsafe extern "C" fn secured_in_part(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    let device = set_up(driver, 0, Some(unload));
    let mut descriptor = administrators_only();
    let status = secure(device, nt::WRITE_DAC, &mut descriptor);
    assert_eq!(status, STATUS_SUCCESS);
    STATUS_SUCCESS
}

#[test]
fn everyone_opens_a_device_with_the_default_descriptor() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel, unsecured);
    for name in [
        r"\\.\Named",
        r"\??\named",
        r"\DosDevices\Named",
        r"\device\named",
        r"\\.\Named\x",
    ] {
        for user in [User::Ordinary, User::Administrator, User::System] {
            assert_eq!(
                status(&kernel, name, Access::ReadWrite, user),
                STATUS_SUCCESS
            );
        }
    }
    for name in [r"\\.\Name", r"\\.\Named2", r"Named"] {
        let status = status(&kernel, name, Access::Read, User::System);
        assert_eq!(status, STATUS_OBJECT_NAME_NOT_FOUND);
    }
    driver.unload();
}

/// The number of open handles of the device during each request.
static OPEN: [AtomicI32; 7] = [const { AtomicI32::new(0) }; 7];
static REQUESTS: AtomicUsize = AtomicUsize::new(0);

fn open_handles(device: *mut DEVICE_OBJECT) -> i32 {
    // SAFETY: the device object is alive.
    unsafe { (*device).ReferenceCount }
}

/// Refuses the third handle.
unsafe extern "C" fn count(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let open = open_handles(device);
    OPEN[REQUESTS.fetch_add(1, SeqCst)].store(open, SeqCst);
    let status = if open == 3 {
        STATUS_ACCESS_DENIED
    } else {
        STATUS_SUCCESS
    };
    nt!(irp::set_status(irp, status));
    nt!(IofCompleteRequest(irp, 0));
    status
}

unsafe extern "C" fn counting(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let device = set_up(driver, 0, Some(unload));
    assert_eq!(open_handles(device), 0);
    // SAFETY: the I/O manager gives the driver object.
    let fields = unsafe { &mut *driver };
    for major in [nt::IRP_MJ_CREATE, nt::IRP_MJ_CLEANUP, nt::IRP_MJ_CLOSE] {
        fields.MajorFunction[major] = Some(count);
    }
    STATUS_SUCCESS
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_device_object>: the number of open handles of the device.
#[test]
fn a_device_object_counts_its_open_handles() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel, counting);
    let open = || kernel.open_device(r"\\.\Named", Access::Read, User::System);
    let first = open().expect("it opens");
    let second = open().expect("it opens");
    assert_eq!(open().err(), Some(STATUS_ACCESS_DENIED));
    second.close();
    first.close();
    let open = OPEN.each_ref().map(|open| open.load(SeqCst));
    // Three creates, and two times a cleanup and a close.
    assert_eq!(open, [1, 2, 3, 2, 2, 1, 1]);
    driver.unload();
}

#[test]
fn descriptor_determines_who_opens_a_device() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel, secured);
    for name in [r"\\.\Named", r"\\.\Named\x"] {
        let status = |user| status(&kernel, name, Access::Read, user);
        assert_eq!(status(User::Ordinary), STATUS_ACCESS_DENIED);
        assert_eq!(status(User::Administrator), STATUS_SUCCESS);
    }
    driver.unload();
}

#[test]
fn without_secure_open_names_below_the_device_are_open_to_all() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel, secured_in_part);
    let status = |name| status(&kernel, name, Access::Read, User::Ordinary);
    assert_eq!(status(r"\\.\Named"), STATUS_ACCESS_DENIED);
    assert_eq!(status(r"\\.\Named\x"), STATUS_SUCCESS);
    driver.unload();
}

/// Opens a device while its `DriverEntry` runs, in another thread.
unsafe extern "C" fn opened_early(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let device = set_up(driver, 0, Some(unload));
    // SAFETY: the driver has just created the device object.
    assert_ne!(unsafe { (*device).Flags } & nt::DO_DEVICE_INITIALIZING, 0);
    // The other thread tries to open the device while this one waits.
    common::delay(-200 * common::MILLISECOND);
    STATUS_SUCCESS
}

#[test]
fn device_is_not_opened_before_driver_entry_has_returned() {
    let kernel = Kernel::new(Config::default());
    let kernel_clone = Arc::clone(&kernel);
    let opener = thread::spawn(move || {
        let mut seen = Vec::new();
        loop {
            let status = status(&kernel_clone, r"\\.\Named", Access::Read, User::System);
            if seen.last() != Some(&status) {
                seen.push(status);
            }
            if status == STATUS_SUCCESS {
                return seen;
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
    let driver = load(&kernel, opened_early);
    let seen = opener.join().expect("the opener ends");
    assert!(
        seen.ends_with(&[STATUS_NO_SUCH_DEVICE, STATUS_SUCCESS]),
        "{seen:x?}"
    );
    driver.unload();
}

#[test]
fn unload_waits_for_the_last_file() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel, unsecured);
    let file = kernel
        .open_device(DEVICE, Access::Read, User::System)
        .expect("the device opens");
    let unloading = thread::spawn(move || driver.unload());
    while status(&kernel, DEVICE, Access::Read, User::System) == STATUS_SUCCESS {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(
        status(&kernel, DEVICE, Access::Read, User::System),
        STATUS_NO_SUCH_DEVICE
    );
    assert!(!unloading.is_finished());
    file.close();
    unloading.join().expect("the driver is unloaded");
    assert_eq!(
        status(&kernel, DEVICE, Access::Read, User::System),
        STATUS_OBJECT_NAME_NOT_FOUND
    );
}

unsafe extern "C" fn names(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let device = create(driver, DEVICE, 0).expect("the name is new");
    let again = create(driver, r"\DEVICE\named", 0);
    assert_eq!(again, Err(STATUS_OBJECT_NAME_COLLISION));
    let relative = create(driver, "Named", 0);
    assert_eq!(relative, Err(STATUS_OBJECT_PATH_SYNTAX_BAD));
    assert_eq!(unlink(), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_eq!(link(), STATUS_SUCCESS);
    assert_eq!(link(), STATUS_OBJECT_NAME_COLLISION);
    assert_eq!(unlink(), STATUS_SUCCESS);
    delete(device);
    delete(create(driver, DEVICE, 0).expect("the name is free again"));
    STATUS_CANCELLED
}

#[test]
fn name_is_given_to_one_object() {
    common::load(&Kernel::new(Config::default()), names);
}

unsafe extern "C" fn fails_with_its_device(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    create(driver, DEVICE, 0).expect("the name is new");
    STATUS_CANCELLED
}

unsafe extern "C" fn fails_with_its_link(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    let device = create(driver, DEVICE, 0).expect("the name is new");
    link();
    delete(device);
    STATUS_CANCELLED
}

#[test]
fn failed_driver_entry_leaves_neither_device_nor_link() {
    let violation = found_in(|kernel| common::load(kernel, fails_with_its_device));
    is(&violation, Rule::DeviceRemoval, 0xce, 0, "DriverEntry");
    let violation = found_in(|kernel| common::load(kernel, fails_with_its_link));
    is(&violation, Rule::SymbolicLink, NO_CODE, 0, "DriverEntry");
}

unsafe extern "C" fn leaves_its_link(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    set_up(driver, 0, Some(unload_and_leave_the_link));
    STATUS_SUCCESS
}

unsafe extern "C" fn leaves_its_device(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    set_up(driver, 0, Some(unload_and_leave_the_device));
    STATUS_SUCCESS
}

unsafe extern "C" fn has_no_unload(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    set_up(driver, 0, None);
    STATUS_SUCCESS
}

#[test]
fn unload_leaves_neither_device_nor_link() {
    let unloaded = |entry| found_in(move |kernel| load(kernel, entry).unload());
    let violation = unloaded(leaves_its_link);
    is(&violation, Rule::SymbolicLink, NO_CODE, 0, "DriverUnload");
    let violation = unloaded(leaves_its_device);
    is(&violation, Rule::DeviceRemoval, 0xce, 0, "DriverUnload");
    let violation = unloaded(has_no_unload);
    is(&violation, Rule::DriverUnload, NO_CODE, 0, "DriverUnload");
}

fn linked_above_its_level(_: *mut DEVICE_OBJECT) {
    nt!(KfRaiseIrql(1));
    link();
}

#[test]
fn links_are_made_at_passive_level() {
    let body = linked_above_its_level;
    let routine = "IoCreateSymbolicLink";
    stops(body, Rule::IrqlIoPassive4, 0xc4, 0x2_000d, routine);
}
