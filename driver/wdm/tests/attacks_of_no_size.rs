//! Attacks with values that have no size, so that several share an address, with locks that are statics, and with replies:
//! a driver runs each one on the model kernel, which stops at the first violation.

mod common;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use common::Loaded;
use ntmodel::Access;
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Device, Error, Event, EventType, FileState, Guid, Handled, Irp, IrpQueue, IrpView, NewDevice,
    NtStatus, PassiveLevel, PendedIrp, QueueCallbacks, RwSpinLock, Shared, StartIoOrder,
    StartIoQueue, Timer, TimerRoutine,
    irql::{DispatchLevel, raise_to_dispatch},
};

const QUEUE: u32 = 0x22_2000;
const KEEP: u32 = 0x22_2004;
const DROP: u32 = 0x22_2008;
const GIVE_UP: u32 = 0x22_200c;
const MOVE: u32 = 0x22_2010;
const STATUS: u32 = 0x22_2014;

const DEVICE: usize = 0;
const FILE: usize = 1;
const CALLBACKS: usize = 2;
const SHARED: usize = 3;

/// The tests share the statics below.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

static DROPS: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];

fn drops() -> [u32; 4] {
    DROPS.each_ref().map(|drops| drops.swap(0, SeqCst))
}

/// A value of no size and of the largest alignment, each drop of which counts.
#[repr(align(16))]
struct Counted<const N: usize>;

impl<const N: usize> Drop for Counted<N> {
    fn drop(&mut self) {
        let _: &AtomicU32 = &DROPS[N];
        DROPS[N].fetch_add(1, SeqCst);
    }
}

impl FileState<Counted<DEVICE>> for Counted<FILE> {
    fn open(_: &Counted<DEVICE>, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }
}

impl QueueCallbacks for Counted<CALLBACKS> {
    type Record = ();

    const LOOKUP: bool = true;

    /// Every request has the same key.
    fn lookup_key(&self, _: &IrpView) -> u64 {
        0
    }
}

type Queues = [Option<Shared<IrpQueue<Counted<CALLBACKS>>>>; 2];

/// The driver's state outside its device.
static QUEUES: RwSpinLock<Queues> = RwSpinLock::new([None, None]);
static KEPT: RwSpinLock<Option<PendedIrp>> = RwSpinLock::new(None);

fn queue(number: usize, irql: &mut PassiveLevel) -> Shared<IrpQueue<Counted<CALLBACKS>>> {
    let queue = QUEUES.read(irql, |queues, _| queues[number].clone());
    queue.expect("a queue")
}

/// A timer that sets itself again, periodically, each time.
struct Again;

impl TimerRoutine for Again {
    fn run(timer: &Timer<Self>, irql: &mut DispatchLevel) {
        timer.set_periodic(Duration::ZERO, Duration::ZERO, irql);
    }
}

#[pin_data]
struct Periodic {
    #[pin]
    timer: Timer<Again>,
    #[pin]
    event: Event,
}

/// A device of no size: the driver keeps its queues in a static.
impl Device for Counted<DEVICE> {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = Counted<FILE>;

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let one = IrpQueue::new(Counted::<CALLBACKS>, device, irql)?;
        let order = StartIoOrder::Arrival;
        drop(StartIoQueue::new(
            order,
            Counted::<CALLBACKS>,
            device,
            irql,
        )?);
        let other = IrpQueue::new(Counted::<CALLBACKS>, device, irql)?;
        QUEUES.write(irql, |queues, _| *queues = [Some(one), Some(other)]);
        let shared: Shared<Counted<SHARED>> = Shared::new(Ok::<_, Error>(Counted), device, irql)?;
        raise_to_dispatch(irql, |_| drop(shared));
        let periodic = try_pin_init!(Periodic {
            timer <- Timer::new(Ok::<_, Error>(Again)),
            event <- Event::new(EventType::Notification, false),
        }? Error);
        let periodic: Shared<Periodic> = Shared::new(periodic, device, irql)?;
        raise_to_dispatch(irql, |irql| {
            periodic
                .timer
                .set_periodic(Duration::ZERO, Duration::MAX, irql);
            periodic.event.set(irql);
        });
        assert!(periodic.event.wait_for(Duration::MAX, irql));
        raise_to_dispatch(irql, |_| drop(periodic));
        Ok(Ok::<_, Error>(Self))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        _: &Counted<FILE>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match irp.code() {
            QUEUE => queue(0, irql).insert(irp, irql),
            KEEP => {
                let (irp, handled) = irp.pend_not_cancelable(irql);
                KEPT.write(irql, |kept, _| *kept = Some(irp));
                handled
            }
            // The first request is moved from one queue to the other and back, and then forwarded.
            MOVE => {
                for _ in 0..3 {
                    let first = queue(0, irql).remove_by_key(0, irql);
                    queue(1, irql).insert_pended(first.expect("it is queued"), irql);
                    let first = queue(1, irql).remove_first(irql);
                    queue(0, irql).put_back(first.expect("it is queued"), irql);
                }
                let first = queue(0, irql).remove_matching(irql, |irp| irp.code() == QUEUE);
                queue(1, irql).insert_pended(first.expect("it is queued"), irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            DROP => {
                KEPT.write(irql, |kept, _| *kept = None);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            // A reply is written under a lock and given up there.
            GIVE_UP => {
                let (irp, handled) = irp.pend_not_cancelable(irql);
                KEPT.write(irql, |_, _| {
                    let mut reply = irp.reply();
                    assert_eq!(reply.append(b"secret"), 6);
                    drop(reply);
                });
                handled
            }
            // A reply that does not fit, with the status that the sender requests.
            _ => {
                let raw = irp.input::<[u8; 4]>().map(i32::from_le_bytes);
                let status = raw.ok().and_then(NtStatus::from_raw).expect("a status");
                let mut reply = irp.reply();
                let room = reply.room();
                assert_eq!(reply.append(&[7; 4096]), room);
                assert_eq!((reply.append(&[8]), reply.append(&[])), (0, 0));
                reply.complete(status, irql)
            }
        }
    }

    fn read<'irp>(
        &self,
        irp: Irp<'irp>,
        _: &Counted<FILE>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        irp.complete_write(usize::MAX, irql)
    }

    fn flush<'irp>(
        &self,
        irp: Irp<'irp>,
        _: &Counted<FILE>,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        let mut reply = irp.reply();
        assert_eq!(reply.append(b"nothing"), 0);
        reply.complete(NtStatus::SUCCESS, irql)
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        drop(QUEUES.write(irql, |queues, _| core::mem::take(queues)));
        drop(KEPT.write(irql, |kept, _| kept.take()));
    }
}

/// Runs the test alone, and returns the record of the drops in it.
fn run(test: impl FnOnce(&Loaded)) -> [u32; 4] {
    let _alone = ONE_AT_A_TIME.lock();
    drops();
    let driver = Loaded::new::<Counted<DEVICE>>();
    test(&driver);
    driver.unload();
    drops()
}

#[test]
fn values_of_no_size_are_dropped_once() {
    let dropped = run(|driver| {
        let requests: Vec<_> = (1..=3).map(|file| driver.pend(QUEUE, file)).collect();
        driver.send(MOVE, 9);
        // The first request is on the other queue, and on the list of its file.
        driver.close(1);
        let ended: Vec<_> = requests.iter().map(ntmodel::Request::status).collect();
        assert_eq!(ended, [Some(NtStatus::CANCELLED.to_raw()), None, None]);
        assert_eq!(DROPS[FILE].load(SeqCst), 1);
    });
    // Files 1, 2, 3 and 9, and three queues.
    assert_eq!(dropped, [1, 4, 3, 1]);
}

#[test]
fn an_irp_in_a_static_is_dropped_under_its_lock() {
    run(|driver| {
        let dropped = Some(NtStatus::INTERNAL_ERROR.to_raw());
        let [first, second] = [driver.pend(KEEP, 1), driver.pend(KEEP, 1)];
        let status = |request: &ntmodel::Request| {
            let ended = request.wait(Duration::from_secs(5));
            ended.map(|completion| completion.status)
        };
        assert_eq!(status(&first), dropped);
        driver.send(DROP, 2);
        assert_eq!(status(&second), dropped);
        // The last one is found by the removal.
        let third = driver.pend(KEEP, 1);
        driver.device.surprise_remove();
        assert_eq!(status(&third), dropped);
    });
}

#[test]
fn a_reply_returns_only_what_was_written_and_nothing_with_an_error() {
    run(|driver| {
        let file = driver
            .device
            .open_anyway(Access::ReadWrite)
            .expect("it opens");
        let given_up = file.device_control(GIVE_UP, &[], vec![0; 8]);
        let end = common::end(&given_up);
        assert_eq!(end.status, NtStatus::INTERNAL_ERROR.to_raw());
        assert_eq!((end.information, end.output), (0, vec![0; 8]));
        // The severity is in the two highest bits: 3 is an error, and with any other one there is output.
        for (status, is_error) in [
            (0x4000_0000_u32, false),
            (0x8000_0005, false),
            (0xa000_0001, false),
            (0xbfff_ffff, false),
            (0xc000_0000, true),
            (0xe000_0001, true),
        ] {
            let end = file.device_control(STATUS, &status.to_le_bytes(), vec![0; 9]);
            let end = end.ended().expect("it ends without waiting");
            let (count, byte) = if is_error { (0, 0) } else { (9, 7) };
            assert_eq!(end.status.cast_unsigned(), status);
            assert_eq!((end.information, end.output), (count, vec![byte; 9]));
        }
        for request in [file.read(0, 5), file.flush()] {
            let end = request.ended().expect("it ends without waiting");
            assert_eq!((end.status, end.information), (0, 0));
        }
        file.close();
    });
}
