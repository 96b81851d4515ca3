//! Attacks that compile and must do no harm: a device runs each one on the model kernel, which stops at the first
//! violation.

mod common;

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{Loaded, stops};
use nt::STATUS_SUCCESS;
use ntmodel::Request;
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CurrentIrp, Device, DeviceObject, Dpc, DpcRoutine, Error, Guid, Handled, Irp, IrpQueue,
    IrpQueueLock, IrpView, NewDevice, NtStatus, PassiveLevel, PendedIrp, QueueCallbacks, Shared,
    SpinLock, Start, StartIoOrder, StartIoQueue, Timer, TimerRoutine,
    irql::{DispatchLevel, ObjectHeld, raise_to_dispatch},
    lock_order,
    lock_order::Unlocked,
};

/// The IOCTLs: pend the request on the queue, on the `StartIo` queue or in `kept`, or run the attack.
const QUEUE: u32 = 0x22_2000;
const START: u32 = 0x22_2004;
const KEEP: u32 = 0x22_2008;
const RUN: u32 = 0x22_200c;
const TIMED: u32 = 0x22_2010;
/// Inserts the request into the queue of the device in `OTHER`.
const ELSEWHERE: u32 = 0x22_2014;
/// A flag of the other IOCTLs: run the attack first.
const LATE: u32 = 0x100;

const DROPPED: Option<i32> = Some(NtStatus::INTERNAL_ERROR.to_raw());
const CANCELLED: Option<i32> = Some(NtStatus::CANCELLED.to_raw());
const SECOND: Duration = Duration::from_secs(5);

type Attack = fn(&Attacked, &mut PassiveLevel);

thread_local! {
    static ATTACK: Cell<Option<Attack>> = const { Cell::new(None) };
}

/// The queue of the first device of the test that adds two.
static OTHER: Mutex<Option<Shared<IrpQueue<Callbacks>>>> = Mutex::new(None);

/// A lock that a driver holds while it removes requests from its queue.
struct Outer;
lock_order!(Unlocked => Outer);
lock_order!(Outer => existing IrpQueueLock);

#[derive(Default)]
struct Callbacks {
    ended: AtomicU32,
    reenters: AtomicBool,
    is_called: AtomicBool,
}

impl QueueCallbacks for Callbacks {
    type Record = ();

    fn before_completion(&self, _: &IrpView, _: NtStatus, irql: &mut ObjectHeld) {
        self.ended.fetch_add(1, SeqCst);
        let queue = OTHER.lock().expect("no panic").clone();
        if let Some(queue) = queue.filter(|_| self.reenters.load(SeqCst)) {
            // The queue's callback uses the queue: it removes a request and drops it, and has the queue accept and reject requests.
            assert!(!self.is_called.swap(true, SeqCst), "called by itself");
            drop(queue.remove_first(irql));
            assert!(queue.remove_by_key(0, irql).is_none());
            queue.accept(irql);
            queue.refuse(NtStatus::CANCELLED, irql);
            self.is_called.store(false, SeqCst);
        }
    }
}

/// A request's record: its timer, which a driver in C would free in the timer's own DPC.
#[pin_data]
struct Record {
    #[pin]
    timer: Timer<Timeout>,
    dropped: CountDrop,
}

/// The request that the timer completes, whose record contains the timer.
struct Timeout(Mutex<Option<PendedIrp<Shared<Record>>>>);

impl TimerRoutine for Timeout {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        let irp = timer.0.lock().expect("no panic").take();
        irp.expect("a request").complete(NtStatus::CANCELLED, irql);
    }
}

static DROPS: AtomicU32 = AtomicU32::new(0);

struct CountDrop;

impl Drop for CountDrop {
    fn drop(&mut self) {
        DROPS.fetch_add(1, SeqCst);
    }
}

#[pin_data]
struct Attacked {
    object: DeviceObject,
    queue: Shared<IrpQueue<Callbacks>>,
    start_io: Shared<StartIoQueue<Callbacks>>,
    #[pin]
    kept: SpinLock<Option<PendedIrp>, Outer>,
    #[pin]
    current: SpinLock<Option<CurrentIrp<Callbacks>>>,
}

impl Device for Attacked {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let queue = IrpQueue::new(Callbacks::default(), device, irql)?;
        let start_io =
            StartIoQueue::new(StartIoOrder::Arrival, Callbacks::default(), device, irql)?;
        let object = (**device).clone();
        Ok(try_pin_init!(Self {
            object,
            queue,
            start_io,
            kept <- SpinLock::new(None),
            current <- SpinLock::new(None),
        }? Error))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        if irp.code() & LATE != 0 {
            ATTACK.take().expect("an attack")(self, irql);
        }
        match irp.code() & !LATE {
            QUEUE => self.queue.insert(irp, irql),
            START => {
                let (start, handled) = self.start_io.insert(irp, irql);
                if let Start::Now(irp) = start {
                    self.current.with(irql, |current, _| *current = Some(irp));
                }
                handled
            }
            KEEP => {
                let (irp, handled) = irp.pend_not_cancelable(irql);
                self.kept.with(irql, |kept, _| *kept = Some(irp));
                handled
            }
            TIMED => {
                let record = try_pin_init!(Record {
                    timer <- Timer::new(Ok::<_, Error>(Timeout(Mutex::new(None)))),
                    dropped: CountDrop,
                }? Error);
                let record = Shared::new(record, &self.object, irql).expect("there is memory");
                let (irp, handled) = irp.with_record(record.clone()).pend_not_cancelable(irql);
                *record.timer.0.lock().expect("no panic") = Some(irp);
                record.timer.set(Duration::from_millis(1), irql);
                handled
            }
            ELSEWHERE => {
                let other = OTHER.lock().expect("no panic").clone();
                other.expect("another device's queue").insert(irp, irql)
            }
            _ => {
                ATTACK.take().expect("an attack")(self, irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
        }
    }

    fn cleanup(&self, (): &(), irql: &mut PassiveLevel) {
        if CLEANS_UP.get() {
            drop(self.kept.with(irql, |kept, _| kept.take()));
        }
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        drop(self.kept.with(irql, |kept, _| kept.take()));
        drop(self.current.with(irql, |current, _| current.take()));
    }
}

fn attack(driver: &Loaded, attack: Attack) {
    ATTACK.set(Some(attack));
    assert_eq!(driver.send(RUN, 9).answer(), STATUS_SUCCESS);
}

fn status(request: &Request) -> Option<i32> {
    request.wait(SECOND).map(|completion| completion.status)
}

#[test]
fn a_pended_irp_dropped_under_a_lock_is_completed_later() {
    let driver = Loaded::new::<Attacked>();
    let request = driver.pend(KEEP, 1);
    attack(&driver, |device, irql| {
        device.kept.with(irql, |kept, _| *kept = None);
    });
    assert_eq!(status(&request), DROPPED);
    driver.unload();
}

#[test]
fn a_pended_irp_assigned_over_under_a_lock_is_completed_later() {
    let driver = Loaded::new::<Attacked>();
    let [first, second] = [driver.pend(KEEP, 1), driver.pend(KEEP, 1)];
    assert_eq!(status(&first), DROPPED);
    attack(&driver, |device, irql| {
        drop(device.kept.with(irql, |kept, _| kept.take()));
    });
    assert_eq!(status(&second), DROPPED);
    driver.unload();
}

#[test]
fn a_pended_irp_dropped_under_the_queues_own_lock_is_completed_later() {
    let driver = Loaded::new::<Attacked>();
    let [kept, queued] = [driver.pend(KEEP, 1), driver.pend(QUEUE, 1)];
    attack(&driver, |device, irql| {
        let mut kept = device.kept.with(irql, |kept, _| kept.take());
        let found = device.queue.remove_matching(irql, |_| {
            drop(kept.take());
            true
        });
        found
            .expect("it is queued")
            .complete(NtStatus::SUCCESS, irql);
    });
    let statuses = (status(&kept), status(&queued));
    assert_eq!(statuses, (DROPPED, Some(STATUS_SUCCESS)));
    driver.unload();
}

#[test]
fn an_irp_removed_under_an_outer_lock_and_dropped_there_is_completed_later() {
    let driver = Loaded::new::<Attacked>();
    let request = driver.pend(QUEUE, 1);
    attack(&driver, |device, irql| {
        device.kept.with(irql, |_, held| {
            assert_eq!(device.queue.length(held), 1);
            drop(device.queue.remove_first(held));
        });
    });
    assert_eq!(status(&request), DROPPED);
    driver.unload();
}

#[test]
fn a_current_irp_dropped_under_a_lock_is_completed_later_and_the_others_end_with_the_device() {
    let driver = Loaded::new::<Attacked>();
    let [served, waits] = [driver.pend(START, 1), driver.pend(START, 1)];
    attack(&driver, |device, irql| {
        device.current.with(irql, |current, _| *current = None);
    });
    assert_eq!((status(&served), waits.status()), (DROPPED, None));
    assert!(waits.cancel_irp());
    assert_eq!(waits.status(), CANCELLED);
    driver.unload();
}

#[test]
fn a_record_with_a_timer_is_dropped_in_the_dpc_of_that_timer() {
    let driver = Loaded::new::<Attacked>();
    let request = driver.pend(TIMED, 1);
    driver.kernel.advance(Duration::from_millis(2));
    assert_eq!(status(&request), CANCELLED);
    driver.unload();
    assert_eq!(DROPS.load(SeqCst), 1);
}

#[test]
fn an_initialiser_with_a_dpc_that_fails_at_dispatch_level_is_an_error() {
    let driver = Loaded::new::<Attacked>();
    attack(&driver, |device, irql| {
        raise_to_dispatch(irql, |irql| {
            let failing = try_pin_init!(Pair {
                dpc <- Dpc::new(Ok::<_, Error>(Requeue(AtomicU32::new(0)))),
                failing <- Err::<u32, _>(Error::IO_TIMEOUT),
            }? Error);
            let made = Shared::<Pair>::new(failing, &device.object, irql);
            assert_eq!(made.err(), Some(Error::IO_TIMEOUT));
        });
    });
    driver.unload();
}

#[pin_data]
struct Pair {
    #[pin]
    dpc: Dpc<Requeue>,
    failing: u32,
}

/// A DPC that queues itself again a number of times.
struct Requeue(AtomicU32);

impl DpcRoutine for Requeue {
    fn run(dpc: &Dpc<Self>, _: &mut DispatchLevel) {
        if dpc.0.fetch_add(1, SeqCst) < 1000 {
            dpc.queue();
        }
    }
}

#[test]
fn a_dpc_that_queues_itself_is_dropped() {
    let driver = Loaded::new::<Attacked>();
    attack(&driver, |device, irql| {
        let dpc = Dpc::new(Ok::<_, Error>(Requeue(AtomicU32::new(0))));
        let dpc = Shared::<Dpc<_>>::new(dpc, &device.object, irql).expect("there is memory");
        raise_to_dispatch(irql, |_| dpc.queue());
        dpc.queue();
    });
    driver.unload();
}

/// A timer that sets itself again each time.
struct Again;

impl TimerRoutine for Again {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        timer.set(Duration::ZERO, irql);
    }
}

#[test]
fn a_timer_that_sets_itself_is_dropped() {
    let driver = Loaded::new::<Attacked>();
    attack(&driver, |device, irql| {
        let timer = Timer::new(Ok::<_, Error>(Again));
        let timer = Shared::<Timer<_>>::new(timer, &device.object, irql).expect("there is memory");
        timer.set(Duration::ZERO, irql);
        raise_to_dispatch(irql, |_| drop(timer));
    });
    driver.unload();
}

/// A DPC that drops its own last owner.
struct DropsItself(Mutex<Option<Shared<Dpc<DropsItself>>>>);

impl DpcRoutine for DropsItself {
    fn run(dpc: &Dpc<Self>, _: &mut DispatchLevel) {
        drop(dpc.0.lock().expect("no panic").take());
    }
}

#[test]
fn last_owner_of_a_dpc_is_dropped_in_that_dpc() {
    let driver = Loaded::new::<Attacked>();
    attack(&driver, |device, irql| {
        let dpc = Dpc::new(Ok::<_, Error>(DropsItself(Mutex::new(None))));
        let dpc = Shared::<Dpc<_>>::new(dpc, &device.object, irql).expect("there is memory");
        *dpc.0.lock().expect("no panic") = Some(dpc.clone());
        raise_to_dispatch(irql, |_| {
            dpc.queue();
            drop(dpc);
        });
    });
    driver.unload();
}

#[test]
fn a_queue_dropped_at_dispatch_level_stays_with_its_device() {
    let driver = Loaded::new::<Attacked>();
    let request = driver.pend(QUEUE, 1);
    attack(&driver, |device, irql| {
        let queue = device.queue.clone();
        raise_to_dispatch(irql, |_| drop(queue));
    });
    driver.close(1);
    assert_eq!(status(&request), CANCELLED);
    driver.unload();
}

#[test]
fn the_handle_is_closed_while_requests_wait_are_kept_and_are_served() {
    let driver = Loaded::new::<Attacked>();
    let [queued, kept] = [driver.pend(QUEUE, 1), driver.pend(KEEP, 1)];
    let [served, waits] = [driver.pend(START, 1), driver.pend(START, 1)];
    driver.close(1);
    assert_eq!((queued.status(), waits.status()), (CANCELLED, CANCELLED));
    assert_eq!((kept.status(), served.status()), (None, None));
    // The kept request is queued now, after its handle was closed.
    attack(&driver, |device, irql| {
        let irp = device
            .kept
            .with(irql, |kept, _| kept.take())
            .expect("it is kept");
        device.queue.insert_pended(irp, irql);
        let irp = device.current.with(irql, |current, _| current.take());
        let (irp, next) = irp.expect("it is served").start_next(irql);
        assert!(matches!(next, Start::Nothing));
        device.queue.put_back(irp, irql);
    });
    assert_eq!((status(&kept), status(&served)), (CANCELLED, CANCELLED));
    driver.unload();
}

#[test]
fn an_irp_is_inserted_into_the_queue_of_another_device_and_a_callback_reenters() {
    let (one, other) = (Loaded::new::<Attacked>(), Loaded::new::<Attacked>());
    attack(&one, |device, _| {
        *OTHER.lock().expect("no panic") = Some(device.queue.clone());
    });
    let refused = Some(NtStatus::INVALID_DEVICE_REQUEST.to_raw());
    assert_eq!(other.send(ELSEWHERE, 1).status(), refused);
    let own = one.pend(ELSEWHERE, 1);
    assert_eq!(own.status(), None);
    // Then the callback uses its own queue.
    let requests: Vec<_> = (0..20).map(|_| one.pend(QUEUE, 1)).collect();
    attack(&one, |device, irql| {
        device.queue.callbacks().reenters.store(true, SeqCst);
        device.queue.purge(NtStatus::CANCELLED, irql);
        // The request of the other device, and every second one of the 21 on the queue.
        assert_eq!(device.queue.callbacks().ended.load(SeqCst), 12);
        device.queue.accept(irql);
    });
    let ends = requests.iter().map(status);
    assert!(ends.eq([DROPPED, CANCELLED].into_iter().cycle().take(20)));
    let again = one.pend(QUEUE, 1);
    one.close(1);
    assert_eq!(again.status(), CANCELLED);
    OTHER.lock().expect("no panic").take();
    one.unload();
    other.unload();
}

thread_local! {
    static REMOVED: Cell<Option<ntmodel::Device>> = const { Cell::new(None) };
    /// The driver whose file is closed while a request is in progress.
    static CLOSES: Cell<Option<Rc<Loaded>>> = const { Cell::new(None) };
    /// Whether the device drops the kept request when a file is closed.
    static CLEANS_UP: Cell<bool> = const { Cell::new(false) };
}

/// Removes the device by surprise while a request is in progress.
fn surprise_remove() {
    let removed = REMOVED.take().expect("a device");
    assert_eq!(removed.pnp(nt::IRP_MN_SURPRISE_REMOVAL), STATUS_SUCCESS);
}

#[test]
fn a_queue_of_a_removed_device_is_opened_again() {
    let driver = Loaded::new::<Attacked>();
    let kept = driver.pend(KEEP, 1);
    REMOVED.set(Some(driver.device.clone()));
    ATTACK.set(Some(|device, irql| {
        let kept = device.kept.with(irql, |kept, _| kept.take());
        surprise_remove();
        device.queue.accept(irql);
        device.start_io.accept(irql);
        device.queue.insert_pended(kept.expect("it is kept"), irql);
    }));
    let late = driver.send(LATE | START, 1);
    // Otherwise nothing would complete them, and the removal would wait forever.
    let removed = Some(NtStatus::DELETE_PENDING.to_raw());
    assert_eq!((kept.status(), late.status()), (removed, removed));
    driver.unload();
}

#[test]
fn a_request_is_kept_after_the_device_has_completed_all() {
    let driver = Loaded::new::<Attacked>();
    REMOVED.set(Some(driver.device.clone()));
    ATTACK.set(Some(|_, _| surprise_remove()));
    let late = driver.send(LATE | KEEP, 1);
    // Otherwise the file could not be closed, and the device not be removed.
    assert_eq!(status(&late), DROPPED);
    driver.unload();
}

#[test]
fn a_request_is_kept_after_its_file_was_cleaned_up() {
    let driver = Rc::new(Loaded::new::<Attacked>());
    CLEANS_UP.set(true);
    let user = Rc::clone(&driver);
    CLOSES.set(Some(user));
    ATTACK.set(Some(|_, _| CLOSES.take().expect("a driver").clean_up(1)));
    let late = driver.send(LATE | KEEP, 1);
    // Otherwise IRP_MJ_CLOSE would never be sent, and a process with this request could not exit.
    assert_eq!(status(&late), DROPPED);
    Rc::into_inner(driver).expect("no other user").unload();
}

#[test]
fn no_irp_is_completed_with_minus_one() {
    // Bug Check 0xC9, parameter 1 = 0x06: "a status marked as pending (or equal to -1)".
    assert_eq!(NtStatus::from_raw(-1), None);
}

#[test]
fn a_forgotten_guard_is_found_when_the_routine_returns() {
    stops(
        "a_forgotten_guard_is_found_when_the_routine_returns",
        "STOP:",
        || {
            let driver = Loaded::new::<Attacked>();
            attack(&driver, |device, irql| {
                core::mem::forget(device.current.lock(irql));
            });
        },
    );
}

#[test]
fn a_wait_with_a_forgotten_guard_is_found() {
    stops("a_wait_with_a_forgotten_guard_is_found", "STOP:", || {
        let driver = Loaded::new::<Attacked>();
        attack(&driver, |device, irql| {
            core::mem::forget(device.current.lock(irql));
            let _ = wdm::thread::run(1, irql, &|_, _| ());
        });
    });
}

#[test]
fn an_initialiser_that_queues_its_dpc_and_fails_at_dispatch_level_stops() {
    let name = "an_initialiser_that_queues_its_dpc_and_fails_at_dispatch_level_stops";
    stops(name, "STOP: 0x0000000a", || {
        let driver = Loaded::new::<Attacked>();
        attack(&driver, |device, irql| {
            let queued = Dpc::new(Ok::<_, Error>(Requeue(AtomicU32::new(0)))).pin_chain(|dpc| {
                dpc.queue();
                Err(Error::IO_TIMEOUT)
            });
            raise_to_dispatch(irql, |irql| {
                let _ = Shared::<Dpc<Requeue>>::new(queued, &device.object, irql);
            });
        });
    });
}

static MANY: AtomicU32 = AtomicU32::new(0);

struct One;

impl Drop for One {
    fn drop(&mut self) {
        MANY.fetch_add(1, SeqCst);
    }
}

#[test]
fn many_last_owners_are_dropped_at_dispatch_level_immediately_before_the_removal() {
    let driver = Loaded::new::<Attacked>();
    attack(&driver, |device, irql| {
        let make = |irql: &mut PassiveLevel| Shared::new(Ok::<_, Error>(One), &device.object, irql);
        let many: Vec<Shared<One>> = (0..200).map(|_| make(irql).expect("memory")).collect();
        raise_to_dispatch(irql, |_| drop(many));
    });
    driver.unload();
    assert_eq!(MANY.load(SeqCst), 200);
}

#[test]
fn an_allocation_that_the_pool_cannot_align_is_refused() {
    use std::alloc::{GlobalAlloc, Layout, System};

    let pool = wdm::PoolAllocator(System);
    for align in [1, 8, 16, 32, 4096] {
        let layout = Layout::from_size_align(64, align).expect("a layout");
        // SAFETY: the size is not zero.
        let plain = unsafe { pool.alloc(layout) };
        // SAFETY: as above.
        let zeroed = unsafe { pool.alloc_zeroed(layout) };
        for block in [plain, zeroed] {
            // The WDK's ExAllocatePool2 aligns to MEMORY_ALLOCATION_ALIGNMENT, which is 16 on 64-bit Windows.
            assert_eq!(block.is_null(), align > 16, "{align}");
            if !block.is_null() {
                // SAFETY: the block was allocated with this layout.
                unsafe { pool.dealloc(block, layout) };
            }
        }
    }
}
