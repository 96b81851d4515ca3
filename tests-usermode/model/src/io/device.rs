//! Device objects, and a device as the PnP manager knows it.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering},
    },
};

use nt::{
    DEVICE_OBJECT, DO_DEVICE_INITIALIZING, DRIVER_OBJECT, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_SUCCESS, UNICODE_STRING,
};

use crate::{
    host::{
        Call, Kernel,
        footprint::{self, Access},
        wait::Wait,
    },
    io::{bus, device_stack::top_of},
    ke::device_queue,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// `DO_EXCLUSIVE`, the flag of a device object with which only one file may be open.
pub(crate) const DO_EXCLUSIVE: u32 = 8;

/// `IO_TYPE_DEVICE`
const DEVICE: i16 = 3;

/// `DO_DEVICE_HAS_NAME`
const DO_DEVICE_HAS_NAME: u32 = 0x40;

/// The device objects, by their addresses.
#[derive(Default)]
pub(crate) struct Devices {
    objects: Mutex<BTreeMap<usize, DeviceObject>>,
}

/// The memory of a device object and its driver. The memory is kept as long as the kernel, so a use of the object after
/// its deletion reads the fill value.
struct DeviceObject {
    memory: Box<[u128]>,
    extension: Box<[u128]>,
    /// The address of the driver object; zero for the bus driver.
    driver: usize,
    /// The number of references that the driver has made with `ObfReferenceObject`.
    references: usize,
    /// The number of references that the I/O manager has made: one for each work item until its routine has returned.
    io_references: usize,
    /// Whether `IoDeleteDevice` was called.
    is_deleted: bool,
    /// The device object that this one is or was attached to, and the physical device object of the stack; zero if
    /// there is none.
    lower: usize,
    pdo: usize,
    is_attached: bool,
    /// Whether another device object is attached to this one.
    has_upper: bool,
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
        // SAFETY: the memory is long enough, and zero is valid for every field.
        let fields = unsafe { &mut *object };
        fields.Type = DEVICE;
        let size = size_of::<DEVICE_OBJECT>() + extension_size as usize;
        fields.Size = u16::try_from(size).unwrap_or(u16::MAX);
        fields.ReferenceCount = 0;
        fields.DriverObject = if driver.is_null() {
            bus::driver_object()
        } else {
            driver
        };
        fields.Flags = DO_DEVICE_INITIALIZING;
        fields.Characteristics = characteristics;
        fields.DeviceType = kind;
        fields.StackSize = 1;
        // SAFETY: the device object is made here.
        unsafe { device_queue::initialise(&raw mut fields.DeviceQueue) };
        if extension_size != 0 {
            fields.DeviceExtension = extension.as_mut_ptr().cast();
        }
        // SAFETY: the caller passes NULL or its driver object.
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

    /// Returns the driver of a device object; `None` for the bus driver.
    pub(crate) fn driver_of(&self, device: *mut DEVICE_OBJECT) -> Option<*mut DRIVER_OBJECT> {
        let driver = locked(&self.objects).get(&device.addr())?.driver;
        // Exposed when the object was made.
        (driver != 0).then(|| std::ptr::with_exposed_provenance_mut(driver))
    }

    /// Returns the device objects of a driver that were not deleted.
    pub(crate) fn of_driver(&self, driver: *mut DRIVER_OBJECT) -> Vec<usize> {
        let objects = locked(&self.objects);
        let of_driver = objects.iter().filter(|(_, object)| {
            object.driver == driver.addr() && driver.addr() != 0 && !object.is_deleted
        });
        of_driver.map(|(address, _)| *address).collect()
    }

    /// Returns whether there is or was such a device object.
    pub(crate) fn is_known(&self, device: *mut DEVICE_OBJECT) -> bool {
        locked(&self.objects).contains_key(&device.addr())
    }

    /// Records that a device object is attached to another one.
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

    /// Records that a device object is detached.
    pub(crate) fn detach(&self, source: usize) {
        let mut objects = locked(&self.objects);
        let Some(source) = objects.get_mut(&source) else {
            return;
        };
        source.is_attached = false;
        let lower = source.lower;
        if let Some(lower) = objects.get_mut(&lower) {
            lower.has_upper = false;
            lower.fill_if_freed();
        }
    }

    /// Returns whether a device object is attached to another one.
    pub(crate) fn is_attached(&self, device: *mut DEVICE_OBJECT) -> bool {
        let objects = locked(&self.objects);
        let object = objects.get(&device.addr());
        object.is_some_and(|object| object.is_attached)
    }

    /// Returns the device object that another one is or was attached to.
    pub(crate) fn lower_of(&self, device: usize) -> Option<usize> {
        let lower = locked(&self.objects).get(&device)?.lower;
        (lower != 0).then_some(lower)
    }

    /// Returns the physical device object of the stack of a device object.
    pub(crate) fn pdo_of(&self, device: usize) -> Option<usize> {
        let pdo = locked(&self.objects).get(&device)?.pdo;
        (pdo != 0).then_some(pdo)
    }

    /// Returns whether a device object is a physical one.
    pub(crate) fn is_physical(&self, device: *mut DEVICE_OBJECT) -> bool {
        self.pdo_of(device.addr()) == Some(device.addr())
    }

    /// Makes a device object, which a bus driver has reported, the physical one of its own stack.
    pub(in crate::io) fn make_physical(&self, device: usize) {
        if let Some(object) = locked(&self.objects).get_mut(&device) {
            object.pdo = device;
        }
    }

    /// Returns the address range of a device object's extension.
    pub(crate) fn extension_of(&self, device: usize) -> Option<Range<usize>> {
        let objects = locked(&self.objects);
        Some(objects.get(&device)?.extension_range())
    }

    /// Returns the device object whose extension contains an address.
    pub(crate) fn owner_of_extension(&self, address: usize) -> Option<usize> {
        let objects = locked(&self.objects);
        let mut objects = objects.iter();
        let owner = objects.find(|(_, object)| object.extension_range().contains(&address));
        owner.map(|(device, _)| *device)
    }

    /// Records an access to whether a device object exists, by an address inside it.
    fn touch_existence(device: usize, access: Access) {
        footprint::touch(device + 1, access);
    }

    /// Returns whether a device object was deleted and its last reference was released.
    pub(crate) fn is_freed(&self, device: *mut DEVICE_OBJECT) -> bool {
        Self::touch_existence(device.addr(), Access::Commuting);
        let objects = locked(&self.objects);
        let object = objects.get(&device.addr());
        object.is_some_and(DeviceObject::is_freed)
    }

    /// Returns whether a device object was deleted.
    pub(crate) fn is_deleted(&self, device: *mut DEVICE_OBJECT) -> bool {
        locked(&self.objects)
            .get(&device.addr())
            .is_none_or(|object| object.is_deleted)
    }

    /// Returns the number of device objects of drivers.
    pub(crate) fn count(&self) -> usize {
        let objects = locked(&self.objects);
        objects
            .values()
            .filter(|object| object.driver != 0 && !object.is_deleted)
            .count()
    }

    /// Adds a reference of the driver to a device object; returns the new count, or `None` if the object does not exist
    /// or was freed.
    pub(crate) fn reference(&self, device: usize) -> Option<usize> {
        let mut objects = locked(&self.objects);
        let object = objects.get_mut(&device)?;
        (!object.is_freed()).then(|| {
            object.references += 1;
            object.references
        })
    }

    /// Removes a reference of the driver; returns the new count, or `None` if the driver has no reference.
    pub(crate) fn dereference(&self, device: usize) -> Option<usize> {
        let mut objects = locked(&self.objects);
        let object = objects.get_mut(&device)?;
        object.references = object.references.checked_sub(1)?;
        object.fill_if_freed();
        Some(object.references)
    }

    /// Adds a reference of the I/O manager; returns whether the object exists.
    pub(crate) fn io_reference(&self, device: usize) -> bool {
        footprint::touch(device, Access::Commuting);
        Self::touch_existence(device, Access::Commuting);
        let mut objects = locked(&self.objects);
        let object = objects.get_mut(&device).filter(|object| !object.is_freed());
        object.is_some_and(|object| {
            object.io_references += 1;
            true
        })
    }

    /// Removes a reference of the I/O manager.
    pub(crate) fn io_dereference(&self, device: usize) {
        footprint::touch(device, Access::Commuting);
        if let Some(object) = locked(&self.objects).get_mut(&device) {
            object.io_references -= 1;
            object.fill_if_freed();
        }
    }

    /// Counts an open file of a device object, or one fewer, in `ReferenceCount`, which drivers read at any time.
    pub(in crate::io) fn count_file(&self, device: *mut DEVICE_OBJECT, change: i32) {
        let objects = locked(&self.objects);
        let object = objects.get(&device.addr());
        if object.is_some_and(|object| !object.is_freed()) {
            footprint::touch_memory();
            // SAFETY: the device object exists as long as the lock is held; only the address is computed.
            let count = unsafe { &raw mut (*device).ReferenceCount };
            // SAFETY: as above, and the drivers only read it.
            let count = unsafe { AtomicI32::from_ptr(count) };
            count.fetch_add(change, Ordering::SeqCst);
        }
    }

    /// Returns whether a device object of a driver exists, deleted or not.
    pub(crate) fn is_drivers(&self, device: usize) -> bool {
        Self::touch_existence(device, Access::Commuting);
        let objects = locked(&self.objects);
        let object = objects.get(&device);
        object.is_some_and(|object| object.driver != 0 && !object.is_freed())
    }

    /// Returns a deleted device object that is still referenced, and the number of references.
    pub(crate) fn still_referenced(&self) -> Option<(usize, usize)> {
        let objects = locked(&self.objects);
        let mut left = objects
            .iter()
            .filter(|(_, object)| object.driver != 0 && object.is_deleted && !object.is_freed());
        left.next()
            .map(|(address, object)| (*address, object.references + object.io_references))
    }

    /// Describes the device object or extension that contains or contained an address, if any.
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
        let freed = object.is_freed().then_some(", which was freed");
        let freed = freed.unwrap_or_default();
        Some(format!("in {of} {device:#x}{freed}"))
    }
}

// SAFETY: device objects are identified by their addresses. This crate accesses their fields only during AddDevice or a
// PnP request, one of which runs at a time.
unsafe impl Send for DeviceObject {}

/// The byte with which the memory of a freed device object is filled, as in the pool.
const FILL: u128 = u128::MAX / 0xff * 0xdd;

impl DeviceObject {
    fn extension_range(&self) -> Range<usize> {
        let start = self.extension.as_ptr().addr();
        start..start + size_of_val(&*self.extension)
    }

    /// Returns whether the device object was deleted, its last reference was released, and the device object above it
    /// was detached.
    fn is_freed(&self) -> bool {
        let is_used = self.references != 0 || self.io_references != 0 || self.has_upper;
        self.is_deleted && !is_used
    }

    /// Fills the memory of the device object if it was freed.
    fn fill_if_freed(&mut self) {
        if self.is_deleted {
            Devices::touch_existence(self.memory.as_ptr().addr(), Access::Exclusive);
        }
        if self.is_freed() {
            footprint::touch_memory();
            self.memory.fill(FILL);
            self.extension.fill(FILL);
        }
    }
}

impl Kernel {
    /// Describes the device object, extension or IRP that contains or contained an address, if any.
    pub(crate) fn describe_io_object(&self, address: usize) -> Option<String> {
        let device = self.io().devices.describe(address);
        let buffer = || self.io().describe_buffer(address);
        device.or_else(buffer).or_else(|| {
            let record = self.io().find_around(address)?;
            let by = locked(&record.state).completed_by.clone();
            Some(match by {
                None => format!("in {record}"),
                Some(by) => format!("in {record}, which {by} has completed"),
            })
        })
    }

    /// Returns the number of device objects that the driver has created and not deleted.
    #[must_use]
    pub fn device_objects(&self) -> usize {
        self.io().devices.count()
    }
}

/// A device of the driver.
pub(crate) struct DeviceInner {
    pdo: usize,
    /// Returns the device objects of the drivers, from the lowest to the highest.
    objects: Mutex<Vec<usize>>,
    open_files: AtomicUsize,
    /// Whether the removal waits until the last file is closed.
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

    /// Returns the physical device object.
    pub(crate) fn pdo(&self) -> *mut DEVICE_OBJECT {
        std::ptr::with_exposed_provenance_mut(self.pdo)
    }

    /// Returns the device object of the function driver.
    pub(crate) fn object(&self) -> *mut DEVICE_OBJECT {
        let first = locked(&self.objects).first().copied();
        std::ptr::with_exposed_provenance_mut(first.unwrap_or_default())
    }

    /// Returns the top device object, to which requests are sent.
    pub(crate) fn top(&self) -> *mut DEVICE_OBJECT {
        let object = self.object();
        // SAFETY: the memory of a device object is kept as long as the kernel.
        let is_alive = unsafe { (*object).Type } == DEVICE;
        // The memory of one that was freed is filled.
        if is_alive { top_of(object) } else { object }
    }

    /// Returns the device objects of the drivers, from the lowest to the highest.
    pub(crate) fn objects(&self) -> Vec<*mut DEVICE_OBJECT> {
        let objects = locked(&self.objects);
        let pointers = objects
            .iter()
            .map(|object| std::ptr::with_exposed_provenance_mut(*object));
        pointers.collect()
    }

    /// Adds the device object of a further driver at the top.
    pub(crate) fn add_object(&self, object: *mut DEVICE_OBJECT) {
        locked(&self.objects).push(object.expose_provenance());
    }

    pub(crate) fn file_opened(&self) {
        self.open_files.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn open_files(&self) -> usize {
        self.open_files.load(Ordering::SeqCst)
    }

    /// Removes a file. After the last one a device that was removed by surprise receives its `IRP_MN_REMOVE_DEVICE`.
    pub(crate) fn file_closed(self: &Arc<Self>, call: &Call) {
        let last = self.open_files.fetch_sub(1, Ordering::SeqCst) == 1;
        if last {
            let object = self.object().addr();
            call.kernel.sleepers.wake(Wait::Closed(object));
        }
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
    name: *mut UNICODE_STRING,
    kind: u32,
    characteristics: u32,
    exclusive: u8,
    device: *mut *mut DEVICE_OBJECT,
) -> NTSTATUS {
    let call = Call::enter_shared("IoCreateDevice");
    call.require_at_most(1, Rule::IrqlIoPassive1, 0x2_000a);
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let io = call.kernel.io();
    let create = || {
        let devices = &io.devices;
        let object = devices.create(driver, extension_size, kind, characteristics);
        if exclusive != 0 {
            // SAFETY: the device object is made here.
            unsafe { (*object).Flags |= DO_EXCLUSIVE };
        }
        object
    };
    let created = if name.is_null() {
        Ok(create())
    } else {
        // SAFETY: the caller gives a name.
        let name = unsafe { call.text(name) };
        io.namespace.add_device(&name, || {
            let object = create();
            // SAFETY: the device object is made here.
            unsafe { (*object).Flags |= DO_DEVICE_HAS_NAME };
            object
        })
    };
    let object = match created {
        Ok(object) => object,
        Err(status) => return status,
    };
    call.require_room(device);
    // SAFETY: the caller passes memory for the answer.
    unsafe { device.write(object) };
    STATUS_SUCCESS
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoDeleteDevice(device: *mut DEVICE_OBJECT) {
    let call = Call::enter_shared("IoDeleteDevice");
    call.require_at_most(1, Rule::IrqlIoApcLte, 0x2_0009);
    let devices = &call.kernel.io().devices;
    call.require_device(device);
    call.require(!devices.is_deleted(device), Rule::DeviceRemoval, || {
        let bug_check = BugCheck::io(0x240, [0, 0, device.addr() as u64]);
        let what = format!("the device object {device:?} is deleted twice");
        (bug_check, what)
    });
    call.verify_deletion(device.addr());
    call.require_no_wmi(device);
    call.delete_io_timer(device);
    footprint::touch_everything(); // other threads can have run
    call.forget_shutdown(device);
    call.require(!devices.is_attached(device), Rule::DeviceRemoval, || {
        let bug_check = BugCheck::io(0x201, [0, 0, device.addr() as u64]);
        let what = format!("the device object {device:?} is deleted before it is detached");
        (bug_check, what)
    });
    if let Some(driver) = devices.driver_of(device) {
        // SAFETY: the driver object is valid as long as it has devices.
        let mut link = unsafe { &raw mut (*driver).DeviceObject };
        loop {
            // SAFETY: the link is in the driver object or in a device object.
            let next = unsafe { *link };
            if next.is_null() {
                break;
            }
            // SAFETY: the device objects of a driver are valid.
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
    call.kernel.io().namespace.remove_device(device.addr());
    if let Some(object) = locked(&devices.objects).get_mut(&device.addr()) {
        object.is_deleted = true;
        object.fill_if_freed();
    }
    call.verify_extension_is_unused(device);
}
