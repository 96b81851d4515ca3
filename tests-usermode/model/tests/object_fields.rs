//! Fields of the kernel's objects that drivers read, by Microsoft's pages.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst},
    },
};

use call::{CLASS, NO_STRING};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_OBJECT, IRP, NTSTATUS, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Access, Config, Driver, Kernel, Rule, User};
use steps::{FIRST, Stage, Steps, complete, end_of, lower, one_request, skip};

const NAME: &str = r"\Device\Named";

/// The values that a driver has read. They are not in memory that the driver allocates.
struct Seen(AtomicUsize, [AtomicUsize; 3]);

impl Seen {
    const fn nothing() -> Self {
        Self(AtomicUsize::new(0), [const { AtomicUsize::new(0) }; 3])
    }

    fn note(&self, value: usize) {
        self.1[self.0.fetch_add(1, SeqCst)].store(value, SeqCst);
    }

    fn all(&self) -> [usize; 3] {
        std::array::from_fn(|index| self.1[index].load(SeqCst))
    }
}

/// The physical device object, and the device object in the file object of each open.
static OPENED: Seen = Seen::nothing();

struct Opens;

impl Steps for Opens {
    type Own = u64;

    const NAME: Option<&str> = Some(NAME);

    fn add(device: *mut DEVICE_OBJECT, _: &u64) {
        OPENED.note(lower::<Self>(device).addr());
    }

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        complete(irp, STATUS_SUCCESS)
    }

    fn other(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP) -> NTSTATUS {
        if nt!(irp::major_function(irp)) == nt::IRP_MJ_CREATE {
            let file = nt!(irp::file_object(irp));
            // SAFETY: the request has a file object.
            let device = unsafe { (*file).DeviceObject };
            OPENED.note(device.addr());
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_file_object>: the device object on which the file is opened.
#[test]
fn a_file_object_has_the_device_object_whose_name_was_opened() {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, steps::entry::<Opens>) }.expect("DriverEntry");
    let device = driver.add_device().expect("AddDevice");
    device.start().expect("the device starts");
    let by_name = kernel.open_device(NAME, Access::Read, User::System);
    by_name.expect("it opens").close();
    // The name of an interface is that of the physical device object.
    let by_interface = device.open_anyway(Access::Read);
    by_interface.expect("it opens").close();
    let [pdo, by_name, by_interface] = OPENED.all();
    assert_eq!([by_name, by_interface], [device.object(), pdo]);
    device.remove().expect("no file is open");
    driver.unload();
}

/// `IRP.Tail.Overlay`
#[repr(C)]
struct Overlay {
    driver_context: [*mut c_void; 4],
    thread: *mut c_void,
    auxiliary_buffer: *mut c_void,
    list_entry: [*mut c_void; 2],
    current_stack_location: *mut c_void,
    original_file_object: *mut FILE_OBJECT,
}

/// The threads of the requests.
static THREADS: Seen = Seen::nothing();

struct ReadsOverlay;

impl Steps for ReadsOverlay {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        // SAFETY: the IRP is this routine's.
        let overlay = unsafe { &raw const (*irp).Tail }.cast::<Overlay>();
        // SAFETY: as above, and the layout is that of the documentation.
        let overlay = unsafe { &*overlay };
        assert_eq!(overlay.original_file_object, nt!(irp::file_object(irp)));
        THREADS.note(overlay.thread.addr());
        complete(irp, STATUS_SUCCESS)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_irp>: a pointer to the caller's thread. The file object is the
/// one that the request was sent to, also if a driver changes that of a stack location.
#[test]
fn a_request_has_its_thread_and_its_file_object() {
    let kernel = Kernel::new(Config::default());
    let stage = Stage::set::<ReadsOverlay>(&kernel);
    for _ in 0..2 {
        assert_eq!(end_of(&stage.send(FIRST)), STATUS_SUCCESS);
    }
    let file = Arc::clone(&stage.file);
    let other = kernel.actor("other", move || {
        end_of(&file.device_control(FIRST, &[], Vec::new()));
    });
    other.join();
    stage.tear_down();
    let [first, second, third] = THREADS.all();
    assert_ne!(first, 0);
    assert_eq!(first, second);
    assert_ne!(first, third);
}

fn text(string: &UNICODE_STRING) -> String {
    let length = usize::from(string.Length / 2);
    // SAFETY: the I/O manager has made the string.
    let units = unsafe { std::slice::from_raw_parts(string.Buffer, length) };
    String::from_utf16_lossy(units)
}

struct ReadsDrivers;

impl Steps for ReadsDrivers {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let drivers = [device, lower::<Self>(device)].map(|device| {
            // SAFETY: both device objects are alive.
            let driver = unsafe { (*device).DriverObject };
            // SAFETY: a device object has a driver, whose object is alive.
            unsafe { &*driver }
        });
        // IO_TYPE_DRIVER
        assert!(drivers.iter().all(|driver| driver.Type == 4));
        let names = drivers.map(|driver| text(&driver.DriverName));
        assert_eq!(names, [r"\Driver\driver", r"\Driver\PnpManager"]);
        complete(irp, STATUS_SUCCESS)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_device_object>: the driver object of the driver that has made it.
/// The PnP manager makes those of root-enumerated devices.
#[test]
fn the_lower_device_object_has_a_driver_with_a_name() {
    one_request::<ReadsDrivers>(&Kernel::new(Config::default()));
}

/// Checks that a string ends with a zero, which its length does not count.
fn ends_with_a_zero(string: &UNICODE_STRING) {
    assert_eq!(string.MaximumLength, string.Length + 2);
    let end = string.Buffer.wrapping_add(usize::from(string.Length / 2));
    // SAFETY: the buffer has the maximum length.
    assert_eq!(unsafe { end.read() }, 0);
}

/// The status that the default routine returns for a request that the driver passes to it.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// Passes a control to the routine for writes, which the driver has not set.
unsafe extern "C" fn pass_on(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the device object is alive.
    let driver = unsafe { (*device).DriverObject };
    // SAFETY: as above.
    let routine = unsafe { (*driver).MajorFunction[nt::IRP_MJ_WRITE] };
    let routine = routine.expect("each entry has a routine");
    // SAFETY: the IRP is this routine's.
    let status = unsafe { routine(device, irp) };
    REFUSED.store(status.cast_unsigned() as usize, SeqCst);
    status
}

unsafe extern "C" fn succeed(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn delete_device(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the I/O manager passes the driver object.
    let device = unsafe { (*driver).DeviceObject };
    nt!(IoDeleteDevice(device));
}

unsafe extern "C" fn reads_fields(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    call::create_named_device(driver, 0, r"\Device\Fields", 0, 0).expect("IoCreateDevice");
    // SAFETY: the driver object is this routine's.
    let fields = unsafe { &mut *driver };
    assert_eq!(fields.DriverInit.addr(), reads_fields as *const () as usize);
    // SAFETY: the I/O manager has made the string.
    let database = text(unsafe { &*fields.HardwareDatabase });
    let database = database.to_uppercase();
    assert!(
        database.starts_with(r"\REGISTRY\MACHINE\HARDWARE"),
        "{database}"
    );
    assert!(fields.MajorFunction.iter().all(Option::is_some));
    for major in [nt::IRP_MJ_CREATE, nt::IRP_MJ_CLOSE, nt::IRP_MJ_CLEANUP] {
        fields.MajorFunction[major] = Some(succeed);
    }
    fields.MajorFunction[nt::IRP_MJ_DEVICE_CONTROL] = Some(pass_on);
    fields.DriverUnload = Some(delete_device);
    STATUS_SUCCESS
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_driver_object>: the entry point, and the path of the hardware in the
/// registry. The I/O manager completes requests for which a driver sets no routine with `STATUS_INVALID_DEVICE_REQUEST`.
#[test]
fn a_driver_object_has_its_entry_point_and_a_routine_for_each_request() {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, reads_fields) }.expect("DriverEntry");
    let file = kernel.open_device(r"\Device\Fields", Access::ReadWrite, User::System);
    let file = file.expect("it opens");
    let refused = nt::STATUS_INVALID_DEVICE_REQUEST;
    assert_eq!(end_of(&file.flush()), refused);
    assert_eq!(
        end_of(&file.device_control(FIRST, &[], Vec::new())),
        refused
    );
    assert_eq!(REFUSED.load(SeqCst), refused.cast_unsigned() as usize);
    file.close();
    driver.unload();
}

unsafe extern "C" fn reads_strings(
    driver: *mut DRIVER_OBJECT,
    path: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the I/O manager passes both.
    let driver = unsafe { &*driver };
    // SAFETY: as above.
    let path = unsafe { &*path };
    ends_with_a_zero(path);
    ends_with_a_zero(&driver.DriverName);
    let found = nt!(RtlCheckRegistryKey(0, path.Buffer));
    assert_eq!(found, STATUS_SUCCESS);
    nt::STATUS_CANCELLED
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfdriver/nf-wdfdriver-wdfdrivergetregistrypath>: the string ends with a
/// zero, and comes from the one that `DriverEntry` gets.
#[test]
fn the_strings_of_a_driver_end_with_a_zero() {
    common::load(&Kernel::new(Config::default()), reads_strings);
}

/// `IRP_MN_DEVICE_USAGE_NOTIFICATION`
const USAGE: u8 = 0x16;

struct ReadsUsage;

impl Steps for ReadsUsage {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        complete(irp, STATUS_SUCCESS)
    }

    fn pass_down(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP) -> NTSTATUS {
        if nt!(irp::minor_function(irp)) == USAGE {
            let stack = nt!(irp::current_stack_location(irp));
            // SAFETY: the IRP is this routine's.
            let parameters = unsafe { &raw const (*stack).Parameters }.cast::<[u32; 4]>();
            // SAFETY: as above. `InPath` is a byte, and `Type` follows aligned to a pointer.
            let [in_path, _, kind, _] = unsafe { parameters.read() };
            // DeviceUsageTypePaging
            assert_eq!((in_path & 0xff, kind), (1, 1));
        }
        skip(lower::<Self>(device), irp)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-device-usage-notification>
#[test]
fn a_usage_notification_has_a_type() {
    let kernel = Kernel::new(Config::default());
    let stage = Stage::set::<ReadsUsage>(&kernel);
    stage.device.usage_notification(true);
    stage.tear_down();
}

/// Enables an interface when it gets a request, and never disables it.
struct Enables;

impl Steps for Enables {
    type Own = AtomicPtr<DEVICE_OBJECT>;

    fn control(device: *mut DEVICE_OBJECT, _: &Self::Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let mut name = NO_STRING;
        let pdo = lower::<Self>(device);
        let name = &raw mut name;
        let status = nt!(IoRegisterDeviceInterface(
            pdo,
            &raw const CLASS,
            null_mut(),
            name
        ));
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(nt!(IoSetDeviceInterfaceState(name, 1)), STATUS_SUCCESS);
        nt!(RtlFreeUnicodeString(name));
        complete(irp, STATUS_SUCCESS)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/install/enabling-and-disabling-a-device-interface-instance>
#[test]
fn the_pnp_manager_disables_the_interfaces_of_a_device_that_it_removes() {
    let kernel = Kernel::new(Config::default());
    let stage = Stage::set::<Enables>(&kernel);
    end_of(&stage.send(FIRST));
    assert!(stage.device.is_interface_enabled());
    let device = stage.device.clone();
    stage.tear_down();
    assert!(!device.is_interface_enabled());
}

/// Completes a read without a byte of output.
struct ReadsNothing;

impl Steps for ReadsNothing {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        complete(irp, STATUS_SUCCESS)
    }

    fn other(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP) -> NTSTATUS {
        let is_read = nt!(irp::major_function(irp)) == nt::IRP_MJ_READ;
        nt!(irp::set_status(irp, STATUS_SUCCESS));
        nt!(irp::set_information(irp, if is_read { 64 } else { 0 }));
        nt!(IofCompleteRequest(irp, 0));
        STATUS_SUCCESS
    }
}

#[test]
fn a_read_is_completed_with_bytes_that_were_not_written() {
    let violation = common::found_in(|kernel| {
        let stage = Stage::set::<ReadsNothing>(kernel);
        end_of(&stage.file.read(0, 64));
    });
    assert_eq!(violation.rule, Rule::Information, "\n{violation}");
}
