//! Documented values of routines, and violations of documented rules, each with a correct driver.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    cell::Cell,
    ffi::c_void,
    mem::MaybeUninit,
    ptr::{null_mut, with_exposed_provenance},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering::SeqCst},
    },
};

use call::{
    BLOCK, CLASS, acquire_remove_lock, attributes, broke, create_named_device, open_device, wait,
    with_string,
};
use common::{delete, extension, found, found_in, passes};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_OBJECT, HANDLE, IO_REMOVE_LOCK, IRP, KEVENT,
    LOOKASIDE_LIST_EX, NTSTATUS, STATUS_ACCESS_DENIED, STATUS_CANCELLED, STATUS_INVALID_PARAMETER,
    STATUS_SUCCESS, UNICODE_STRING, irp as io,
};
use ntmodel::{Access, Config, Driver, File, Kernel, Rule, User};
use steps::{FIRST, Stage, Steps, complete, end_of, entry, lower, one_request};

const TAG: u32 = u32::from_le_bytes(*b"test");

thread_local! {
    /// The length of the name in bytes and the requestor of the thread's last `IRP_MJ_CREATE`.
    static CREATED: Cell<(u16, u8)> = const { Cell::new((0, 0)) };
}

const NAMED: &str = r"\Device\Values";

unsafe extern "C" fn on_create(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the routine owns the IRP.
    if unsafe { io::major_function(irp) } == nt::IRP_MJ_CREATE {
        // SAFETY: as above.
        let file: *mut FILE_OBJECT = unsafe { io::file_object(irp) };
        // FileName, of 64-bit Windows.
        let name = file.wrapping_byte_add(0x58).cast::<UNICODE_STRING>();
        // SAFETY: the I/O manager has filled in the object.
        let length = unsafe { (*name).Length };
        // SAFETY: as above.
        let mode = unsafe { (*irp).RequestorMode };
        CREATED.set((length, mode.cast_unsigned()));
    }
    complete(irp, STATUS_SUCCESS)
}

unsafe extern "C" fn delete_device(driver: *mut DRIVER_OBJECT) {
    // SAFETY: the driver object is the caller's.
    delete(unsafe { (*driver).DeviceObject });
}

/// Makes a named device, which is exclusive or not.
unsafe extern "C" fn named<const EXCLUSIVE: u8>(
    driver: *mut DRIVER_OBJECT,
    _: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the I/O manager passes the driver object.
    let fields = unsafe { &mut *driver };
    for major in [nt::IRP_MJ_CREATE, nt::IRP_MJ_CLEANUP, nt::IRP_MJ_CLOSE] {
        fields.MajorFunction[major] = Some(on_create);
    }
    fields.DriverUnload = Some(delete_device);
    let created = create_named_device(driver, 0, NAMED, 0, EXCLUSIVE);
    created.err().unwrap_or(STATUS_SUCCESS)
}

fn load(kernel: &Arc<Kernel>, entry: ntmodel::DriverEntry) -> Driver {
    // SAFETY: the entry point is that of a driver on `nt`.
    unsafe { Driver::load(kernel, entry) }.expect("DriverEntry succeeds")
}

/// Opens the named device by its pointer, and fails.
unsafe extern "C" fn opens_by_pointer(_: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let (file, _) = open_device(NAMED, 1).expect("it opens");
    nt!(ObfDereferenceObject(file.cast()));
    STATUS_CANCELLED
}

/// The part of the name below the device: <https://learn.microsoft.com/windows-hardware/drivers/kernel/controlling-device-namespace-access>. `RequestorMode` is that of the caller.
#[test]
fn file_object_has_the_name_below_the_device_and_the_requestor_its_mode() {
    let kernel = Kernel::new(Config::default());
    let driver = load(&kernel, named::<0>);
    for (name, length) in [(NAMED, 0), (r"\Device\Values\ab", 6)] {
        let file = kernel.open_device(name, Access::Read, User::System);
        file.expect("the device opens").close();
        assert_eq!(CREATED.get(), (length, 1), "{name}");
    }
    common::load(&kernel, opens_by_pointer);
    assert_eq!(CREATED.get().1, 0, "the requestor is a driver");
    driver.unload();
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/specifying-exclusive-access-to-device-objects>
#[test]
fn exclusive_device_is_opened_once() {
    let second = |entry| {
        let kernel = Kernel::new(Config::default());
        let driver = load(&kernel, entry);
        let open = || kernel.open_device(NAMED, Access::Read, User::System);
        let first = open().expect("the device opens");
        let second = open().map(File::close);
        first.close();
        open().expect("no file is open").close();
        driver.unload();
        second
    };
    assert_eq!(second(named::<1>), Err(STATUS_ACCESS_DENIED));
    assert_eq!(second(named::<0>), Ok(()));
}

/// Registers an interface of the lower device object, and of its own.
struct Registers;

impl Steps for Registers {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        const NAME_EXISTS: NTSTATUS = 0x4000_0000;
        let pdo = lower::<Self>(device);
        let register = |device, reference: &str| {
            let class = &CLASS;
            with_string("", |made| {
                let status = with_string(reference, |given| {
                    let given = if reference.is_empty() {
                        null_mut()
                    } else {
                        given
                    };
                    nt!(IoRegisterDeviceInterface(device, class, given, made))
                });
                if status >= 0 {
                    nt!(RtlFreeUnicodeString(made));
                }
                status
            })
        };
        assert_eq!(register(pdo, ""), STATUS_SUCCESS);
        assert_eq!(register(pdo, ""), NAME_EXISTS);
        assert_eq!(register(pdo, "other"), STATUS_SUCCESS, "another name");
        let refused = register(device, "");
        assert_eq!(refused, nt::STATUS_INVALID_DEVICE_REQUEST, "not a PDO");
        complete(irp, STATUS_SUCCESS)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioregisterdeviceinterface>
#[test]
fn interface_is_registered_once_by_each_name() {
    one_request::<Registers>(&Kernel::new(Config::default()));
}

const QUERY_CAPABILITIES: u8 = 9;
static CAPABILITIES: AtomicI32 = AtomicI32::new(0);

/// Reads the capabilities and its own alignment.
struct Looks;

impl Steps for Looks {
    type Own = u64;

    fn add(device: *mut DEVICE_OBJECT, _: &u64) {
        let lower = lower::<Self>(device);
        // SAFETY: the device objects of the stack exist.
        let below = unsafe { (*lower).AlignmentRequirement };
        // SAFETY: as above.
        assert_eq!(unsafe { (*device).AlignmentRequirement }, below);
        // SAFETY: as above. The page of IoAttachDeviceToDeviceStack lets a driver raise it.
        unsafe { (*device).AlignmentRequirement = 0x1ff };
    }

    fn pass_down(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP) -> NTSTATUS {
        let stack = nt!(irp::current_stack_location(irp));
        // SAFETY: the routine owns the IRP.
        let stack = unsafe { &*stack };
        if usize::from(stack.MajorFunction) == nt::IRP_MJ_PNP
            && stack.MinorFunction == QUERY_CAPABILITIES
        {
            let capabilities = usize::try_from(stack.Parameters[0]).expect("64 bits");
            let capabilities = with_exposed_provenance::<u16>(capabilities);
            // SAFETY: the PnP manager passes DEVICE_CAPABILITIES.
            let [size, version] = unsafe { capabilities.cast::<[u16; 2]>().read() };
            CAPABILITIES.store(i32::from(size) << 16 | i32::from(version), SeqCst);
        }
        steps::skip(lower::<Self>(device), irp)
    }
}

/// A filter, whose alignment is that of the lower device object.
struct IsAligned;

impl Steps for IsAligned {
    type Own = u64;

    fn add(device: *mut DEVICE_OBJECT, _: &u64) {
        // SAFETY: the device objects of the stack exist.
        assert_eq!(unsafe { (*device).AlignmentRequirement }, 0x1ff);
    }

    fn other(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP) -> NTSTATUS {
        steps::skip(lower::<Self>(device), irp)
    }

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        steps::skip(lower::<Self>(device), irp)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-capabilities>,
/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioattachdevicetodevicestack>
#[test]
fn capabilities_are_passed_and_the_alignment_is_that_of_the_lower_device() {
    let kernel = Kernel::new(Config::default());
    let stage = Stage::stack(&kernel, entry::<Looks>, &[entry::<IsAligned>]);
    stage.device.pnp(QUERY_CAPABILITIES);
    // The structure of 64-bit Windows has 64 bytes, and version 1.
    assert_eq!(CAPABILITIES.load(SeqCst), 64 << 16 | 1);
    end_of(&stage.send(FIRST));
    stage.tear_down();
}

fn new_lookaside_list(
    list: *mut LOOKASIDE_LIST_EX,
    allocate: nt::PALLOCATE_FUNCTION_EX,
    kind: i32,
    flags: u32,
) -> NTSTATUS {
    nt!(ExInitializeLookasideListEx(
        list, allocate, None, kind, flags, 32, TAG, 0
    ))
}

unsafe extern "C" fn allocates(
    _: i32,
    size: usize,
    tag: u32,
    _: *mut LOOKASIDE_LIST_EX,
) -> *mut c_void {
    nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, size, tag))
}

const NONPAGED_NX: i32 = 512;
const RAISE_ON_FAIL: u32 = 1;
const FAIL_NO_RAISE: u32 = 2;

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinitializelookasidelistex>
#[test]
fn lookaside_list_has_a_pool_type_and_flags() {
    passes(|device| {
        let mut list = MaybeUninit::<LOOKASIDE_LIST_EX>::uninit();
        let list = list.as_mut_ptr();
        let refused = new_lookaside_list(list, None, 3, 0);
        assert_eq!(refused.cast_unsigned(), 0xc000_00f2, "PARAMETER_4");
        for flags in [RAISE_ON_FAIL | FAIL_NO_RAISE, 4] {
            let refused = new_lookaside_list(list, None, NONPAGED_NX, flags);
            assert_eq!(refused.cast_unsigned(), 0xc000_00f3, "PARAMETER_5");
        }
        for (allocate, kind, flags) in [
            (None, 0, 0),
            (None, NONPAGED_NX, RAISE_ON_FAIL),
            (None, nt::PagedPool, 0),
            (
                Some(allocates as unsafe extern "C" fn(_, _, _, _) -> _),
                NONPAGED_NX,
                FAIL_NO_RAISE,
            ),
        ] {
            let status = new_lookaside_list(list, allocate, kind, flags);
            assert_eq!(status, STATUS_SUCCESS);
            nt!(ExDeleteLookasideListEx(list));
        }
        delete(device);
    });
    let undefined = |_| {
        let list = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 256, TAG));
        new_lookaside_list(list.cast(), None, NONPAGED_NX, FAIL_NO_RAISE);
    };
    assert_eq!(found(undefined).rule, Rule::Pool);
}

#[test]
fn lookaside_list_is_in_nonpaged_memory() {
    let paged = |_| {
        let list = nt!(ExAllocatePool2(nt::POOL_FLAG_PAGED, 256, TAG));
        new_lookaside_list(list.cast(), None, NONPAGED_NX, 0);
    };
    let violation = found(paged);
    broke(&violation, Rule::PagedMemory, 0xd1, &[]);
}

fn open_key(root: HANDLE, name: *mut UNICODE_STRING) -> HANDLE {
    let mut handle = null_mut();
    let mut attributes = attributes(root, name, 0);
    let status = nt!(ZwOpenKey(
        &raw mut handle,
        nt::KEY_READ,
        &raw mut attributes
    ));
    assert_eq!(status, STATUS_SUCCESS);
    handle
}

unsafe extern "C" fn queries(_: *mut DRIVER_OBJECT, path: *mut UNICODE_STRING) -> NTSTATUS {
    const PARTIAL: i32 = 2;
    let service = open_key(null_mut(), path);
    let key = with_string("Parameters", |name| open_key(service, name));
    let query = |class, length| {
        let (mut buffer, mut needed) = ([0_u32; 8], 0);
        let information = buffer.as_mut_ptr().cast();
        let status = with_string("Depth", |name| {
            nt!(ZwQueryValueKey(
                key,
                name,
                class,
                information,
                length,
                &raw mut needed
            ))
        });
        (status.cast_unsigned(), needed)
    };
    // TitleIndex, Type, DataLength and four bytes of data.
    assert_eq!(query(PARTIAL, 16), (0, 16));
    assert_eq!(query(PARTIAL, 12), (0x8000_0005, 16), "BUFFER_OVERFLOW");
    assert_eq!(query(PARTIAL, 11), (0xc000_0023, 16), "BUFFER_TOO_SMALL");
    let invalid = STATUS_INVALID_PARAMETER.cast_unsigned();
    assert_eq!(query(77, 32).0, invalid);
    nt!(ZwClose(key));
    nt!(ZwClose(service));
    STATUS_CANCELLED
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwqueryvaluekey>
#[test]
fn registry_value_is_truncated_or_refused() {
    let kernel = Kernel::new(Config {
        parameters: vec![("Depth".into(), 7)],
        ..Config::default()
    });
    common::load(&kernel, queries);
}

/// Sends a PnP request of its own, with an initial status.
struct Asks<const STATUS: i32>;

impl<const STATUS: i32> Steps for Asks<STATUS> {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        let (mut event, mut block) = (KEVENT { Header: [0; 3] }, BLOCK);
        nt!(KeInitializeEvent(&raw mut event, 0, 0));
        let own = nt!(IoBuildSynchronousFsdRequest(
            u32::try_from(nt::IRP_MJ_PNP).expect("it is short"),
            lower::<Self>(device),
            null_mut(),
            0,
            null_mut(),
            &raw mut event,
            &raw mut block
        ));
        // SAFETY: the IRP is this routine's, and has a location for the lower driver.
        let next = unsafe { io::IoGetNextIrpStackLocation(own) };
        // SAFETY: as above.
        unsafe { (*next).MinorFunction = QUERY_PNP_DEVICE_STATE };
        // SAFETY: as above.
        unsafe { io::set_status(own, STATUS) };
        if nt!(IofCallDriver(lower::<Self>(device), own)) == nt::STATUS_PENDING {
            wait(&raw mut event);
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// `IRP_MN_QUERY_PNP_DEVICE_STATE`
const QUERY_PNP_DEVICE_STATE: u8 = 0x14;

/// Bug check 0xC9, 0x20E.
#[test]
fn pnp_request_of_a_driver_starts_with_not_supported() {
    one_request::<Asks<{ nt::STATUS_NOT_SUPPORTED }>>(&Kernel::new(Config::default()));
    let violation = found_in(one_request::<Asks<STATUS_SUCCESS>>);
    let seen = (violation.code, violation.parameters[0]);
    assert_eq!(seen, (0xc9, 0x20e), "\n{violation}");
}

const LOCK_SIZE: u32 = 32;

/// Bug check 0xC4, 0xD7.
#[test]
fn remove_lock_of_a_device_is_initialised_once() {
    fn release_and_initialise<const AGAIN: bool>(device: *mut DEVICE_OBJECT) {
        let lock: *mut IO_REMOVE_LOCK = extension(device).cast();
        nt!(IoInitializeRemoveLockEx(lock, TAG, 0, 0, LOCK_SIZE));
        acquire_remove_lock(lock, null_mut(), LOCK_SIZE);
        if AGAIN {
            nt!(IoInitializeRemoveLockEx(lock, TAG, 0, 0, LOCK_SIZE));
        }
        nt!(IoReleaseRemoveLockEx(lock, null_mut(), LOCK_SIZE));
        delete(device);
    }
    passes(release_and_initialise::<false>);
    let violation = found(release_and_initialise::<true>);
    let seen = (violation.code, violation.parameters[0]);
    assert_eq!(seen, (0xc4, 0xd7), "\n{violation}");
}

/// `ExInitializeZone` counts the header of the segment and the blocks, and not the rest that is too short for a block.
#[test]
fn size_of_a_zone_is_that_of_its_blocks() {
    passes(|device| {
        let mut zone = MaybeUninit::<nt::ZONE_HEADER>::zeroed();
        let mut segments = [[0_u64; 16]; 2];
        let [first, second] = segments
            .each_mut()
            .map(|segment| segment.as_mut_ptr().cast());
        let zone = zone.as_mut_ptr();
        let status = nt!(ExInitializeZone(zone, 48, first, 128));
        assert_eq!(status, STATUS_SUCCESS);
        // SAFETY: the zone was initialised.
        let size = || unsafe { (*zone).TotalSegmentSize };
        assert_eq!(size(), 16 + 2 * 48);
        assert_eq!(nt!(ExExtendZone(zone, second, 72)), STATUS_SUCCESS);
        assert_eq!(size(), 16 + 2 * 48 + 16 + 48);
        delete(device);
    });
}
