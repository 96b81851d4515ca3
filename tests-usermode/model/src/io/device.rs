//! Device objects, their stacks and interfaces; and a device as the PnP manager knows it.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use nt::{
    DEVICE_OBJECT, DO_DEVICE_INITIALIZING, DRIVER_OBJECT, GUID, NTSTATUS,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS, UNICODE_STRING,
};

use crate::{
    host::{
        Call, Kernel,
        footprint::{self, Access},
    },
    io::registry,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

pub(crate) const STATUS_OBJECT_NAME_NOT_FOUND: i32 = 0xc000_0034_u32.cast_signed();
const STATUS_OBJECT_NAME_EXISTS: i32 = 0x4000_0000;

/// The tag of a device interface's name.
const INTERFACE_TAG: u32 = u32::from_le_bytes(*b"PnpI");

/// The device objects, by their addresses, and the interfaces, by their names.
#[derive(Default)]
pub(crate) struct Devices {
    objects: Mutex<BTreeMap<usize, DeviceObject>>,
    interfaces: Mutex<BTreeMap<String, Interface>>,
}

/// A device object's memory, and whose it is. The memory stays as long as the kernel, so that who uses the object when it is
/// gone reads what it was filled with.
struct DeviceObject {
    memory: Box<[u128]>,
    extension: Box<[u128]>,
    /// The driver object's address; zero for the bus driver.
    driver: usize,
    /// How many references the driver has made with `ObfReferenceObject`.
    references: usize,
    /// How many references the I/O manager has made: one for each work item until its routine has returned.
    io_references: usize,
    /// Whether `IoDeleteDevice` was called.
    is_deleted: bool,
    /// The device object that it is or was attached to, and the physical device object below all; zero if there is none.
    lower: usize,
    pdo: usize,
    is_attached: bool,
    /// Whether another device object is attached to this one.
    has_upper: bool,
}

struct Interface {
    pdo: usize,
    is_enabled: bool,
}

impl Devices {
    /// Makes a device object.
    pub(crate) fn create(
        &self,
        driver: *mut DRIVER_OBJECT,
        extension_size: u32,
        kind: u32,
        characteristics: u32,
    ) -> *mut DEVICE_OBJECT {
        let words = size_of::<DEVICE_OBJECT>().div_ceil(16);
        let mut memory = vec![0_u128; words].into_boxed_slice();
        let mut extension = vec![0_u128; (extension_size as usize).div_ceil(16)].into_boxed_slice();
        let object = memory.as_mut_ptr().cast::<DEVICE_OBJECT>();
        // SAFETY: the memory is long enough and zeroed, as every field may be.
        let fields = unsafe { &mut *object };
        fields.Type = 3;
        fields.Size = u16::try_from(size_of::<DEVICE_OBJECT>()).unwrap_or_default();
        fields.ReferenceCount = 0;
        fields.DriverObject = driver;
        fields.Flags = DO_DEVICE_INITIALIZING;
        fields.Characteristics = characteristics;
        fields.DeviceType = kind;
        fields.StackSize = 1;
        if extension_size != 0 {
            fields.DeviceExtension = extension.as_mut_ptr().cast();
        }
        // SAFETY: the caller gives NULL or its driver object.
        if let Some(driver) = unsafe { driver.as_mut() } {
            fields.NextDevice = driver.DeviceObject;
            driver.DeviceObject = object;
        }
        let new = DeviceObject {
            memory,
            extension,
            driver: driver.expose_provenance(),
            references: 0,
            io_references: 0,
            is_deleted: false,
            lower: 0,
            pdo: if driver.is_null() { object.addr() } else { 0 },
            is_attached: false,
            has_upper: false,
        };
        object.expose_provenance();
        locked(&self.objects).insert(object.addr(), new);
        object
    }

    /// The driver of a device object; `None` for the bus driver.
    pub(crate) fn driver_of(&self, device: *mut DEVICE_OBJECT) -> Option<*mut DRIVER_OBJECT> {
        let driver = locked(&self.objects).get(&device.addr())?.driver;
        // Exposed when the object was made.
        (driver != 0).then(|| std::ptr::with_exposed_provenance_mut(driver))
    }

    /// Whether there is such a device object, or was.
    pub(crate) fn is_known(&self, device: *mut DEVICE_OBJECT) -> bool {
        locked(&self.objects).contains_key(&device.addr())
    }

    /// Notes that a device object is attached to another one.
    pub(crate) fn attach(&self, source: *mut DEVICE_OBJECT, lower: *mut DEVICE_OBJECT) {
        let mut objects = locked(&self.objects);
        let pdo = objects.get_mut(&lower.addr()).map_or(0, |lower| {
            lower.has_upper = true;
            lower.pdo
        });
        if let Some(source) = objects.get_mut(&source.addr()) {
            source.lower = lower.addr();
            source.pdo = pdo;
            source.is_attached = true;
        }
    }

    /// Notes that a device object is detached.
    pub(crate) fn detach(&self, source: usize) {
        let mut objects = locked(&self.objects);
        let Some(source) = objects.get_mut(&source) else {
            return;
        };
        source.is_attached = false;
        let lower = source.lower;
        if let Some(lower) = objects.get_mut(&lower) {
            lower.has_upper = false;
            lower.fill_if_gone();
        }
    }

    /// Whether a device object is attached to another one.
    pub(crate) fn is_attached(&self, device: *mut DEVICE_OBJECT) -> bool {
        let objects = locked(&self.objects);
        let object = objects.get(&device.addr());
        object.is_some_and(|object| object.is_attached)
    }

    /// The device object that another one is or was attached to.
    pub(crate) fn lower_of(&self, device: usize) -> Option<usize> {
        let lower = locked(&self.objects).get(&device)?.lower;
        (lower != 0).then_some(lower)
    }

    /// The physical device object below a device object.
    pub(crate) fn pdo_of(&self, device: usize) -> Option<usize> {
        let pdo = locked(&self.objects).get(&device)?.pdo;
        (pdo != 0).then_some(pdo)
    }

    /// Where a device object's extension is.
    pub(crate) fn extension_of(&self, device: usize) -> Option<Range<usize>> {
        let objects = locked(&self.objects);
        Some(objects.get(&device)?.extension_range())
    }

    /// The device object in whose extension an address is.
    pub(crate) fn owner_of_extension(&self, address: usize) -> Option<usize> {
        let objects = locked(&self.objects);
        let mut objects = objects.iter();
        let owner = objects.find(|(_, object)| object.extension_range().contains(&address));
        owner.map(|(device, _)| *device)
    }

    /// Whether a device object was deleted and its last reference released.
    pub(crate) fn is_gone(&self, device: *mut DEVICE_OBJECT) -> bool {
        let objects = locked(&self.objects);
        let object = objects.get(&device.addr());
        object.is_some_and(DeviceObject::is_gone)
    }

    /// Whether a device object was deleted.
    pub(crate) fn is_deleted(&self, device: *mut DEVICE_OBJECT) -> bool {
        locked(&self.objects)
            .get(&device.addr())
            .is_none_or(|object| object.is_deleted)
    }

    /// How many device objects of drivers there are.
    pub(crate) fn count(&self) -> usize {
        let objects = locked(&self.objects);
        objects
            .values()
            .filter(|object| object.driver != 0 && !object.is_deleted)
            .count()
    }

    /// Counts a reference of the driver's to a device object and gives how many there are; `None` if there is no such object,
    /// or if it is gone.
    pub(crate) fn reference(&self, device: usize) -> Option<usize> {
        let mut objects = locked(&self.objects);
        let object = objects.get_mut(&device)?;
        (!object.is_gone()).then(|| {
            object.references += 1;
            object.references
        })
    }

    /// Counts a reference of the driver's off and gives how many are left; `None` if it has made none.
    pub(crate) fn dereference(&self, device: usize) -> Option<usize> {
        let mut objects = locked(&self.objects);
        let object = objects.get_mut(&device)?;
        object.references = object.references.checked_sub(1)?;
        object.fill_if_gone();
        Some(object.references)
    }

    /// Counts a reference of the I/O manager's; says whether there is such an object.
    pub(crate) fn io_reference(&self, device: usize) -> bool {
        footprint::touch(device, Access::Commuting);
        let mut objects = locked(&self.objects);
        let object = objects.get_mut(&device).filter(|object| !object.is_gone());
        object.is_some_and(|object| {
            object.io_references += 1;
            true
        })
    }

    /// Counts a reference of the I/O manager's off.
    pub(crate) fn io_dereference(&self, device: usize) {
        footprint::touch(device, Access::Commuting);
        if let Some(object) = locked(&self.objects).get_mut(&device) {
            object.io_references -= 1;
            object.fill_if_gone();
        }
    }

    /// Whether a device object of a driver's is there, deleted or not.
    pub(crate) fn is_drivers(&self, device: usize) -> bool {
        let objects = locked(&self.objects);
        let object = objects.get(&device);
        object.is_some_and(|object| object.driver != 0 && !object.is_gone())
    }

    /// A device object of a driver's that was deleted and is still referenced, and how often.
    pub(crate) fn still_referenced(&self) -> Option<(usize, usize)> {
        let objects = locked(&self.objects);
        let mut left = objects
            .iter()
            .filter(|(_, object)| object.driver != 0 && object.is_deleted && !object.is_gone());
        left.next()
            .map(|(address, object)| (*address, object.references + object.io_references))
    }

    /// What an address is or was, if it is in a device object or its extension.
    fn describe(&self, address: usize) -> Option<String> {
        let objects = locked(&self.objects);
        let (device, object) = objects.iter().find(|(device, object)| {
            let memory = **device..**device + size_of_val(&*object.memory);
            memory.contains(&address) || object.extension_range().contains(&address)
        })?;
        let of = if object.extension_range().contains(&address) {
            "the extension of the device object"
        } else {
            "the device object"
        };
        let gone = if object.is_gone() {
            ", which is gone"
        } else {
            ""
        };
        Some(format!("in {of} {device:#x}{gone}"))
    }

    /// Whether an interface of a physical device is enabled.
    pub(crate) fn is_enabled(&self, pdo: *mut DEVICE_OBJECT) -> bool {
        let interfaces = locked(&self.interfaces);
        interfaces
            .values()
            .any(|interface| interface.pdo == pdo.addr() && interface.is_enabled)
    }
}

// SAFETY: device objects are reached by their addresses; this crate reads and writes their fields while AddDevice or a
// PnP request runs, of which there is one at a time.
unsafe impl Send for DeviceObject {}

/// What the memory of a device object that is gone is filled with, as the pool's is.
const GONE: u128 = u128::MAX / 0xff * 0xdd;

impl DeviceObject {
    fn extension_range(&self) -> Range<usize> {
        let start = self.extension.as_ptr().addr();
        start..start + size_of_val(&*self.extension)
    }

    /// Whether it was deleted, the last reference released, and the device object above it detached.
    fn is_gone(&self) -> bool {
        let is_used = self.references != 0 || self.io_references != 0 || self.has_upper;
        self.is_deleted && !is_used
    }

    /// Fills its memory if it is gone.
    fn fill_if_gone(&mut self) {
        if self.is_gone() {
            self.memory.fill(GONE);
            self.extension.fill(GONE);
        }
    }
}

impl Kernel {
    /// What an address is or was, if it is in a device object, its extension, or an IRP.
    pub(crate) fn describe_io_object(&self, address: usize) -> Option<String> {
        let device = self.io().devices.describe(address);
        device.or_else(|| {
            let record = self.io().find_around(address)?;
            let by = locked(&record.state).completed_by.clone();
            Some(if by.is_empty() {
                format!("in {record}")
            } else {
                format!("in {record}, which {by} has completed")
            })
        })
    }

    /// How many device objects the driver has made and not deleted.
    #[must_use]
    pub fn device_objects(&self) -> usize {
        self.io().devices.count()
    }
}

/// A device of the driver's.
pub(crate) struct DeviceInner {
    pdo: usize,
    /// The device objects of the drivers above it, from the lowest to the highest.
    objects: Mutex<Vec<usize>>,
    open_files: AtomicUsize,
    /// Whether the removal waits for the last file.
    pub(crate) removal_waits: AtomicBool,
    pub(crate) is_removed: AtomicBool,
}

impl DeviceInner {
    pub(crate) fn new(pdo: *mut DEVICE_OBJECT, object: *mut DEVICE_OBJECT) -> Arc<Self> {
        Arc::new(Self {
            pdo: pdo.expose_provenance(),
            objects: Mutex::new(vec![object.expose_provenance()]),
            open_files: AtomicUsize::new(0),
            removal_waits: AtomicBool::new(false),
            is_removed: AtomicBool::new(false),
        })
    }

    /// The physical device object.
    pub(crate) fn pdo(&self) -> *mut DEVICE_OBJECT {
        std::ptr::with_exposed_provenance_mut(self.pdo)
    }

    /// The function driver's device object.
    pub(crate) fn object(&self) -> *mut DEVICE_OBJECT {
        let first = locked(&self.objects).first().copied();
        std::ptr::with_exposed_provenance_mut(first.unwrap_or_default())
    }

    /// The highest device object, to which requests are sent.
    pub(crate) fn top(&self) -> *mut DEVICE_OBJECT {
        let last = locked(&self.objects).last().copied();
        std::ptr::with_exposed_provenance_mut(last.unwrap_or_default())
    }

    /// The device objects of the drivers, from the lowest to the highest.
    pub(crate) fn objects(&self) -> Vec<*mut DEVICE_OBJECT> {
        let objects = locked(&self.objects);
        let pointers = objects
            .iter()
            .map(|object| std::ptr::with_exposed_provenance_mut(*object));
        pointers.collect()
    }

    /// Adds the device object of a further driver on top.
    pub(crate) fn add_object(&self, object: *mut DEVICE_OBJECT) {
        locked(&self.objects).push(object.expose_provenance());
    }

    pub(crate) fn file_opened(&self) {
        self.open_files.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn open_files(&self) -> usize {
        self.open_files.load(Ordering::SeqCst)
    }

    /// Counts a file off. With the last one goes a device that was taken away.
    pub(crate) fn file_closed(self: &Arc<Self>, call: &Call) {
        let last = self.open_files.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.removal_waits.swap(false, Ordering::SeqCst) {
            self.remove(call);
        }
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoCreateDevice(
    driver: *mut DRIVER_OBJECT,
    extension_size: u32,
    _name: *mut UNICODE_STRING,
    kind: u32,
    characteristics: u32,
    _exclusive: u8,
    device: *mut *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let call = Call::enter("IoCreateDevice");
    call.require_at_most(1, Rule::IrqlIoPassive1, 0x2_000a);
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let object = call
        .kernel
        .io()
        .devices
        .create(driver, extension_size, kind, characteristics);
    call.require_room(device);
    // SAFETY: the caller gives room for the answer.
    unsafe { device.write(object) };
    STATUS_SUCCESS
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoDeleteDevice(device: *mut DEVICE_OBJECT) {
    let call = Call::enter("IoDeleteDevice");
    call.require_at_most(1, Rule::IrqlIoApcLte, 0x2_0009);
    let devices = &call.kernel.io().devices;
    call.require_device(device);
    call.require(!devices.is_deleted(device), Rule::DeviceRemoval, || {
        let bug_check = BugCheck::io(0x240, [0, 0, device.addr() as u64]);
        (
            bug_check,
            format!("the device object {device:?} is deleted twice"),
        )
    });
    call.verify_deletion(device.addr());
    call.require(!devices.is_attached(device), Rule::DeviceRemoval, || {
        let bug_check = BugCheck::io(0x201, [0, 0, device.addr() as u64]);
        (
            bug_check,
            format!("the device object {device:?} is deleted before it is detached"),
        )
    });
    if let Some(driver) = devices.driver_of(device) {
        // SAFETY: the driver object is alive as long as it has devices.
        let mut link = unsafe { &raw mut (*driver).DeviceObject };
        loop {
            // SAFETY: the link is the driver object's or a device object's.
            let next = unsafe { *link };
            if next.is_null() {
                break;
            }
            // SAFETY: the device objects of a driver are alive.
            let after = unsafe { &raw mut (*next).NextDevice };
            if next == device {
                // SAFETY: as above.
                let rest = unsafe { *after };
                // SAFETY: the link is the driver object's or a device object's.
                unsafe { *link = rest };
                break;
            }
            link = after;
        }
    }
    if let Some(object) = locked(&devices.objects).get_mut(&device.addr()) {
        object.is_deleted = true;
        object.fill_if_gone();
    }
    call.verify_extension_is_unused(device);
}

impl Call {
    /// Stops the system unless a pointer is a device object's, which may be gone.
    pub(in crate::io) fn require_device(&self, device: *mut DEVICE_OBJECT) {
        let known = self.kernel.io().devices.is_known(device);
        self.require(known, Rule::Pointer, || {
            let bug_check = BugCheck(0x50, [device.addr() as u64, 0, 0, 0]);
            let what = format!("{device:?} is no device object{}", self.once(device.addr()));
            (bug_check, what)
        });
    }

    /// Stops the system unless a pointer is that of a device object that is there.
    pub(in crate::io) fn require_live_device(&self, device: *mut DEVICE_OBJECT) {
        self.require_device(device);
        let gone = self.kernel.io().devices.is_gone(device);
        self.require(!gone, Rule::FreedMemory, || {
            let bug_check = BugCheck(0xd5, [device.addr() as u64, 0, 0, 0]);
            (bug_check, format!("the device object {device:?} is gone"))
        });
    }

    /// Stops the system if a device object is gone, and a timer that is set or a DPC that is queued is in its extension.
    pub(in crate::io) fn verify_extension_is_unused(&self, device: *mut DEVICE_OBJECT) {
        let devices = &self.kernel.io().devices;
        if !devices.is_gone(device) {
            return;
        }
        if let Some(extension) = devices.extension_of(device.addr()) {
            self.verify_memory_is_unused(extension.start, extension.len());
        }
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoRegisterDeviceInterface(
    pdo: *mut DEVICE_OBJECT,
    class: *const GUID,
    _reference: *mut UNICODE_STRING,
    name: *mut UNICODE_STRING,
) -> NTSTATUS {
    let call = Call::enter("IoRegisterDeviceInterface");
    call.require_at_most(0, Rule::IrqlIoPassive3, 0x2_000c);
    call.require_live_device(pdo);
    call.require_room(class.cast_mut());
    call.require_room(name);
    // SAFETY: the caller gives a class.
    let class = unsafe { class.read() };
    let node = class.Data4.map(|byte| format!("{byte:02x}")).concat();
    let text = format!(
        r"\??\ROOT#DRIVER#{:x}#{{{:08x}-{:04x}-{:04x}-{node}}}",
        pdo.addr(),
        class.Data1,
        class.Data2,
        class.Data3,
    );
    let units: Vec<u16> = text.encode_utf16().collect();
    let size = units.len() * 2;
    let buffer = call.allocate_pool(size, INTERFACE_TAG, true).cast::<u16>();
    let Ok(length) = u16::try_from(size) else {
        return STATUS_INSUFFICIENT_RESOURCES;
    };
    if buffer.is_null() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the block is so long.
    unsafe { buffer.copy_from_nonoverlapping(units.as_ptr(), units.len()) };
    // SAFETY: the caller gives room for a string.
    unsafe {
        name.write(UNICODE_STRING {
            Length: length,
            MaximumLength: length,
            Buffer: buffer,
        });
    }
    let interface = Interface {
        pdo: pdo.addr(),
        is_enabled: false,
    };
    locked(&call.kernel.io().devices.interfaces).insert(text, interface);
    STATUS_SUCCESS
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoSetDeviceInterfaceState(name: *mut UNICODE_STRING, enable: u8) -> NTSTATUS {
    let call = Call::enter("IoSetDeviceInterfaceState");
    call.require_at_most(0, Rule::IrqlIoPassive1, 0x2_000a);
    // SAFETY: the caller gives a name that IoRegisterDeviceInterface made.
    let name = unsafe { registry::text(name) };
    if enable != 0 && call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let mut interfaces = locked(&call.kernel.io().devices.interfaces);
    let Some(interface) = interfaces.get_mut(&name) else {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    };
    let enable = enable != 0;
    match (interface.is_enabled, enable) {
        (true, true) => STATUS_OBJECT_NAME_EXISTS,
        (false, false) => STATUS_OBJECT_NAME_NOT_FOUND,
        _ => {
            interface.is_enabled = enable;
            STATUS_SUCCESS
        }
    }
}
