//! The I/O manager: sends IRPs to drivers, tracks them until they are completed, and wakes the threads that wait for them.

use std::{
    collections::{VecDeque, hash_map::Entry},
    ops::Range,
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use nt::{DEVICE_OBJECT, DISPATCH_LEVEL, IRP, STATUS_INVALID_DEVICE_REQUEST, STATUS_PENDING};
use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use crate::{
    host::{
        Call,
        footprint::{self, Access},
        thread::{DispatchedIrp, PassedIrp},
        wait::Wait,
    },
    io::{
        address_map::AddressMap,
        bus::Buses,
        children::Children,
        completion_ex::CompletionsEx,
        configuration::Configuration,
        device::Devices,
        device_pointer::FileReferences,
        driver::{self, DriverObjects},
        driver_extension::DriverExtensions,
        file::FileInner,
        interface::Interfaces,
        io_space::IoSpace,
        irp::{IrpParameters, IrpRecord, Origin},
        named_event::NamedEvents,
        named_file::Files,
        namespace::Namespace,
        own_mdl::Mdls,
        pnp_notification::Notifications,
        power::PowerStates,
        power_setting::PowerSettings,
        registry::Registry,
        reinitialise::Reinitialisations,
        remove_lock::RemoveLocks,
        resources::Resources,
        start_io::StartIos,
        timer::IoTimers,
        work_item::WorkItems,
    },
    ke::spin_lock,
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The number of completed IRPs that are kept, to detect a later use.
const KEPT: usize = 256;

/// The state of the I/O manager.
pub(crate) struct Io {
    /// The objects of the drivers that are loaded.
    pub(in crate::io) drivers: Mutex<Vec<Arc<DriverObjects>>>,
    irps: Mutex<Irps>,
    last_irp: AtomicU32,
    pub(crate) devices: Devices,
    pub(crate) interfaces: Interfaces,
    pub(crate) namespace: Namespace,
    pub(crate) buses: Buses,
    pub(crate) remove_locks: RemoveLocks,
    pub(crate) work_items: WorkItems,
    pub(crate) start_ios: StartIos,
    pub(crate) timers: IoTimers,
    pub(crate) mdls: Mdls,
    pub(crate) files: FileReferences,
    pub(crate) driver_extensions: DriverExtensions,
    /// The number of times that an IRP was made in memory of a driver.
    pub(crate) initialised: AtomicUsize,
    /// The number of IRPs that drivers have made and the I/O manager frees.
    pub(crate) threaded: AtomicUsize,
    /// The cancel spin lock, as a `KSPIN_LOCK`.
    pub(crate) cancel_lock: AtomicU64,
    /// The physical device object and the minor function of the PnP request that a device gets while AddDevice runs.
    pub(crate) probe: Mutex<Option<(usize, u8)>>,
    /// The current PnP requests, by physical device object.
    pub(crate) pnp: Mutex<FxHashMap<usize, Arc<IrpRecord>>>,
    /// The device objects that are registered for `IRP_MJ_SHUTDOWN`.
    pub(crate) shutdown: Mutex<Vec<usize>>,
    pub(crate) power_states: PowerStates,
    /// The entries of the error log.
    pub(in crate::io) error_log: Mutex<Vec<Vec<u8>>>,
    /// The device objects that are registered with WMI.
    pub(in crate::io) wmi: Mutex<FxHashSet<usize>>,
    /// The states that drivers have answered last, by physical device object.
    pub(in crate::io) states: Mutex<FxHashMap<usize, usize>>,
    pub(in crate::io) registry: Registry,
    pub(in crate::io) named_events: NamedEvents,
    pub(in crate::io) named_files: Files,
    pub(in crate::io) notifications: Notifications,
    pub(in crate::io) power_settings: PowerSettings,
    pub(in crate::io) device_memory: IoSpace,
    pub(in crate::io) resources: Resources,
    pub(in crate::io) configuration: Configuration,
    pub(in crate::io) children: Mutex<Children>,
    /// Whether the PnP manager is asking for children, or starting or removing them.
    pub(in crate::io) tree_is_changing: AtomicBool,
    /// The device objects that are registered for the end of a shutdown.
    pub(in crate::io) last_shutdown: Mutex<Vec<usize>>,
    pub(in crate::io) reinitialisations: Reinitialisations,
    pub(in crate::io) completions_ex: CompletionsEx,
    /// The files whose last IRP ended at an IRQL too high to send `IRP_MJ_CLOSE`.
    deferred: Mutex<Vec<Arc<FileInner>>>,
}

impl Default for Io {
    fn default() -> Self {
        Self {
            drivers: Mutex::default(),
            irps: Mutex::default(),
            last_irp: AtomicU32::new(0),
            devices: Devices::default(),
            interfaces: Interfaces::default(),
            namespace: Namespace::default(),
            buses: Buses::default(),
            remove_locks: RemoveLocks::default(),
            work_items: WorkItems::default(),
            start_ios: StartIos::default(),
            timers: IoTimers::default(),
            mdls: Mdls::default(),
            files: FileReferences::default(),
            driver_extensions: DriverExtensions::default(),
            initialised: AtomicUsize::new(0),
            threaded: AtomicUsize::new(0),
            cancel_lock: AtomicU64::new(spin_lock::FREE),
            probe: Mutex::default(),
            pnp: Mutex::default(),
            shutdown: Mutex::default(),
            power_states: PowerStates::default(),
            error_log: Mutex::default(),
            wmi: Mutex::default(),
            states: Mutex::default(),
            registry: Registry::default(),
            named_events: NamedEvents::default(),
            named_files: Files::default(),
            notifications: Notifications::default(),
            power_settings: PowerSettings::default(),
            device_memory: IoSpace::default(),
            resources: Resources::default(),
            configuration: Configuration::default(),
            children: Mutex::default(),
            tree_is_changing: AtomicBool::new(false),
            last_shutdown: Mutex::default(),
            reinitialisations: Reinitialisations::default(),
            completions_ex: CompletionsEx::default(),
            deferred: Mutex::default(),
        }
    }
}

#[derive(Default)]
struct Irps {
    by_address: AddressMap<Arc<IrpRecord>>,
    /// The IRPs that have not ended, by the address of the file.
    of_files: FxHashMap<usize, Slab<Arc<IrpRecord>>>,
    completed: VecDeque<usize>,
}

impl Irps {
    /// Returns the IRPs of a file that have not ended.
    fn of_file(&self, file: &Arc<FileInner>) -> impl Iterator<Item = &Arc<IrpRecord>> {
        let records = self.of_files.get(&Arc::as_ptr(file).addr());
        records.into_iter().flatten().map(|(_, record)| record)
    }
}

impl Io {
    /// Returns whether a driver object is at an address.
    pub(in crate::io) fn is_driver(&self, address: usize) -> bool {
        let drivers = locked(&self.drivers);
        drivers
            .iter()
            .any(|loaded| loaded.driver().addr() == address)
    }

    pub(crate) fn find(&self, address: usize) -> Option<Arc<IrpRecord>> {
        locked(&self.irps).by_address.get(address).cloned()
    }

    /// Returns the IRP whose memory contains an address.
    pub(crate) fn find_around(&self, address: usize) -> Option<Arc<IrpRecord>> {
        let irps = locked(&self.irps);
        let mut irps = irps.by_address.values();
        irps.find(|record| record.contains(address)).cloned()
    }

    /// Describes the IRP whose system buffer, or buffer in user mode, contains an address.
    pub(crate) fn describe_buffer(&self, address: usize) -> Option<String> {
        let irps = locked(&self.irps);
        let mut irps = irps.by_address.values();
        irps.find_map(|record| {
            let system = record.describe_system_buffer(address);
            system.or_else(|| record.describe_user_buffer(address))
        })
    }

    pub(crate) fn next_irp(&self) -> u32 {
        self.last_irp.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn add(&self, record: &Arc<IrpRecord>) {
        let mut irps = locked(&self.irps);
        irps.by_address.insert(record.address(), Arc::clone(record));
        if let Some(file) = record.file_address() {
            let records = irps.of_files.entry(file).or_default();
            let key = records.insert(Arc::clone(record));
            record.key.store(key, Ordering::Relaxed);
        }
    }

    pub(crate) fn retire(&self, record: &IrpRecord) {
        let mut irps = locked(&self.irps);
        let file = record.file_address();
        if let Some(Entry::Occupied(mut records)) = file.map(|file| irps.of_files.entry(file)) {
            let key = record.key.load(Ordering::Relaxed);
            records.get_mut().try_remove(key);
            if records.get().is_empty() {
                records.remove();
            }
        }
        irps.completed.push_back(record.address());
        if irps.completed.len() > KEPT {
            let oldest = irps.completed.pop_front();
            let oldest = oldest.and_then(|oldest| irps.by_address.remove(oldest));
            drop(irps);
            drop(oldest);
        }
    }

    /// Returns the IRPs that were sent and have neither ended nor returned to the driver that made them, in the order in
    /// which they were made.
    pub(crate) fn live(&self) -> Vec<Arc<IrpRecord>> {
        self.live_where(IrpRecord::is_down)
    }

    /// Returns the IRPs that a driver has made, has, and must free.
    pub(crate) fn kept(&self) -> Vec<Arc<IrpRecord>> {
        self.live_where(|record| record.origin != Origin::Initialised && !record.is_down())
    }

    /// Removes the IRPs in memory that a driver frees. Returns one that has not returned to its driver, if there is one.
    pub(crate) fn forget_in(&self, memory: &Range<usize>) -> Option<Arc<IrpRecord>> {
        let mut irps = locked(&self.irps);
        let is_in = |record: &&Arc<IrpRecord>| {
            record.origin == Origin::Initialised && memory.contains(&record.address())
        };
        let inside = irps.by_address.values().filter(is_in).cloned();
        let inside: Vec<_> = inside.collect();
        for record in &inside {
            irps.by_address.remove(record.address());
        }
        inside.into_iter().find(|record| record.is_down())
    }

    fn live_where(&self, is_meant: impl Fn(&IrpRecord) -> bool) -> Vec<Arc<IrpRecord>> {
        let irps = locked(&self.irps);
        let live = irps
            .by_address
            .values()
            .filter(|record| !record.is_completed() && is_meant(record));
        let mut live: Vec<_> = live.cloned().collect();
        live.sort_by_key(|record| record.number);
        live
    }

    /// Returns the ended IRPs that are still kept.
    pub(crate) fn ended(&self) -> Vec<Arc<IrpRecord>> {
        let irps = locked(&self.irps);
        let ended = irps.completed.iter();
        ended
            .filter_map(|address| irps.by_address.get(*address).cloned())
            .collect()
    }

    /// Returns the IRPs of a file that have not ended, in the order in which they were sent.
    pub(crate) fn live_of(&self, file: &Arc<FileInner>) -> Vec<Arc<IrpRecord>> {
        let irps = locked(&self.irps);
        let live = irps.of_file(file).filter(|record| !record.is_completed());
        let mut live: Vec<_> = live.cloned().collect();
        live.sort_unstable_by_key(|record| record.number);
        live
    }

    /// Returns the number and the address of each IRP of a file that has not ended and whose dispatch routine has returned, in the
    /// order of the numbers. It does not keep the IRPs, of which there can be many.
    pub(crate) fn returned_of(&self, file: &Arc<FileInner>) -> Vec<(u32, usize)> {
        let irps = locked(&self.irps);
        let returned = irps
            .of_file(file)
            .filter(|record| record.has_returned.load(Ordering::Relaxed));
        let returned = returned.map(|record| (record.number, record.address()));
        let mut returned: Vec<_> = returned.collect();
        returned.sort_unstable();
        returned
    }

    pub(crate) fn defer(&self, file: Arc<FileInner>) {
        footprint::touch((&raw const self.deferred).addr(), Access::Exclusive);
        locked(&self.deferred).push(file);
    }

    pub(crate) fn take_deferred(&self) -> Vec<Arc<FileInner>> {
        let deferred = std::mem::take(&mut *locked(&self.deferred));
        let access = if deferred.is_empty() {
            Access::Commuting
        } else {
            Access::Exclusive
        };
        footprint::touch((&raw const self.deferred).addr(), access);
        deferred
    }
}

impl Call {
    /// Makes an IRP for the driver of a device object.
    pub(in crate::io) fn new_irp(
        &self,
        device: *mut DEVICE_OBJECT,
        parameters: IrpParameters,
        file: Option<&Arc<FileInner>>,
        input: &[u8],
        output: Vec<u8>,
    ) -> Arc<IrpRecord> {
        let io = &self.kernel.io();
        let number = io.next_irp();
        let file = file.cloned();
        if let Some(file) = &file {
            file.add_irp();
        }
        // SAFETY: the memory of a device object is kept as long as the kernel. The value in a freed one is not used.
        let stack_size = unsafe { (*device).StackSize };
        let record = IrpRecord::new(
            number,
            stack_size,
            parameters,
            self.number,
            file,
            input,
            output,
        );
        footprint::make(record.addresses());
        self.kernel.sleepers.nodes.forget(record.addresses());
        io.add(&record);
        record
    }

    /// Sends an IRP to the driver of a device object; returns the status of its dispatch routine.
    pub(in crate::io) fn send(&self, device: *mut DEVICE_OBJECT, record: &Arc<IrpRecord>) -> i32 {
        let regions = self.critical_regions.load(Ordering::Relaxed);
        let status = self.call_driver(device, record);
        self.require_regions(regions, "a dispatch routine");
        self.require_no_mutex("a dispatch routine");
        self.require_not_attached("a dispatch routine");
        self.require_user_affinity("a dispatch routine");
        record.touch();
        record.has_returned.store(true, Ordering::Relaxed);
        status
    }

    /// Sends an IRP and waits until it ends.
    pub(in crate::io) fn send_and_wait(
        &self,
        device: *mut DEVICE_OBJECT,
        record: &Arc<IrpRecord>,
    ) -> i32 {
        self.send(device, record);
        self.wait_for(Wait::Irp(record.address()), || {
            let completion = locked(&record.state).completion;
            completion.map(|(status, _)| status)
        })
    }

    /// Completes an IRP for which a driver has no dispatch routine.
    pub(in crate::io) fn refuse(&self, record: &Arc<IrpRecord>) -> i32 {
        // SAFETY: the caller owns the IRP.
        unsafe { nt::irp::set_status(record.raw(), STATUS_INVALID_DEVICE_REQUEST) };
        self.complete(record);
        STATUS_INVALID_DEVICE_REQUEST
    }

    /// Sends an IRP to a driver (`IoCallDriver`).
    pub(in crate::io) fn call_driver(
        &self,
        device: *mut DEVICE_OBJECT,
        record: &Arc<IrpRecord>,
    ) -> i32 {
        record.touch();
        self.verify_sent(device, record);
        let irp = record.raw();
        let location = record.current();
        let sent = record.leave(location, None);
        let Some(driver) = self.kernel.io().devices.driver_of(device) else {
            return self.bus_driver(device, record);
        };
        // SAFETY: a driver object is valid as long as it has devices.
        let routines = unsafe { &(*driver).MajorFunction };
        let major = usize::from(record.stack().MajorFunction);
        let routine = routines.get(major).copied().flatten();
        let Some(routine) = routine.filter(driver::is_own) else {
            return self.refuse(record);
        };
        // An entry that the thread inserted before can be freed, and its address reused by another IRP.
        self.inserted_last.store(null_mut(), Ordering::Relaxed);
        let irql = self.irql();
        let outer = self.passed.take();
        let serving = DispatchedIrp {
            irp: record.address(),
            location,
            completion: record.completion_routine(location),
            is_of_file: record.file.is_some(),
        };
        let outer_serving = self.serving.replace(Some(serving));
        let round = record.round();
        let was_marked = record.is_marked(location);
        self.switch_point("a dispatch routine is called", irp.addr());
        // SAFETY: the routine is called as the I/O manager calls it.
        let status = unsafe { Call::in_driver(routine, (device, irp)) };
        record.touch();
        let passed = self.passed.replace(outer);
        self.serving.set(outer_serving);
        let now = self.irql();
        let holds = !self.held.is_empty();
        self.require(now == irql || holds, Rule::IrqlReturn, || {
            let parameters = [device.addr() as u64, irql.into(), now.into()];
            let what =
                format!("a dispatch routine was called at IRQL {irql} and has returned at {now}");
            (BugCheck::io(5, parameters), what)
        });
        self.require_returned("a dispatch routine", irql);
        self.require_awaited();
        // A driver that made the IRP can have sent it again.
        if record.round() == round {
            let passed = passed.filter(|passed| passed.irp == record.address());
            let passed = passed.map(|passed| passed.status);
            self.verify_answer(record, (location, sent), (passed, was_marked), status);
        }
        status
    }

    /// Stops the system if a driver passes an IRP on to a device object of its stack that is not the next lower one.
    fn require_not_bypassed(&self, device: *mut DEVICE_OBJECT, record: &IrpRecord) {
        let location = record.current() - 1;
        if location < 1 {
            return;
        }
        // SAFETY: the location is inside the memory. The driver has skipped it, or copied its own to it; else it has no device.
        let own = unsafe { (*record.location(location)).DeviceObject };
        let devices = &self.kernel.io().devices;
        let Some(next) = devices.lower_of(own.addr()) else {
            return;
        };
        let mut lower = devices.lower_of(next);
        while let Some(bypassing) = lower {
            self.require(bypassing != device.addr(), Rule::PassedIrp, || {
                let address = record.address() as u64;
                let bug_check = BugCheck::io(0x211, [0, address, device.addr() as u64]);
                let what = format!(
                    "{record} is sent to {device:?}, past the next lower device object {next:#x}"
                );
                (bug_check, what)
            });
            lower = devices.lower_of(bypassing);
        }
    }

    /// Checks an IRP that is sent to a device object, and moves to the stack location of its driver.
    fn verify_sent(&self, device: *mut DEVICE_OBJECT, record: &IrpRecord) {
        let irp = record.raw();
        let irql = self.irql();
        let is_passed_on = record.is_down();
        record.note_sent();
        let is_device_io = matches!(
            record.parameters().major,
            nt::IRP_MJ_READ
                | nt::IRP_MJ_WRITE
                | nt::IRP_MJ_DEVICE_CONTROL
                | nt::IRP_MJ_INTERNAL_DEVICE_CONTROL
                | nt::IRP_MJ_POWER
        );
        let highest = match (is_device_io, record.origin) {
            // It is completed by an APC of the driver that has made it.
            (_, Origin::Threaded) if !is_passed_on => 0,
            (true, _) => DISPATCH_LEVEL,
            (false, _) => 1,
        };
        self.require(irql <= highest, Rule::ForwardedAtBadIrql, || {
            // No IRP may be sent above DISPATCH_LEVEL; the other code is for an IRP that must not be sent at this IRQL.
            let bug_check = if irql > DISPATCH_LEVEL {
                BugCheck::io(0x10, [irql.into(), 0, 0])
            } else {
                BugCheck::io(0x23a, [0, irp.addr() as u64, 0])
            };
            (bug_check, format!("{record} is sent at IRQL {irql}"))
        });
        self.require(!device.is_null(), Rule::Pointer, || {
            let bug_check = BugCheck::io(0x204, [0, irp.addr() as u64, 0]);
            let what = format!("{record} is sent to NULL, not to a device object");
            (bug_check, what)
        });
        let devices = &self.kernel.io().devices;
        self.require(devices.is_known(device), Rule::Pointer, || {
            let bug_check = BugCheck::io(4, [device.addr() as u64, 0, 0]);
            let what = format!("{record} is sent to {device:?}, which is not a device object");
            (bug_check, what)
        });
        self.require(!devices.is_freed(device), Rule::Pointer, || {
            let bug_check = BugCheck(0x50, [device.addr() as u64, 0, 0, 0]);
            let what = format!("{record} is sent to the device object {device:?}, which was freed");
            (bug_check, what)
        });
        self.require_not_bypassed(device, record);
        self.require(!record.has_cancel_routine(), Rule::CompleteRequest, || {
            let bug_check = BugCheck::io(0x203, [0, irp.addr() as u64, device.addr() as u64]);
            let hint = if record.is_down() {
                ": the driver has to clear it, or a lower driver that has set it still has the IRP"
            } else {
                ""
            };
            let what = format!("{record} is passed down with its Cancel routine set{hint}");
            (bug_check, what)
        });
        // SAFETY: the device object is alive.
        let needed = unsafe { (*device).StackSize };
        let left = record.current().saturating_sub(1).max(0);
        self.require(left >= needed.max(1), Rule::StackLocations, || {
            let bug_check = BugCheck::io(0x208, [0, irp.addr() as u64, device.addr() as u64]);
            let what = format!(
                "{record} has {left} further stack locations, and the device object {device:?} needs {needed} (StackSize)"
            );
            (bug_check, what)
        });
        record.next_location(device);
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IofCallDriver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> i32 {
    let call = Call::enter_noted("IoCallDriver");
    let record = call.live_irp(irp);
    call.require_owned(&record, 0x205);
    call.verify_next_location(&record);
    let location = record.current() - 1;
    let is_set_before = call.is_event_set(&record);
    let status = call.call_driver(device, &record);
    call.require(!(is_set_before && status == STATUS_PENDING), Rule::IoBuildDeviceControlWait, || {
        let what = "a request was sent with an event that is set already, and is pending: whoever waits for the event does not wait \
                    for the request";
        (BugCheck::io(0x307, [0, irp.addr() as u64, 0]), what)
    });
    // A routine may also send IRPs that its driver has made.
    let serving = call.serving.get();
    if serving.is_some_and(|serving| serving.irp == record.address()) {
        call.passed.set(Some(PassedIrp {
            irp: record.address(),
            location,
            status,
        }));
    }
    if record.parameters().major == nt::IRP_MJ_PNP {
        locked(&record.state).passed_to.push(device.addr());
    }
    status
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IofCompleteRequest(irp: *mut IRP, _boost: i8) {
    let call = Call::enter_noted("IoCompleteRequest");
    let record = call.irp(irp);
    call.require_owned(&record, 0x209);
    call.complete(&record);
    call.switch_after("IoCompleteRequest", irp);
}
