//! Attacks with the requests of the PnP manager: in every order, with a driver or a bus driver that fails or pends them, and while
//! the device is opened and gets requests. The device has every object whose routine the kernel could still call afterwards.

mod common;

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use common::Quiet;
use ntmodel::{Access, BusAnswer, Clock, Config, Driver, Faults, File, Kernel, Request, explore};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    ControlDevice, CurrentIrp, Device, Dpc, DpcRoutine, Error, FileState, Guid, Handled, Irp,
    IrpQueue, Lookaside, LookasideBox, NewDevice, NtStatus, PassiveLevel, SList, Shared, SpinLock,
    Start, StartIoOrder, StartIoQueue, Thread, ThreadRoutine, Timer, TimerRoutine, WorkItem,
    WorkItemRoutine, irql::DispatchLevel,
};

const QUEUE: u32 = 0x22_2000;
const START_IO: u32 = 0x22_2004;
/// Uses every object except the queues.
const USE: u32 = 0x22_2008;

const FAILURE: i32 = nt::STATUS_DEVICE_BUSY;

thread_local! {
    /// Whether the device fails the next PnP request that it can fail.
    static FAILS: Cell<bool> = const { Cell::new(false) };
}

fn answer() -> Result<(), Error> {
    if FAILS.take() {
        return Err(Error::DEVICE_BUSY);
    }
    Ok(())
}

/// The routine of every object: uses memory that is freed with its owner.
struct Counts(Shared<AtomicU32>);

impl Counts {
    fn count(&self) -> u32 {
        self.0.fetch_add(1, Relaxed)
    }
}

impl ThreadRoutine for Counts {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        while thread.wait(irql) {
            thread.count();
        }
    }
}

impl WorkItemRoutine for Counts {
    fn run(item: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {
        item.count();
    }
}

impl DpcRoutine for Counts {
    fn run(dpc: &Dpc<Self>, _: &mut DispatchLevel) {
        dpc.count();
    }
}

impl TimerRoutine for Counts {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        if timer.count() < 8 {
            timer.set(Duration::from_millis(1), irql);
        }
    }
}

#[pin_data]
struct Everything {
    queue: Shared<IrpQueue<Quiet<true>>>,
    start_io: Shared<StartIoQueue<Quiet<true>>>,
    memory: Lookaside<u32>,
    list: SList<u32>,
    item: Shared<WorkItem<Counts>>,
    thread: Thread<Counts>,
    shared: Shared<Timer<Counts>>,
    #[pin]
    current: SpinLock<Option<CurrentIrp<Quiet<true>>>>,
    #[pin]
    dpc: Dpc<Counts>,
    #[pin]
    timer: Timer<Counts>,
}

/// The state of an open file, which has a timer too.
struct Opened(#[expect(dead_code, reason = "it is dropped")] Shared<Timer<Counts>>);

impl FileState<Everything> for Opened {
    fn open(
        device: &Everything,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        device.shared.set(Duration::from_millis(1), irql);
        Ok(Ok::<_, Error>(Self(device.shared.clone())))
    }
}

impl Device for Everything {
    const INTERFACE: Guid = Guid::new(0x2d61_07b3, 0x90f4, 0x4c1e, [0xa7, 0x33, 0, 0, 0, 0, 0, 1]);

    const NOTIFIED_OF_SHUTDOWN: bool = true;

    type File = Opened;

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let count = Shared::<AtomicU32>::new(AtomicU32::new(0), device, irql)?;
        let counts = || Ok::<_, Error>(Counts(count.clone()));
        let item = WorkItem::new(counts(), device, irql)?;
        WorkItem::queue(&item, irql);
        let thread = Thread::new(counts(), device, irql)?;
        thread.start(irql)?;
        thread.wake(irql);
        let shared = Shared::<Timer<_>>::new(Timer::new(counts()), device, irql)?;
        shared.set(Duration::ZERO, irql);
        let queue = IrpQueue::new(Quiet, device, irql)?;
        let start_io = StartIoQueue::new(StartIoOrder::Arrival, Quiet, device, irql)?;
        let memory = Lookaside::new(irql)?;
        let (dpc, timer) = (counts(), counts());
        Ok(try_pin_init!(Self {
            queue,
            start_io,
            memory,
            list: SList::new(),
            item,
            thread,
            shared,
            current <- SpinLock::new(None),
            dpc <- Dpc::new(dpc),
            timer <- Timer::new(timer),
        }? Error))
    }

    fn start(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        self.timer.set(Duration::from_millis(1), irql);
        answer()
    }

    fn query_remove(&self, irql: &mut PassiveLevel) -> Result<(), Error> {
        self.thread.wake(irql);
        answer()
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        _: &Opened,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match irp.code() {
            QUEUE => return self.queue.insert(irp, irql),
            START_IO => {
                let (start, handled) = self.start_io.insert(irp, irql);
                if let Start::Now(irp) = start {
                    self.current.with(irql, |current, _| *current = Some(irp));
                }
                return handled;
            }
            _ => {}
        }
        let block: Option<LookasideBox<u32>> = self.memory.allocate(7);
        if let Some(block) = block {
            self.list.push(block);
        }
        WorkItem::queue(&self.item, irql);
        self.thread.wake(irql);
        self.dpc.queue();
        self.timer.set(Duration::ZERO, irql);
        irp.complete(NtStatus::SUCCESS, irql)
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        // The other requests of the queue have ended. The drop of this one completes it with an error, and logs it.
        drop(self.current.with(irql, |current, _| current.take()));
    }
}

fn send(file: &File, code: u32) -> Request {
    file.device_control(code, &[], Vec::new())
}

const MINORS: [u8; 8] = [
    nt::IRP_MN_START_DEVICE,
    nt::IRP_MN_QUERY_REMOVE_DEVICE,
    nt::IRP_MN_CANCEL_REMOVE_DEVICE,
    nt::IRP_MN_QUERY_STOP_DEVICE,
    nt::IRP_MN_STOP_DEVICE,
    nt::IRP_MN_CANCEL_STOP_DEVICE,
    nt::IRP_MN_SURPRISE_REMOVAL,
    nt::IRP_MN_REMOVE_DEVICE,
];

/// Sends three requests of the PnP manager in an order, and uses the device after each; then removes it. `failing` is the one that
/// the driver fails, and `bus` is the bus driver's handling of all three.
fn in_order(order: [u8; 3], failing: usize, bus: Option<BusAnswer>) {
    let kernel = common::kernel();
    common::with_file::<Everything>(&kernel, |device, file| {
        for minor in MINORS {
            if let Some(answer) = bus {
                device.bus_answers(minor, answer);
            }
        }
        let mut requests = Vec::new();
        for (index, minor) in order.into_iter().enumerate() {
            FAILS.set(index == failing);
            device.pnp(minor);
            FAILS.set(false);
            let opened = device.open_anyway(Access::ReadWrite);
            for file in opened.iter().chain([&**file]) {
                requests.extend([QUEUE, START_IO, USE].map(|code| send(file, code)));
            }
        }
        device.surprise_remove();
        for request in &requests {
            let end = request.wait(Duration::from_secs(5));
            assert!(end.is_some(), "{order:?} {failing} {bus:?}");
        }
    });
}

#[test]
fn the_pnp_manager_sends_its_requests_in_every_order() {
    // The removal comes last. It waits until the file is closed.
    let (removal, others) = MINORS.split_last().expect("minors");
    assert_eq!(*removal, nt::IRP_MN_REMOVE_DEVICE);
    let bus = [None, Some(BusAnswer::Fail(FAILURE)), Some(BusAnswer::Pend)];
    // Combines each failure with many orders, but not with all.
    let mut number = 0;
    for &first in others {
        for &second in others {
            for &third in others {
                in_order([first, second, third], number % 4, bus[number % 3]);
                number += 1;
            }
        }
    }
}

/// A request of the PnP manager while the device is opened and used.
fn concurrently<const MINOR: u8, const BUS: u8>(kernel: &Arc<Kernel>) {
    common::with_file::<Everything>(kernel, |device, file| {
        match BUS {
            0 => device.bus_answers(MINOR, BusAnswer::Fail(FAILURE)),
            1 => device.bus_answers(MINOR, BusAnswer::Pend),
            _ => {}
        }
        let file_clone = Arc::clone(file);
        let sender = kernel.actor("sender", move || send(&file_clone, QUEUE));
        if MINOR == nt::IRP_MN_REMOVE_DEVICE {
            device.surprise_remove();
        } else {
            device.pnp(MINOR);
        }
        let _ = device.open_anyway(Access::ReadWrite);
        let sent = sender.join();
        device.surprise_remove();
        let end = common::end(&sent);
        kernel.verify(end.status == nt::STATUS_DELETE_PENDING, || {
            format!("{end:x?}")
        });
    });
}

#[test]
fn a_request_is_sent_during_each_request_of_the_pnp_manager() {
    for scenario in [
        concurrently::<{ nt::IRP_MN_START_DEVICE }, 0>,
        concurrently::<{ nt::IRP_MN_START_DEVICE }, 1>,
        concurrently::<{ nt::IRP_MN_QUERY_REMOVE_DEVICE }, 0>,
        concurrently::<{ nt::IRP_MN_QUERY_REMOVE_DEVICE }, 1>,
        concurrently::<{ nt::IRP_MN_CANCEL_REMOVE_DEVICE }, 1>,
        concurrently::<{ nt::IRP_MN_SURPRISE_REMOVAL }, 0>,
        concurrently::<{ nt::IRP_MN_SURPRISE_REMOVAL }, 1>,
    ] {
        explore::check(50, scenario);
    }
}

impl ControlDevice for Everything {
    const NAME: &str = "Everything";
}

/// Each step of `DriverEntry` fails once. The I/O manager does not call Unload then.
#[test]
fn each_step_of_a_control_devices_driver_entry_fails() {
    let (faults, kernel) = common::kernel_with_faults();
    loop {
        faults.arm();
        // SAFETY: the entry point is that of a driver on wdm.
        let loaded = unsafe { Driver::load(&kernel, wdm::control_entry::<Everything>) };
        if !faults.disarm() {
            loaded.expect("nothing failed").unload();
            break;
        }
        assert!(loaded.is_err());
    }
    let failed = faults.failed();
    let last = failed.last().expect("steps that can fail");
    assert!(last.contains("register_shutdown"), "{failed:#?}");
}

/// Each allocation of AddDevice, of an open and of a request fails once, after all earlier ones have succeeded.
#[test]
fn each_allocation_fails() {
    let faults = Arc::new(Faults::default());
    let mut rounds = 0;
    loop {
        let kernel = Kernel::new(Config {
            clock: Clock::Virtual,
            faults: Some(Arc::clone(&faults)),
            ..Config::default()
        });
        faults.arm();
        common::with_driver::<Everything>(&kernel, |driver| {
            let Ok(device) = driver.add_device() else {
                return;
            };
            if device.start().is_err() {
                return;
            }
            let opened = device.open(Access::ReadWrite);
            let requests = opened
                .iter()
                .flat_map(|file| [QUEUE, QUEUE, START_IO, USE].map(|code| send(file, code)));
            let requests: Vec<_> = requests.collect();
            device.surprise_remove();
            for request in &requests {
                assert!(request.wait(Duration::from_secs(5)).is_some());
            }
        });
        rounds += 1;
        if !faults.disarm() {
            break;
        }
    }
    let failed = faults.failed();
    assert!(rounds > 20, "{failed:#?}");
    for step in [
        "create_object",
        "DeviceInterface::register",
        "WorkItem::new",
        "Thread::start",
        "OwnedQueues::push",
        "List::new",
        "register_shutdown",
        "set_interface_enabled",
        "OpenFile::new",
        "KeyNode::allocate",
        "Lookaside::allocate",
    ] {
        assert!(
            failed.iter().any(|path| path.contains(step)),
            "{step}: {failed:#?}"
        );
    }
}
