//! Callback objects, and routines for power settings.
//!
//! Microsoft's pages:
//! [`ExCreateCallback`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-excreatecallback),
//! [`ExRegisterCallback`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exregistercallback),
//! [`ExUnregisterCallback`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exunregistercallback),
//! [`ExNotifyCallback`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exnotifycallback),
//! [`PoRegisterPowerSettingCallback`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-poregisterpowersettingcallback),
//! [`PoUnregisterPowerSettingCallback`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-pounregisterpowersettingcallback)

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    ptr::{null_mut, without_provenance_mut},
    sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
};

use call::{start_thread, with_string};
use common::{delete, extension, passes, stops};
use nt::{
    DISPATCH_LEVEL, DRIVER_OBJECT, GUID, NTSTATUS, OBJECT_ATTRIBUTES, STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Config, Driver, Kernel, Rule};

const STATUS_UNSUCCESSFUL: NTSTATUS = 0xc000_0001_u32.cast_signed();
const NAME: &str = r"\Callback\Interlock";

fn create_with(name: *mut UNICODE_STRING, create: u8, several: u8) -> (NTSTATUS, *mut c_void) {
    let mut attributes = OBJECT_ATTRIBUTES {
        Length: 48,
        RootDirectory: null_mut(),
        ObjectName: name,
        Attributes: nt::OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: null_mut(),
        SecurityQualityOfService: null_mut(),
    };
    let mut object = null_mut();
    let status = nt!(ExCreateCallback(
        &raw mut object,
        &raw mut attributes,
        create,
        several
    ));
    (status, object)
}

fn open(name: &str, create: u8, several: u8) -> (NTSTATUS, *mut c_void) {
    with_string(name, |name| create_with(name, create, several))
}

/// Creates a callback object.
fn create(several: u8) -> *mut c_void {
    let (status, object) = open(NAME, 1, several);
    assert_eq!(status, STATUS_SUCCESS);
    object
}

fn release(object: *mut c_void) {
    nt!(ObfDereferenceObject(object));
}

fn notify(object: *mut c_void, first: usize, second: usize) {
    let [first, second] = [first, second].map(without_provenance_mut);
    nt!(ExNotifyCallback(object, first, second));
}

fn irql() -> u8 {
    nt!(KeGetCurrentIrql())
}

/// Adds the context, the arguments and the IRQL to the numbers that the second argument points to.
unsafe extern "C" fn note(context: *mut c_void, first: *mut c_void, second: *mut c_void) {
    let seen = [context.addr(), first.addr(), irql().into()];
    // SAFETY: the driver passes the numbers.
    unsafe { (*second.cast::<Vec<[usize; 3]>>()).push(seen) };
}

unsafe extern "C" fn ignores(_: *mut c_void, _: *mut c_void, _: *mut c_void) {}

fn register(object: *mut c_void, context: usize) -> *mut c_void {
    let context = without_provenance_mut(context);
    nt!(ExRegisterCallback(object, Some(note), context))
}

/// "The system calls callback routines in order of their registration", "at the caller's IRQL".
#[test]
fn routines_are_called_in_the_order_of_their_registration() {
    passes(|device| {
        let object = create(1);
        let [one, two] = [1, 2].map(|context| register(object, context));
        assert!(!one.is_null() && !two.is_null() && one != two);
        let mut seen: Vec<[usize; 3]> = Vec::new();
        let place = (&raw mut seen).expose_provenance();
        let place = std::ptr::with_exposed_provenance_mut(place);
        nt!(ExNotifyCallback(object, without_provenance_mut(7), place));
        let old = nt!(KfRaiseIrql(DISPATCH_LEVEL));
        nt!(ExNotifyCallback(object, without_provenance_mut(8), place));
        nt!(KeLowerIrql(old));
        nt!(ExUnregisterCallback(one));
        nt!(ExNotifyCallback(object, without_provenance_mut(9), place));
        nt!(ExUnregisterCallback(two));
        nt!(ExNotifyCallback(object, null_mut(), place));
        assert_eq!(
            seen,
            [[1, 7, 0], [2, 7, 0], [1, 8, 2], [2, 8, 2], [2, 9, 0]]
        );
        release(object);
        delete(device);
    });
}

/// "Unnamed callback objects are not permitted"; "If the object allows only one registered callback routine, and such a routine is
/// already registered, `ExRegisterCallback` returns NULL".
#[test]
fn object_has_a_name_and_allows_one_routine_or_several() {
    passes(|device| {
        assert_eq!(create_with(null_mut(), 1, 1).0, STATUS_UNSUCCESSFUL);
        assert_eq!(open(NAME, 0, 1).0, STATUS_OBJECT_NAME_NOT_FOUND);
        let object = create(0);
        // The flag is ignored for an existing object.
        let (status, same) = open(r"\CALLBACK\interlock", 1, 1);
        assert_eq!((status, same), (STATUS_SUCCESS, object));
        let one = register(object, 1);
        assert!(register(same, 2).is_null());
        nt!(ExUnregisterCallback(one));
        let two = register(object, 2);
        assert!(!two.is_null());
        release(same);
        release(object);
        assert_eq!(open(NAME, 0, 1).0, STATUS_SUCCESS, "a routine keeps it");
        release(object);
        nt!(ExUnregisterCallback(two));
        assert_eq!(open(NAME, 0, 1).0, STATUS_OBJECT_NAME_NOT_FOUND);
        let (status, of_system) = open(r"\Callback\PowerState", 0, 0);
        assert_eq!(status, STATUS_SUCCESS);
        let one = register(of_system, 1);
        nt!(ExUnregisterCallback(one));
        release(of_system);
        delete(device);
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of rules")]
fn callback_objects_are_used_as_documented() {
    stops(
        |_| {
            let object = create(1);
            nt!(KfRaiseIrql(DISPATCH_LEVEL));
            register(object, 1);
        },
        Rule::IrqlExApcLte2,
        0xc4,
        0x2_0006,
        "ExRegisterCallback",
    );
    stops(
        |_| {
            let one = register(create(1), 1);
            nt!(KfRaiseIrql(DISPATCH_LEVEL));
            nt!(ExUnregisterCallback(one));
        },
        Rule::IrqlExApcLte2,
        0xc4,
        0x2_0006,
        "ExUnregisterCallback",
    );
    stops(
        |_| {
            nt!(KfRaiseIrql(DISPATCH_LEVEL));
            create(1);
        },
        Rule::Irql,
        0xc4,
        0xe5,
        "ExCreateCallback",
    );
    stops(
        |_| {
            let object = create(1);
            nt!(KfRaiseIrql(DISPATCH_LEVEL + 1));
            notify(object, 0, 0);
        },
        Rule::Irql,
        0xc4,
        0xe5,
        "ExNotifyCallback",
    );
    let (rule, routine) = (Rule::Callback, "ExNotifyCallback");
    stops(
        |_| notify(open(r"\Callback\SetSystemTime", 0, 0).1, 0, 0),
        rule,
        0,
        0,
        routine,
    );
    stops(
        |_| {
            let object = create(1);
            release(object);
            notify(object, 0, 0);
        },
        rule,
        0x50,
        0xffff_a100_0000_0300,
        routine,
    );
    stops(
        |device| {
            create(1);
            delete(device);
        },
        Rule::Reference,
        0,
        0,
        "DriverEntry",
    );
    stops(
        |device| {
            let object = create(1);
            register(object, 1);
            release(object);
            delete(device);
        },
        rule,
        0xce,
        0,
        "DriverEntry",
    );
    stops(
        |device| {
            let context = extension(device).addr();
            register(create(1), context);
            delete(device);
        },
        rule,
        0xce,
        0,
        "DriverEntry",
    );
    stops(
        |_| {
            let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 8, 1));
            nt!(ExRegisterCallback(create(1), Some(ignores), block));
            nt!(ExFreePoolWithTag(block, 1));
        },
        rule,
        0,
        0,
        "ExFreePoolWithTag",
    );
}

unsafe extern "C" fn removes_itself(
    context: *mut c_void,
    registration: *mut c_void,
    _: *mut c_void,
) {
    assert!(context.is_null());
    nt!(ExUnregisterCallback(registration));
}

unsafe extern "C" fn raises(_: *mut c_void, _: *mut c_void, _: *mut c_void) {
    nt!(KfRaiseIrql(DISPATCH_LEVEL));
}

#[test]
fn routine_returns_at_its_irql_and_does_not_remove_itself() {
    stops(
        |_| {
            let object = create(1);
            let one = nt!(ExRegisterCallback(object, Some(removes_itself), null_mut()));
            nt!(ExNotifyCallback(object, one, null_mut()));
        },
        Rule::Callback,
        0,
        0,
        "ExUnregisterCallback",
    );
    stops(
        |_| {
            let object = create(1);
            nt!(ExRegisterCallback(object, Some(raises), null_mut()));
            notify(object, 0, 0);
        },
        Rule::IrqlReturn,
        0xc4,
        0x2_001d,
        "ExNotifyCallback",
    );
}

/// The data that the thread and the routine share: the object, and the number that the routine writes.
struct Shared {
    object: *mut c_void,
    number: *mut u64,
}

unsafe extern "C" fn writes(context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: the driver frees the number when the routine no longer runs.
    unsafe { *context.cast::<u64>() += 1 };
}

unsafe extern "C" fn notifies(context: *mut c_void) {
    // SAFETY: the driver waits for this thread.
    let shared = unsafe { &*context.cast::<Shared>() };
    notify(shared.object, 0, 0);
}

/// A routine no longer runs when it is unregistered, so that its context can be freed.
#[test]
fn context_is_freed_after_the_routine_was_unregistered() {
    passes(|device| {
        let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 8, 1));
        let shared = Shared {
            object: create(1),
            number: block.cast(),
        };
        let number = shared.number.cast();
        let one = nt!(ExRegisterCallback(shared.object, Some(writes), number));
        let thread = start_thread(notifies, &raw const shared);
        nt!(ExUnregisterCallback(one));
        nt!(ExFreePoolWithTag(block, 1));
        nt!(ZwWaitForSingleObject(thread, 0, null_mut()));
        nt!(ZwClose(thread));
        release(shared.object);
        delete(device);
    });
}

const SETTING: GUID = GUID {
    Data1: 0x5d3e_9a59,
    Data2: 0xe9d5,
    Data3: 0x4b00,
    Data4: [0xa6, 0xbd, 0xff, 0x34, 0xff, 0x51, 0x65, 0x48],
};
const OTHER: GUID = GUID {
    Data1: 1,
    ..SETTING
};

/// The values of the setting that the routine was called with: a decimal digit for each.
static VALUES: AtomicU32 = AtomicU32::new(0);
static HANDLE: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn on_setting(
    setting: *const GUID,
    value: *mut c_void,
    length: u32,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the power manager passes the setting.
    assert_eq!(unsafe { (*setting).Data1 }, SETTING.Data1);
    assert_eq!((length, context.addr(), irql()), (4, 5, 0));
    // SAFETY: the value of this setting is a ULONG.
    let value = unsafe { value.cast::<u32>().read() };
    VALUES.store(10 * VALUES.load(SeqCst) + value, SeqCst);
    STATUS_SUCCESS
}

unsafe extern "C" fn ignores_setting(
    _: *const GUID,
    _: *mut c_void,
    _: u32,
    _: *mut c_void,
) -> NTSTATUS {
    STATUS_SUCCESS
}

fn register_setting(routine: nt::PPOWER_SETTING_CALLBACK, context: *mut c_void) -> *mut c_void {
    let (setting, mut handle) = (SETTING, null_mut());
    let status = nt!(PoRegisterPowerSettingCallback(
        null_mut(),
        &raw const setting,
        routine,
        context,
        &raw mut handle
    ));
    assert_eq!(status, STATUS_SUCCESS);
    handle
}

unsafe extern "C" fn unload(_: *mut DRIVER_OBJECT) {
    let handle = without_provenance_mut(HANDLE.load(SeqCst));
    let unregister = || nt!(PoUnregisterPowerSettingCallback(handle));
    assert_eq!(
        [(); 2].map(|()| unregister()),
        [STATUS_SUCCESS, STATUS_INVALID_PARAMETER]
    );
}

unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the driver object is valid in DriverEntry.
    unsafe { (*driver).DriverUnload = Some(unload) };
    let handle = register_setting(Some(on_setting), without_provenance_mut(5));
    HANDLE.store(handle.addr(), SeqCst);
    STATUS_SUCCESS
}

/// "The power manager initializes the power setting of the driver by immediately calling the callback routine".
#[test]
fn routine_is_called_with_each_value_of_its_power_setting() {
    let kernel = Kernel::new(Config::default());
    kernel.set_power_setting(&SETTING, &3_u32.to_le_bytes());
    // SAFETY: the entry point is that of a driver on `nt`.
    let driver = unsafe { Driver::load(&kernel, entry) }.expect("the driver loads");
    kernel.set_power_setting(&OTHER, &1_u32.to_le_bytes());
    kernel.set_power_setting(&SETTING, &4_u32.to_le_bytes());
    driver.unload();
    kernel.set_power_setting(&SETTING, &5_u32.to_le_bytes());
    assert_eq!(VALUES.load(SeqCst), 34);
}

/// "A driver must call `PoUnregisterPowerSettingCallback` to unregister each callback routine"; `PASSIVE_LEVEL`.
#[test]
fn power_setting_routines_are_used_as_documented() {
    stops(
        |device| {
            register_setting(Some(ignores_setting), null_mut());
            delete(device);
        },
        Rule::Callback,
        0xce,
        0,
        "DriverEntry",
    );
    stops(
        |_| {
            nt!(KfRaiseIrql(1));
            register_setting(Some(ignores_setting), null_mut());
        },
        Rule::Irql,
        0xc4,
        0xe5,
        "PoRegisterPowerSettingCallback",
    );
    stops(
        |_| {
            let handle = register_setting(Some(ignores_setting), null_mut());
            nt!(KfRaiseIrql(1));
            nt!(PoUnregisterPowerSettingCallback(handle));
        },
        Rule::Irql,
        0xc4,
        0xe5,
        "PoUnregisterPowerSettingCallback",
    );
    stops(
        |_| {
            let block = nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, 8, 1));
            register_setting(Some(ignores_setting), block);
            nt!(ExFreePoolWithTag(block, 1));
        },
        Rule::Callback,
        0,
        0,
        "ExFreePoolWithTag",
    );
    passes(|device| {
        let handle = register_setting(Some(ignores_setting), null_mut());
        let status = nt!(PoUnregisterPowerSettingCallback(handle));
        assert_eq!(status, STATUS_SUCCESS);
        delete(device);
    });
}
