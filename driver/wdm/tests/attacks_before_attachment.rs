//! An attack with device objects that are attached to nothing: a filter declines a device, fails to add another one, and continues to use the objects that
//! it has made for both.

mod common;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use common::{Stack, kernel, load, load_filter};
use pinned_init::PinInit;
use wdm::{
    Device, DeviceObject, Error, Filter, Guid, Lower, LowerIrp, LowerIrpHandle, LowerIrpRoutine,
    NewDevice, NewFilter, PassiveLevel, Shared, SpinLock, Thread, ThreadRoutine, WorkItem,
    WorkItemRoutine, irql::CallerLevel,
};

struct LowerDriver;

impl Device for LowerDriver {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

/// The number of existing values that the kernel's objects own.
static LEFT: AtomicU32 = AtomicU32::new(0);

struct Left;

impl Left {
    fn new() -> Self {
        LEFT.fetch_add(1, SeqCst);
        Self
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        LEFT.fetch_sub(1, SeqCst);
    }
}

/// A work item that queues itself each time that it runs.
struct Again(Left);

impl WorkItemRoutine for Again {
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        WorkItem::queue(item, irql);
    }
}

/// A thread that reads from the lower device each time that it is woken.
struct Reads(Lower, Left);

impl ThreadRoutine for Reads {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        while thread.wait(irql) {
            let read = thread.0.read(0, &mut [0], None, irql);
            assert_eq!(read, Err(Error::INVALID_DEVICE_REQUEST));
        }
    }
}

struct NeverSent(Left);

impl LowerIrpRoutine for NeverSent {
    fn run(_: LowerIrp<Self>, _: &mut CallerLevel) {
        panic!("the request returned");
    }
}

/// The objects that the filter makes for a device that it is not added to.
struct Kept {
    item: Shared<WorkItem<Again>>,
    thread: Thread<Reads>,
    irp: Option<(LowerIrp<NeverSent>, LowerIrpHandle<NeverSent>)>,
}

impl Kept {
    fn new(device: &DeviceObject, irql: &mut PassiveLevel) -> Result<Self, Error> {
        let item = WorkItem::new(Ok::<_, Error>(Again(Left::new())), device, irql)?;
        assert!(WorkItem::queue(&item, irql));
        let reads = Reads(Lower::new(device), Left::new());
        let thread = Thread::new(Ok::<_, Error>(reads), device, irql)?;
        thread.start(irql)?;
        let irp = None;
        Ok(Self { item, thread, irp })
    }

    /// Uses the objects, and drops them under a lock.
    fn use_up(mut self, irql: &mut PassiveLevel) {
        let is_queued = WorkItem::queue(&self.item, irql);
        assert!(!is_queued, "the device no longer exists");
        self.thread.wake(irql);
        if let Some((irp, handle)) = self.irp.take() {
            assert!(!handle.cancel(irql));
            let (irp, error) = irp.read(0, 1, irql).expect_err("it is not sent");
            assert_eq!(error, Error::INVALID_DEVICE_REQUEST);
            self.irp = Some((irp, handle));
        }
        LOCK.with(irql, |(), _| drop(self));
    }
}

static LOCK: SpinLock<()> = SpinLock::new_static(());
static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

struct Mine;

impl Filter for Mine {
    fn serves(device: &NewFilter, irql: &mut PassiveLevel) -> bool {
        let mut kept = KEPT.lock().expect("no panic");
        if kept.is_empty() {
            kept.push(Kept::new(device, irql).expect("memory"));
            return false;
        }
        true
    }

    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let mut kept = KEPT.lock().expect("no panic");
        if kept.len() == 1 {
            let mut own = Kept::new(device, irql)?;
            let irp = LowerIrp::new(Ok(NeverSent(Left::new())), 1, device, irql)?;
            let handle = irp.handle();
            own.irp = Some((irp, handle));
            kept.push(own);
            return Err(Error::NO_SUCH_DEVICE);
        }
        for kept in std::mem::take(&mut *kept) {
            kept.use_up(irql);
        }
        Ok(Ok::<_, Error>(Self))
    }
}

#[test]
fn objects_of_a_device_that_is_not_added_are_refused_and_dropped() {
    let kernel = kernel();
    let lower = Stack::new(load::<LowerDriver>(&kernel)).started();
    let filter = load_filter::<Mine>(&kernel);
    assert_eq!(filter.add_filter(&lower.device), Ok(()));
    let failed = filter.add_filter(&lower.device);
    assert_eq!(failed, Err(Error::NO_SUCH_DEVICE.to_raw()));
    let lower = lower.filter(filter);
    // The Unload routine of a driver's image waits until these values are dropped. In a program with several drivers it does not.
    let start = Instant::now();
    while LEFT.load(SeqCst) != 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "a value is left");
        thread::sleep(Duration::from_millis(1));
    }
    lower.unload();
}
