//! A driver: IRPs with records on every kind of queue; they are cancelled, cleaned up, dropped and removed at the
//! same time.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use nt::{
    STATUS_CANCELLED, STATUS_DELETE_PENDING, STATUS_INTERNAL_ERROR, STATUS_PENDING, STATUS_SUCCESS,
};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CurrentIrp, Device, Error, FileState, Guid, Handled, InterlockedList, InterlockedLong, Irp,
    IrpQueue, IrpView, NewDevice, NtStatus, PassiveLevel, PendedIrp, QueueCallbacks, Record,
    Shared, SpinLock, Start, StartIoOrder, StartIoQueue, Zone, ZoneBox, irql::ObjectHeld,
};

use crate::{
    THREADS, TIMES,
    kernel::{
        Kernel,
        io::{File, Loaded, Request},
        irql::{after_release, holds_when_left, releases},
    },
};

/// Replies with the input, and counts the request in the file's state.
const ECHO: u32 = 0x22_2000;
/// Pends on the queue, with a block of a zone as its record.
const PEND: u32 = 0x22_2004;
/// Completes the first pending request.
const COMPLETE: u32 = 0x22_2008;
/// Completes the last pending request.
const COMPLETE_LAST: u32 = 0x22_200c;
/// Completes the first pending request with the same input.
const COMPLETE_BY_KEY: u32 = 0x22_2024;
/// Examines all pending requests; succeeds if those with a number from [`KEPT`] on are complete and in order.
const WALK: u32 = 0x22_2028;
/// Examines all pending requests; calls the function in [`BETWEEN`] when the queue's lock is released for the first
/// time.
const LOOK: u32 = 0x22_202c;

/// The first number of the requests that stay queued while other threads examine them, and their count: more than
/// are examined under one acquisition of the queue's lock.
const KEPT: u32 = 1000;
const MANY: u32 = 70;
/// Starts or queues the request.
const START: u32 = 0x22_2010;
/// Completes the current request and starts the next one.
const NEXT: u32 = 0x22_2014;
/// Pends on the interlocked list.
const LINK: u32 = 0x22_2018;
/// Completes the first request of the interlocked list.
const UNLINK: u32 = 0x22_201c;
/// Drops the request, under a lock.
const DROP: u32 = 0x22_2020;

thread_local! {
    static BETWEEN: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
}

/// The number of records of IRPs.
static RECORDS: AtomicU32 = AtomicU32::new(0);

/// The record of an IRP: a number on the heap.
struct Kept(Box<u32>);

impl Kept {
    fn new() -> Self {
        RECORDS.fetch_add(1, Relaxed);
        Self(Box::new(7))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        assert_eq!(*self.0, 7);
        RECORDS.fetch_sub(1, Relaxed);
    }
}

/// Reads the record of each IRP that a queue completes, and counts the IRP.
struct Look<R>(
    Shared<InterlockedLong>,
    core::marker::PhantomData<fn(R) -> R>,
);

impl<R: Record<Target = Kept>> QueueCallbacks for Look<R> {
    type Record = R;

    const LOOKUP: bool = true;

    fn before_completion(&self, irp: &IrpView<R>, _: NtStatus, _: &mut ObjectHeld) {
        assert_eq!(*irp.record().0, 7);
        self.0.increment();
    }

    fn lookup_key(&self, irp: &IrpView<R>) -> u64 {
        number(irp).into()
    }

    fn key(&self, irp: &IrpView<R>) -> u32 {
        number(irp)
    }
}

/// Returns the number in a request's input; 0 if it has no input.
fn number<R: Record>(irp: &IrpView<R>) -> u32 {
    irp.input::<[u8; 4]>().map_or(0, u32::from_le_bytes)
}

type Block = ZoneBox<Kept>;
type Owner = Shared<Kept>;

#[pin_data]
struct Rig {
    queue: Shared<IrpQueue<Look<Block>>>,
    serial: Shared<StartIoQueue<Look<Owner>>>,
    #[pin]
    current: SpinLock<Option<CurrentIrp<Look<Owner>>>>,
    #[pin]
    list: InterlockedList<PendedIrp<Owner>>,
    #[pin]
    slot: SpinLock<Option<PendedIrp<Owner>>>,
    zone: Zone<Kept>,
    record: wdm::DeviceObject,
}

/// The counters of an open file.
struct Echoes(InterlockedLong);

impl FileState<Rig> for Echoes {
    fn open(_: &Rig, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(InterlockedLong::new(0))))
    }
}

impl Drop for Echoes {
    fn drop(&mut self) {
        assert!(self.0.read() >= 0);
    }
}

impl Rig {
    fn owner(&self, irql: &mut PassiveLevel) -> Owner {
        Shared::<Kept>::new(Kept::new(), &self.record, irql).expect("memory")
    }

    /// Examines all pending requests; returns whether those with a number from [`KEPT`] on are complete and in
    /// order.
    fn walk(&self, irql: &mut PassiveLevel) -> bool {
        let mut next = KEPT;
        // The number of IRPs that were examined since the lock was acquired, and the number of releases before
        // that.
        let (mut examined, mut before) = (0, releases());
        let none = self.queue.remove_matching(irql, |irp| {
            if before != releases() {
                (examined, before) = (0, releases());
            }
            examined += 1;
            assert!(examined <= 64, "the lock is held for {examined} IRPs");
            if number(irp) >= KEPT {
                assert_eq!(number(irp), next, "an IRP was skipped, or examined twice");
                next += 1;
            }
            false
        });
        assert!(none.is_none());
        next == KEPT + MANY
    }

    /// Examines all pending requests, and calls the function in [`BETWEEN`] when the queue's lock is released for
    /// the first time.
    fn look(&self, irql: &mut PassiveLevel) {
        let found = self.queue.remove_matching(irql, |irp| {
            assert_eq!(*irp.record().0, 7);
            if let Some(between) = BETWEEN.take() {
                after_release(between);
            }
            false
        });
        assert!(found.is_none());
    }

    /// Serves the request to be started, or keeps it for [`NEXT`].
    fn start(&self, start: Start<Look<Owner>>, irql: &mut PassiveLevel) {
        if let Start::Now(irp) = start {
            let before = self.current.with(irql, |current, _| current.replace(irp));
            assert!(before.is_none(), "one is served at a time");
        }
    }

    /// Completes the current request and starts the next; returns whether there was one.
    fn next(&self, irql: &mut PassiveLevel) -> bool {
        let Some(current) = self.current.with(irql, |current, _| current.take()) else {
            return false;
        };
        assert_eq!(*current.record().0, 7);
        let (irp, next) = current.start_next(irql);
        self.start(next, irql);
        irp.complete_with(&9_u32, irql);
        true
    }
}

/// Returns the status for whether a request had an effect.
fn found(found: bool) -> NtStatus {
    if found {
        NtStatus::SUCCESS
    } else {
        Error::NOT_FOUND.into()
    }
}

impl Device for Rig {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = Echoes;

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let ended = Shared::new(InterlockedLong::new(0), device, irql)?;
        let queue = IrpQueue::new(Look(ended.clone(), core::marker::PhantomData), device, irql)?;
        let look = Look(ended, core::marker::PhantomData);
        let serial = StartIoQueue::new(StartIoOrder::Key, look, device, irql)?;
        let zone = Zone::new(4 * THREADS * TIMES + MANY, &[], irql)?;
        let record = wdm::DeviceObject::clone(device);
        Ok(try_pin_init!(Self {
            queue,
            serial,
            current <- SpinLock::new(None),
            list <- InterlockedList::new(),
            slot <- SpinLock::new(None),
            zone,
            record,
        }? Error))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        file: &Echoes,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        match irp.code() {
            ECHO => {
                file.0.increment();
                match irp.input::<[u8; 4]>() {
                    Ok(input) => irp.complete_with(&input, irql),
                    Err(error) => irp.complete(error, irql),
                }
            }
            PEND => {
                let record = self.zone.allocate(Kept::new());
                self.queue
                    .insert(irp.with_record(record.expect("a block")), irql)
            }
            COMPLETE => {
                let first = self.queue.remove_first(irql);
                let any = first.is_some();
                if let Some(first) = first {
                    let (record, first) = first.take_record();
                    first.complete_with(&*record.0, irql);
                }
                irp.complete(found(any), irql)
            }
            COMPLETE_LAST => {
                let mut left = self.queue.length(irql);
                let last = self.queue.remove_matching(irql, |irp| {
                    assert_eq!(*irp.record().0, 7);
                    left = left.saturating_sub(1);
                    left == 0
                });
                let any = last.is_some();
                if let Some(last) = last {
                    last.complete(NtStatus::SUCCESS, irql);
                }
                irp.complete(found(any), irql)
            }
            COMPLETE_BY_KEY => {
                let one = self.queue.remove_by_key(number(&irp).into(), irql);
                let any = one.is_some();
                if let Some(one) = one {
                    assert_eq!(number(&one), number(&irp));
                    one.complete(NtStatus::SUCCESS, irql);
                }
                irp.complete(found(any), irql)
            }
            WALK => {
                let any = self.walk(irql);
                irp.complete(found(any), irql)
            }
            LOOK => {
                self.look(irql);
                irp.complete(NtStatus::SUCCESS, irql)
            }
            START => {
                let owner = self.owner(irql);
                let (start, pending) = self.serial.insert(irp.with_record(owner), irql);
                self.start(start, irql);
                pending
            }
            NEXT => {
                let any = self.next(irql);
                irp.complete(found(any), irql)
            }
            LINK => {
                let owner = self.owner(irql);
                let (irp, pending) = irp.with_record(owner).pend_not_cancelable(irql);
                self.list.insert_tail(irp);
                pending
            }
            UNLINK => {
                let first = self.list.remove_head();
                let any = first.is_some();
                if let Some(first) = first {
                    first.complete(NtStatus::SUCCESS, irql);
                }
                irp.complete(found(any), irql)
            }
            _ => {
                let owner = self.owner(irql);
                let (irp, pending) = irp.with_record(owner).pend_not_cancelable(irql);
                // The previous request is dropped here.
                self.slot.with(irql, |slot, _| *slot = Some(irp));
                pending
            }
        }
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        while self.next(irql) {}
        while let Some(irp) = self.list.remove_head() {
            irp.complete(Error::DELETE_PENDING, irql);
        }
        drop(self.slot.with(irql, |slot, _| slot.take()));
    }
}

/// Runs a closure in several threads, each with its own file, and unloads the driver.
fn run(body: impl Fn(&Loaded, &Arc<File>) + Sync) {
    let _kernel = Kernel::start();
    RECORDS.store(0, Relaxed);
    let loaded = Loaded::new::<Rig>();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let file = loaded.open().expect("the device opens");
                body(&loaded, &file);
            });
        }
    });
    loaded.unload();
    assert_eq!(RECORDS.load(Relaxed), 0, "records are left");
}

/// Waits for requests, and checks that each one is completed with one of these statuses.
fn expect(requests: &[Request], ends: &[i32]) {
    for request in requests {
        let status = request.wait();
        assert!(ends.contains(&status), "ended with {status:#x}");
    }
}

#[test]
fn requests_are_replied_to() {
    run(|_, file| {
        for number in 0..TIMES {
            let echo = file.ioctl(ECHO, &number.to_le_bytes(), 4);
            assert_eq!(
                echo.reply(),
                (STATUS_SUCCESS, number.to_le_bytes().to_vec())
            );
            // If the thread is suspended, it stops where it left its critical region, and the call's hold keeps the driver loaded.
            assert_eq!(holds_when_left(), 1);
        }
        file.cleanup();
    });
}

#[test]
fn a_queued_irp_is_completed_or_cancelled_or_cleaned_up() {
    run(|_, file| {
        let mut all = Vec::new();
        for time in 0..TIMES {
            let key = (time % 2).to_le_bytes();
            let pended = file.ioctl(PEND, &key, 4);
            assert_eq!(pended.answer(), STATUS_PENDING);
            std::thread::scope(|scope| {
                let cancel = scope.spawn(|| pended.cancel());
                let code = [COMPLETE, COMPLETE_LAST, COMPLETE_BY_KEY][time as usize % 3];
                file.ioctl(code, &key, 0);
                cancel.join().expect("no panic");
            });
            all.push(pended);
            all.push(file.ioctl(PEND, &[], 4));
            file.ioctl(COMPLETE, &[], 0);
        }
        all.push(file.ioctl(PEND, &[], 4));
        file.cleanup();
        expect(&all, &[STATUS_SUCCESS, STATUS_CANCELLED]);
        // After the cleanup no request is queued.
        expect(&[file.ioctl(PEND, &[], 4)], &[STATUS_CANCELLED]);
    });
}

#[test]
fn a_walk_visits_each_irp_that_stays_while_others_are_inserted_and_removed() {
    let _kernel = Kernel::start();
    RECORDS.store(0, Relaxed);
    let loaded = Loaded::new::<Rig>();
    let file = loaded.open().expect("the device opens");
    let mut kept = Vec::new();
    let mut passing = Vec::new();
    for number in KEPT..KEPT + MANY {
        // Some requests stay, and others between them do not.
        kept.push(file.ioctl(PEND, &number.to_le_bytes(), 4));
        if number % 8 == 0 {
            passing.push(file.ioctl(PEND, &(number % 3).to_le_bytes(), 4));
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..THREADS - 1 {
            scope.spawn(|| {
                for _ in 0..TIMES.min(50) {
                    assert_eq!(file.ioctl(WALK, &[], 0).wait(), STATUS_SUCCESS);
                }
            });
        }
        for (time, request) in passing.iter().enumerate() {
            let key = u32::try_from(time % 3).expect("small").to_le_bytes();
            if time % 2 == 0 {
                request.cancel();
            } else {
                file.ioctl(COMPLETE_BY_KEY, &key, 0);
            }
            file.ioctl(PEND, &key, 4).cancel();
        }
    });
    // Every second request by its key, from the last one: each is found, independent of the requests before it.
    for number in (KEPT..KEPT + MANY).rev().step_by(2) {
        let found = file.ioctl(COMPLETE_BY_KEY, &number.to_le_bytes(), 0);
        assert_eq!(found.wait(), STATUS_SUCCESS);
        let again = file.ioctl(COMPLETE_BY_KEY, &number.to_le_bytes(), 0);
        assert_eq!(again.wait(), NtStatus::from(Error::NOT_FOUND).to_raw());
    }
    file.cleanup();
    for (index, request) in kept.iter().enumerate() {
        let ends = [STATUS_CANCELLED, STATUS_SUCCESS];
        assert_eq!(request.wait(), ends[index % 2]);
    }
    expect(&passing, &[STATUS_SUCCESS, STATUS_CANCELLED]);
    drop((kept, passing, file));
    loaded.unload();
    assert_eq!(RECORDS.load(Relaxed), 0, "records are left");
}

#[test]
fn an_irp_is_removed_from_behind_the_cursor_of_a_walk() {
    let _kernel = Kernel::start();
    RECORDS.store(0, Relaxed);
    let loaded = Loaded::new::<Rig>();
    let file = loaded.open().expect("the device opens");
    let pended: Arc<[Request]> = (0..MANY).map(|_| file.ioctl(PEND, &[], 4)).collect();
    let done = Arc::new(AtomicU32::new(0));
    let (user, other, count) = (Arc::clone(&file), Arc::clone(&pended), Arc::clone(&done));
    BETWEEN.set(Some(Box::new(move || {
        // The cursor of the walk is in the queue. Another walk passes it; then all requests but the last are
        // completed.
        assert_eq!(user.ioctl(LOOK, &[], 0).wait(), STATUS_SUCCESS);
        for request in &other[..MANY as usize - 1] {
            assert_eq!(user.ioctl(COMPLETE, &[], 0).wait(), STATUS_SUCCESS);
            assert_eq!(request.status(), Some(STATUS_SUCCESS));
            count.fetch_add(1, Relaxed);
        }
    })));
    assert_eq!(file.ioctl(LOOK, &[], 0).wait(), STATUS_SUCCESS);
    assert_eq!(done.load(Relaxed), MANY - 1);
    // The cursor has left the list, and the last request is still on it.
    assert_eq!(file.ioctl(COMPLETE, &[], 0).wait(), STATUS_SUCCESS);
    assert_ne!(file.ioctl(COMPLETE, &[], 0).wait(), STATUS_SUCCESS);
    file.cleanup();
    drop((pended, file));
    loaded.unload();
    assert_eq!(RECORDS.load(Relaxed), 0, "records are left");
}

#[test]
fn a_started_irp_is_served_or_cancelled_or_cleaned_up() {
    run(|_, file| {
        let mut all = Vec::new();
        for time in 0..TIMES {
            let started = file.ioctl(START, &(time % 3).to_le_bytes(), 4);
            std::thread::scope(|scope| {
                let cancel = scope.spawn(|| started.cancel());
                file.ioctl(NEXT, &[], 0);
                cancel.join().expect("no panic");
            });
            all.push(started);
        }
        file.cleanup();
        // The current request stays until it is completed.
        while file.ioctl(NEXT, &[], 0).wait() == STATUS_SUCCESS {}
        for request in &all {
            while request.status().is_none() {
                file.ioctl(NEXT, &[], 0);
                std::thread::yield_now();
            }
        }
        expect(&all, &[STATUS_SUCCESS, STATUS_CANCELLED]);
    });
}

#[test]
fn an_irp_on_an_interlocked_list_is_completed_once() {
    run(|_, file| {
        let all: Vec<_> = (0..TIMES)
            .map(|_| {
                let linked = file.ioctl(LINK, &[], 0);
                file.ioctl(UNLINK, &[], 0);
                linked
            })
            .collect();
        file.cleanup();
        expect(&all, &[STATUS_SUCCESS]);
    });
}

#[test]
fn a_dropped_irp_is_completed_by_a_work_item() {
    let _kernel = Kernel::start();
    RECORDS.store(0, Relaxed);
    let loaded = Loaded::new::<Rig>();
    let file = loaded.open().expect("the device opens");
    let all: Vec<_> = (0..TIMES).map(|_| file.ioctl(DROP, &[], 0)).collect();
    // The last one stays in the slot until the device is removed.
    assert_eq!(loaded.pnp(nt::IRP_MN_SURPRISE_REMOVAL), STATUS_SUCCESS);
    expect(&all, &[STATUS_INTERNAL_ERROR]);
    drop(all);
    file.cleanup();
    drop(file);
    loaded.unload();
    assert_eq!(RECORDS.load(Relaxed), 0, "records are left");
}

#[test]
fn a_device_is_removed_while_requests_arrive() {
    let _kernel = Kernel::start();
    RECORDS.store(0, Relaxed);
    for _ in 0..TIMES.min(20) {
        let loaded = Loaded::new::<Rig>();
        let file = loaded.open().expect("the device opens");
        let requests: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = [PEND, START, LINK, DROP, ECHO]
                .into_iter()
                .map(|code| {
                    let file = &file;
                    scope
                        .spawn(move || [file.ioctl(code, &[0; 4], 4), file.ioctl(code, &[0; 4], 4)])
                })
                .collect();
            assert_eq!(loaded.pnp(nt::IRP_MN_SURPRISE_REMOVAL), STATUS_SUCCESS);
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("no panic"))
                .collect()
        });
        file.cleanup();
        // The removal waits only for requests that the device itself completes.
        assert_eq!(loaded.pnp(nt::IRP_MN_REMOVE_DEVICE), STATUS_SUCCESS);
        let ends = [
            STATUS_SUCCESS,
            STATUS_CANCELLED,
            STATUS_DELETE_PENDING,
            STATUS_INTERNAL_ERROR,
        ];
        expect(&requests, &ends);
        assert!(
            loaded
                .open()
                .is_err_and(|status| status == STATUS_DELETE_PENDING)
        );
        assert_eq!(file.ioctl(ECHO, &[0; 4], 4).wait(), STATUS_DELETE_PENDING);
        drop((requests, file));
        loaded.unload_removed();
    }
    assert_eq!(RECORDS.load(Relaxed), 0, "records are left");
}
