//! The children that a bus driver reports. The PnP manager asks for them, starts those that are new, and removes those that are no longer reported.
//!
//! No driver is loaded for a child: its device stack is the physical device object alone, as that of a
//! [raw](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_device_capabilities) device.
//!
//! Microsoft's pages: [`IoInvalidateDeviceRelations`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioinvalidatedevicerelations),
//! [`IRP_MN_QUERY_DEVICE_RELATIONS`](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-device-relations),
//! [`IRP_MN_QUERY_ID`](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-id) and
//! [bug check 0xCA](https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0xca--pnp-detected-fatal-error).

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use nt::{
    DEVICE_OBJECT, DISPATCH_LEVEL, IRP_MJ_PNP, IRP_MN_REMOVE_DEVICE, IRP_MN_START_DEVICE,
    IRP_MN_SURPRISE_REMOVAL,
};

use crate::{
    host::{Call, footprint, thread::Attached, thread::Thread, wait::Wait},
    io::{
        Device,
        device::DeviceInner,
        device_stack::top_of,
        irp::IrpParameters,
        pnp::{IRP_MN_QUERY_DEVICE_RELATIONS, Relations},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// `PNP_DETECTED_FATAL_ERROR`
const FATAL_ERROR: u32 = 0xca;

/// `IRP_MN_QUERY_ID`, and its types from `BusQueryDeviceID` to `BusQueryInstanceID`. The first and the last are one text; the others
/// are lists of texts.
const IRP_MN_QUERY_ID: u8 = 0x13;
const IDS: [usize; 4] = [0, 1, 2, 3];

/// The maximum length of an ID, with the zero (`MAX_DEVICE_ID_LEN`).
const MOST_UNITS: usize = 200;

/// `BusRelations` and `RemovalRelations` of `DEVICE_RELATION_TYPE`; `EjectionRelations` and `PowerRelations` are between them, and
/// `TargetDeviceRelation` follows.
const BUS_RELATIONS: i32 = 0;
const LAST_RELATIONS: i32 = 5;

/// The children that bus drivers have reported, by their physical device objects.
pub(crate) type Children = BTreeMap<usize, Child>;

/// A child of a bus driver.
pub(crate) struct Child {
    /// The physical device object of the bus.
    parent: usize,
    inner: Arc<DeviceInner>,
    is_started: bool,
    /// Whether the bus driver no longer reports it, and so must delete the device object in `IRP_MN_REMOVE_DEVICE`.
    is_missing: bool,
    /// Whether it was removed by surprise, so that the bus driver may delete the device object in `IRP_MN_REMOVE_DEVICE`.
    is_surprise_removed: bool,
}

/// A PnP request of the PnP manager.
fn request(minor: u8, kind: usize) -> IrpParameters {
    IrpParameters {
        // Where `Parameters.QueryDeviceRelations.Type` and `Parameters.QueryId.IdType` are.
        output_length: kind,
        ..IrpParameters::new(IRP_MJ_PNP, minor)
    }
}

impl Call {
    fn fatal_error(&self, code: u64, pdo: usize, what: String) -> ! {
        let bug_check = BugCheck(FATAL_ERROR, [code, pdo as u64, 0, 0]);
        self.stop(bug_check, Rule::BusRelations, what)
    }

    /// Changes the tree of devices, after other threads have ended their changes: the PnP manager makes one at a time.
    fn change_tree(&self, change: impl FnOnce()) {
        let is_changing = &self.kernel.io().tree_is_changing;
        let wait = Wait::Object(std::ptr::from_ref(is_changing).addr());
        self.wait_for(wait, || {
            (!is_changing.swap(true, Ordering::Acquire)).then_some(())
        });
        change();
        is_changing.store(false, Ordering::Release);
        self.kernel.sleepers.wake(wait);
    }

    /// Asks the drivers of a bus for its children, starts the new ones and removes the others.
    fn enumerate(&self, bus: &DeviceInner) {
        self.change_tree(|| self.update_children(bus));
    }

    fn update_children(&self, bus: &DeviceInner) {
        let mut reported = Vec::new();
        let parameters = request(IRP_MN_QUERY_DEVICE_RELATIONS, 0);
        let (_, status) = bus.send_pnp_reading(self, parameters, |answer| {
            let list = std::ptr::with_exposed_provenance_mut::<Relations>(answer);
            for object in self.relations(list) {
                self.require_child(object, &reported);
                reported.push(object);
            }
        });
        if status < 0 {
            return;
        }
        let parent = bus.pdo().addr();
        for pdo in self.missing(parent, &reported) {
            self.send_surprise_removal(pdo);
            self.remove_child(pdo);
        }
        for pdo in reported {
            let is_new = !locked(&self.kernel.io().children).contains_key(&pdo);
            if is_new {
                self.start_child(parent, pdo);
            }
        }
    }

    /// Returns the objects of a driver's answer.
    fn relations(&self, list: *mut Relations) -> Vec<usize> {
        if list.is_null() {
            return Vec::new();
        }
        self.require_room(list);
        // SAFETY: the driver answers with the structure.
        let (count, objects) = unsafe { Relations::of(list) };
        // SAFETY: the array has this number of elements.
        let objects = unsafe { self.elements(objects, count) };
        objects
            .iter()
            .map(|object| object.expose_provenance())
            .collect()
    }

    /// Stops the system if a reported object cannot be a child.
    fn require_child(&self, pdo: usize, reported: &[usize]) {
        let devices = &self.kernel.io().devices;
        let object: *mut DEVICE_OBJECT = std::ptr::with_exposed_provenance_mut(pdo);
        if pdo == 0 {
            self.fatal_error(8, pdo, "NULL is reported as a child".into());
        }
        if reported.contains(&pdo) {
            self.fatal_error(1, pdo, format!("the child {pdo:#x} is reported twice"));
        }
        if devices.is_known(object) && devices.is_deleted(object) {
            let what = format!("the child {pdo:#x} is reported, and was deleted");
            self.fatal_error(4, pdo, what);
        }
        if !devices.is_drivers(pdo) || devices.lower_of(pdo).is_some() {
            self.fatal_error(
                2,
                pdo,
                format!("{pdo:#x} is reported as a child, and is not a physical device object"),
            );
        }
    }

    /// Returns the children of a bus that it has not reported, and marks them.
    fn missing(&self, parent: usize, reported: &[usize]) -> Vec<usize> {
        let mut children = locked(&self.kernel.io().children);
        let missing = children
            .iter_mut()
            .filter(|(pdo, child)| child.parent == parent && !reported.contains(pdo));
        let marked = missing.map(|(pdo, child)| {
            child.is_missing = true;
            *pdo
        });
        marked.collect()
    }

    /// Asks for the IDs and the capabilities of a child, and starts it.
    fn start_child(&self, parent: usize, pdo: usize) {
        let object: *mut DEVICE_OBJECT = std::ptr::with_exposed_provenance_mut(pdo);
        self.kernel.io().devices.make_physical(pdo);
        let inner = DeviceInner::new(object, object);
        let child = Child {
            parent,
            inner: Arc::clone(&inner),
            is_started: false,
            is_missing: false,
            is_surprise_removed: false,
        };
        locked(&self.kernel.io().children).insert(pdo, child);
        for id in IDS {
            let parameters = request(IRP_MN_QUERY_ID, id);
            let (_, status) = inner.send_pnp_reading(self, parameters, |answer| {
                self.require_id(pdo, answer, id);
            });
            // Only the device ID is required.
            if status < 0 && id == 0 {
                let what = format!("the child {pdo:#x} has no device ID: {status:#x}");
                self.fatal_error(3, pdo, what);
            }
        }
        inner.send_pnp(self, request(nt::IRP_MN_QUERY_CAPABILITIES, 0));
        let status = inner.send_pnp(self, request(IRP_MN_START_DEVICE, 0)).1;
        let mut children = locked(&self.kernel.io().children);
        if let Some(child) = children.get_mut(&pdo) {
            child.is_started = status >= 0;
        }
    }

    /// Stops the system if an ID does not end, is too long, or has a character that no ID may have.
    fn require_id(&self, pdo: usize, answer: usize, kind: usize) {
        let place = std::ptr::with_exposed_provenance_mut::<u16>(answer);
        let is_list = kind == 1 || kind == 2;
        let mut length = 0;
        for index in 0.. {
            // SAFETY: the driver answers with text that ends with a zero.
            let unit = *unsafe { self.view_new::<u16, _>(place.wrapping_add(index)) };
            if unit == 0 && (!is_list || length == 0) {
                return;
            }
            length = if unit == 0 { 0 } else { length + 1 };
            // Space, comma and characters that are not printable in ASCII.
            let is_valid = unit == 0 || (0x21..=0x7e).contains(&unit) && unit != u16::from(b',');
            if length >= MOST_UNITS || !is_valid {
                self.fatal_error(3, pdo, format!(
                    "an ID of the child {pdo:#x} is longer than {MOST_UNITS} units or has the invalid unit {unit:#x}"
                ));
            }
        }
    }

    /// Sends `IRP_MN_SURPRISE_REMOVAL` to the drivers of a child, if it is started.
    fn send_surprise_removal(&self, pdo: usize) {
        let started = locked(&self.kernel.io().children)
            .get_mut(&pdo)
            .and_then(|child| {
                child.is_surprise_removed = true;
                child.is_started.then(|| Arc::clone(&child.inner))
            });
        if let Some(inner) = started {
            inner.send_pnp(self, request(IRP_MN_SURPRISE_REMOVAL, 0));
        }
    }

    /// Removes a child.
    fn remove_child(&self, pdo: usize) {
        let found = locked(&self.kernel.io().children)
            .get(&pdo)
            .map(|child| (Arc::clone(&child.inner), child.is_missing));
        let Some((inner, is_missing)) = found else {
            return;
        };
        inner.send_pnp(self, request(IRP_MN_REMOVE_DEVICE, 0));
        inner.note_removed(self);
        locked(&self.kernel.io().children).remove(&pdo);
        let is_deleted = self.kernel.io().devices.is_deleted(inner.pdo());
        self.require(is_deleted || !is_missing, Rule::BusRelations, || {
            let what = format!(
                "the child {pdo:#x} was reported as missing, and its device object is not deleted after IRP_MN_REMOVE_DEVICE"
            );
            (BugCheck::io(0x21e, [0, 0, pdo as u64]), what)
        });
    }

    /// Sends `IRP_MN_SURPRISE_REMOVAL` to the drivers of the children of a bus, before those of the bus itself.
    pub(in crate::io) fn send_surprise_removals(&self, parent: usize) {
        self.for_each_child(parent, Self::send_surprise_removal);
    }

    /// Removes the children of a bus before the bus itself.
    pub(in crate::io) fn remove_children(&self, parent: usize) {
        self.for_each_child(parent, Self::remove_child);
    }

    fn for_each_child(&self, parent: usize, step: fn(&Self, usize)) {
        let io = self.kernel.io();
        if locked(&io.children).is_empty() && !io.tree_is_changing.load(Ordering::Acquire) {
            return;
        }
        self.change_tree(|| {
            let children: Vec<usize> = locked(&io.children)
                .iter()
                .filter(|(_, child)| child.parent == parent)
                .map(|(pdo, _)| *pdo)
                .collect();
            for pdo in children {
                step(self, pdo);
            }
        });
    }

    /// Stops the system if a device object is deleted that the PnP manager uses as a child.
    pub(in crate::io) fn require_no_child(&self, device: usize) {
        let has_left = locked(&self.kernel.io().children)
            .get(&device)
            .map(|child| child.is_missing || child.is_surprise_removed);
        let may_be_deleted = match has_left {
            None => true,
            Some(has_left) => has_left && self.is_removing(device),
        };
        if !may_be_deleted {
            let what = format!(
                "the child {device:#x} is deleted, and may be only in the IRP_MN_REMOVE_DEVICE that follows an IRP_MN_QUERY_DEVICE_RELATIONS \
                 which does not report it"
            );
            self.fatal_error(5, device, what);
        }
    }
}

impl Device {
    /// Asks the drivers for the children of the device (`BusRelations`), as the PnP manager does after it has started the device and
    /// after `IoInvalidateDeviceRelations`: it starts those that are new, removes those that are no longer reported, and returns
    /// those that exist.
    pub fn enumerate(&self) -> Vec<Self> {
        let _attached = Attached::to(self.kernel());
        let call = Call::enter("the PnP manager");
        call.enumerate(self.inner());
        self.children()
    }

    /// Returns the children of the device that exist.
    #[must_use]
    pub fn children(&self) -> Vec<Self> {
        footprint::touch_everything();
        let parent = self.inner().pdo().addr();
        let children = locked(&self.kernel().io().children);
        let of_bus = children.values().filter(|child| child.parent == parent);
        of_bus
            .map(|child| Self::new(self.kernel(), Arc::clone(&child.inner)))
            .collect()
    }
}

/// Returns the device of a bus, by its physical device object, unless its drivers have left the stack.
fn bus(pdo: usize) -> Option<Arc<DeviceInner>> {
    let object: *mut DEVICE_OBJECT = std::ptr::with_exposed_provenance_mut(pdo);
    (top_of(object) != object).then(|| DeviceInner::new(object, object))
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoInvalidateDeviceRelations(pdo: *mut DEVICE_OBJECT, kind: i32) {
    let call = Call::enter("IoInvalidateDeviceRelations").at_most(DISPATCH_LEVEL);
    call.require_live_device(pdo);
    let kernel = &call.kernel;
    let is_physical = kernel.io().devices.is_physical(pdo);
    if !is_physical || !(BUS_RELATIONS..=LAST_RELATIONS).contains(&kind) {
        let what =
            format!("{pdo:?} is not a physical device object, or {kind} is no type of relations");
        call.fatal_error(2, pdo.addr(), what);
    }
    // The PnP manager asks for the others when it needs them.
    if kind != BUS_RELATIONS {
        return;
    }
    kernel.work_began();
    let pdo = pdo.expose_provenance();
    Thread::new_system(kernel, "PnP manager").start(move |kernel| {
        let call = Call::enter("the PnP manager");
        if let Some(bus) = bus(pdo) {
            call.enumerate(&bus);
        }
        kernel.work_ended();
    });
}
