//! Devices that a driver opens by name (`IoGetDeviceObjectPointer`), and references to their file objects.

#[macro_use]
mod call;
mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
};

use call::{broke, build_io_control, create_named_device, open_device};
use common::{delete, event, found_in, initialise, load};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_OBJECT, IO_STATUS_BLOCK, IRP, KEVENT, NTSTATUS,
    STATUS_ACCESS_DENIED, STATUS_CANCELLED, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
    UNICODE_STRING,
};
use ntmodel::{Access, Config, Driver, Kernel, Rule, User};

const NAME: &str = r"\Device\Lower";
const FILE_READ_DATA: u32 = 1;

/// The device object of the lower driver.
fn device_of(driver: *mut DRIVER_OBJECT) -> *mut DEVICE_OBJECT {
    // SAFETY: the driver object is the caller's, and the model detects the mistakes. The same holds for all calls below.
    unsafe { (*driver).DeviceObject }
}

/// Returns how often the lower driver got each request, by major function. The device extension contains the counts.
fn counts<'a>(device: *mut DEVICE_OBJECT) -> &'a [AtomicU32; 28] {
    // SAFETY: the extension has this size.
    unsafe { &*common::extension(device).cast() }
}

unsafe extern "C" fn dispatch(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    counts(device)[nt!(irp::major_function(irp))].fetch_add(1, SeqCst);
    nt!(irp::set_status(irp, STATUS_SUCCESS));
    nt!(irp::set_information(irp, 0));
    nt!(IofCompleteRequest(irp, 0));
    STATUS_SUCCESS
}

unsafe extern "C" fn unload(driver: *mut DRIVER_OBJECT) {
    let device = device_of(driver);
    let [create, close, cleanup, control] = [
        nt::IRP_MJ_CREATE,
        nt::IRP_MJ_CLOSE,
        nt::IRP_MJ_CLEANUP,
        nt::IRP_MJ_DEVICE_CONTROL,
    ]
    .map(|major| counts(device)[major].load(SeqCst));
    assert_eq!([create, cleanup, close, control], [1, 1, 1, 1]);
    delete(device);
}

unsafe extern "C" fn lower(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    create_named_device(driver, 128, NAME, 0, 0).expect("IoCreateDevice succeeds");
    // SAFETY: as above.
    let driver = unsafe { &mut *driver };
    driver.MajorFunction = [Some(dispatch); 28];
    driver.DriverUnload = Some(unload);
    STATUS_SUCCESS
}

fn open(name: &str) -> Result<(*mut FILE_OBJECT, *mut DEVICE_OBJECT), NTSTATUS> {
    open_device(name, FILE_READ_DATA)
}

/// Opens the lower device, sends it a request, and dereferences the file object a given number of times.
fn use_lower(releases: u32) {
    let result = open(r"\Device\None").err();
    assert_eq!(result, Some(STATUS_OBJECT_NAME_NOT_FOUND));
    let (file, device) = open(NAME).expect("it opens");
    let count = |major: usize| counts(device)[major].load(SeqCst);
    assert_eq!(count(nt::IRP_MJ_CREATE), 1);
    assert_eq!(count(nt::IRP_MJ_CLEANUP), 1, "the handle is closed");
    assert_eq!(count(nt::IRP_MJ_CLOSE), 0, "the file object stays");
    let mut done = event();
    let done: *mut KEVENT = &raw mut done;
    initialise(done);
    let mut block = IO_STATUS_BLOCK {
        Status: STATUS_CANCELLED,
        Reserved: 0,
        Information: 1,
    };
    let irp = build_io_control(0x22_2000, device, done, &raw mut block);
    assert_eq!(nt!(IofCallDriver(device, irp)), STATUS_SUCCESS);
    assert_eq!((block.Status, block.Information), (STATUS_SUCCESS, 0));
    nt!(ObfReferenceObject(file.cast()));
    for _ in 0..releases {
        nt!(ObfDereferenceObject(file.cast()));
    }
    assert_eq!(count(nt::IRP_MJ_CLOSE), u32::from(releases >= 2));
}

unsafe extern "C" fn upper<const RELEASES: u32>(
    _: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    use_lower(RELEASES);
    STATUS_CANCELLED
}

/// The access of each create, in its `IO_SECURITY_CONTEXT`.
static ACCESSES: [AtomicU32; 6] = [const { AtomicU32::new(0) }; 6];
static CREATES: AtomicUsize = AtomicUsize::new(0);

/// The third field of the structure to which the parameters of `IRP_MJ_CREATE` point is `DesiredAccess`.
unsafe extern "C" fn note_access(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    if nt!(irp::major_function(irp)) == nt::IRP_MJ_CREATE {
        let stack = nt!(irp::current_stack_location(irp));
        // SAFETY: the IRP is this routine's.
        let [context, ..] = unsafe { (*stack).Parameters };
        let context = usize::try_from(context).expect("64 bits");
        let access = std::ptr::with_exposed_provenance::<u32>(context + 16);
        // SAFETY: the I/O manager passes the structure.
        let access = unsafe { access.read() };
        ACCESSES[CREATES.fetch_add(1, SeqCst)].store(access, SeqCst);
    }
    nt!(irp::set_status(irp, STATUS_SUCCESS));
    nt!(irp::set_information(irp, 0));
    nt!(IofCompleteRequest(irp, 0));
    STATUS_SUCCESS
}

unsafe extern "C" fn delete_device(driver: *mut DRIVER_OBJECT) {
    delete(device_of(driver));
}

unsafe extern "C" fn noting(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    create_named_device(driver, 0, r"\Device\Noting", 0, 0).expect("IoCreateDevice succeeds");
    // SAFETY: the driver object is this routine's.
    let driver = unsafe { &mut *driver };
    driver.MajorFunction = [Some(note_access); 28];
    driver.DriverUnload = Some(delete_device);
    STATUS_SUCCESS
}

unsafe extern "C" fn opens_with(_: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    for access in [0x8000_0000, 0x4000_0000, 0x1000_0000, 0x80, 0x2_0003] {
        let (file, _) = open_device(r"\Device\Noting", access).expect("it opens");
        nt!(ObfDereferenceObject(file.cast()));
    }
    STATUS_CANCELLED
}

/// The [access mask](https://learn.microsoft.com/windows-hardware/drivers/kernel/access-mask) of a file: `GENERIC_READ`, `_WRITE` and `_ALL`
/// are mapped to these rights, as on the page of `ZwCreateFile`, and others are kept. `CreateFile` adds `SYNCHRONIZE` and
/// `FILE_READ_ATTRIBUTES`.
#[test]
fn create_has_the_requested_access() {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, noting) }.expect("DriverEntry");
    load(&kernel, opens_with);
    let file = kernel.open_device(r"\Device\Noting", Access::Attributes, User::Ordinary);
    let file = file.expect("it opens");
    // FILE_ANY_ACCESS, FILE_READ_ACCESS and FILE_WRITE_ACCESS
    let answers = [0x22_2000, 0x22_6000, 0x22_a000]
        .map(|code| file.device_control(code, &[], Vec::new()).answer());
    assert_eq!(
        answers,
        [STATUS_SUCCESS, STATUS_ACCESS_DENIED, STATUS_ACCESS_DENIED]
    );
    file.close();
    driver.unload();
    let accesses = ACCESSES.each_ref().map(|access| access.load(SeqCst));
    assert_eq!(
        accesses,
        [0x12_0089, 0x12_0116, 0x1f_01ff, 0x80, 0x2_0003, 0x10_0080]
    );
}

/// Loads both drivers, and unloads them.
fn both<const RELEASES: u32>(kernel: &Arc<Kernel>) {
    // SAFETY: the entry point is that of a driver on `nt`.
    let below = unsafe { Driver::load(kernel, lower) }.expect("DriverEntry");
    load(kernel, upper::<RELEASES>);
    below.unload();
}

#[test]
fn a_device_is_opened_by_name_and_closed_with_its_file_object() {
    both::<2>(&Kernel::new(Config::default()));
}

#[test]
fn a_file_object_is_released_as_often_as_it_is_referenced() {
    let violation = found_in(both::<1>);
    assert_eq!(violation.rule, Rule::Reference, "\n{violation}");
    assert!(violation.what.contains("file objects"), "\n{violation}");
    let violation = found_in(both::<3>);
    broke(&violation, Rule::Reference, 0x18, &[]);
}
