//! Drivers that do with each request what chance decides: two filters, and a function driver between them, complete, drop, keep, queue, serve and
//! forward requests, also those that have returned, while the requests are cancelled, their handle is closed and the device is removed. Each
//! request ends, and the model kernel finds no mistake.

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{Place, Stack, load, load_filter, place};
use ntmodel::{
    Access, File, Kernel, Request,
    explore::{Search, explore},
};
use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    CancelableIrp, CompletionObserver, CompletionRoutine, CurrentIrp, Device, DeviceObject, Error,
    FileIrp, Filter, Guid, Handled, InterlockedLong, Irp, IrpQueue, IrpView, LowerIrp,
    LowerIrpHandle, LowerIrpRoutine, NewDevice, NewFilter, NtStatus, PassiveLevel, PendedIrp,
    QueueCallbacks, Returned, Shared, SpinLock, Start, StartIoOrder, StartIoQueue, WorkItem,
    WorkItemRoutine,
    irql::{CallerLevel, NoSpinLockHeld, NotRaised, ObjectHeld},
    serial,
};

/// The seed of an exploration, and the number of choices since a schedule began.
static SEED: AtomicU64 = AtomicU64::new(0);
static CHOICES: AtomicU64 = AtomicU64::new(0);

/// Returns a number below `most`, which depends on the seed and on the number of choices before it (`SplitMix64`).
fn chance(most: u64) -> u64 {
    let step = CHOICES.fetch_add(1, Relaxed) + (SEED.load(Relaxed) << 32);
    let mut number = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (number ^ (number >> 31)) % most
}

/// Returns whether one of `most` numbers was chosen.
fn one_in(most: u64) -> bool {
    chance(most) == 0
}

/// The requests of a driver.
#[pin_data]
struct Requests {
    #[pin]
    kept: SpinLock<Vec<PendedIrp<Owner>>>,
    #[pin]
    current: SpinLock<Option<CurrentIrp<Moves>>>,
    #[pin]
    cancelable: SpinLock<Option<CancelableIrp<Moves>>>,
    queue: Shared<IrpQueue<Moves>>,
    start_io: Option<Shared<StartIoQueue<Moves>>>,
    /// Whether the requests that are kept were ended. A work item that has kept another ends it.
    has_ended: InterlockedLong,
}

// SAFETY: the fields are, but the compiler cannot prove it, since the record of a request is an owner of this type.
unsafe impl Send for Requests {}
// SAFETY: as above.
unsafe impl Sync for Requests {}

/// The record of each request: an owner of all of them.
type Owner = Shared<Tag>;

struct Tag(Shared<Requests>);

/// The callbacks of the queues.
struct Moves;

impl QueueCallbacks for Moves {
    type Record = Owner;

    const LOOKUP: bool = true;

    fn lookup_key(&self, irp: &IrpView<Owner>) -> u64 {
        irp.code().into()
    }

    fn key(&self, irp: &IrpView<Owner>) -> u32 {
        irp.code()
    }

    /// Keeps or drops another request of the queue.
    fn before_completion(&self, irp: &IrpView<Owner>, _: NtStatus, irql: &mut ObjectHeld) {
        let requests = &irp.record().0;
        if one_in(3)
            && let Some(other) = requests.queue.remove_first(irql)
            && one_in(2)
        {
            requests.kept.with(irql, |kept, _| kept.push(other));
        }
    }
}

fn requests(
    queue: Shared<IrpQueue<Moves>>,
    start_io: Option<Shared<StartIoQueue<Moves>>>,
) -> impl PinInit<Requests, Error> {
    try_pin_init!(Requests {
        kept <- SpinLock::new(Vec::new()),
        current <- SpinLock::new(None),
        cancelable <- SpinLock::new(None),
        queue,
        start_io,
        has_ended: InterlockedLong::new(0),
    }? Error)
}

impl Requests {
    /// Does something with a request that was pended.
    fn pended(&self, irp: PendedIrp<Owner>, irql: &mut impl NoSpinLockHeld) {
        match chance(8) {
            0 => irp.complete(NtStatus::SUCCESS, irql),
            1 => irp.complete(Error::DEVICE_BUSY, irql),
            2 => {
                let mut reply = irp.reply();
                reply.append(b"answer");
                reply.complete(NtStatus::BUFFER_OVERFLOW, irql);
            }
            3 => self.queue.put_back(irp, irql),
            4 => drop(irp),
            5 => self.kept.with(irql, |kept, _| kept.push(irp)),
            _ => self.queue.insert_pended(irp, irql),
        }
    }

    /// Does something with a request at `PASSIVE_LEVEL`.
    fn later(&self, irp: PendedIrp<Owner>, irql: &mut PassiveLevel) {
        match chance(5) {
            0 => irp.forward(irql),
            1 | 2 => irp.forward_with_routine::<Back>(irql),
            3 => match irp.forward_and_wait(irql).into_irp() {
                Ok(irp) => self.pended(irp, irql),
                Err(irp) => irp.complete(irql),
            },
            _ => self.pended(irp, irql),
        }
    }

    /// Removes one of the requests.
    fn take(&self, irql: &mut impl NoSpinLockHeld) -> Option<PendedIrp<Owner>> {
        match chance(4) {
            0 => self.kept.with(irql, |kept, _| kept.pop()),
            1 => self.queue.remove_first(irql),
            2 => self.queue.remove_matching(irql, |_| one_in(2)),
            _ => self.queue.remove_by_key(0x22_2000 + 4 * chance(3), irql),
        }
    }

    /// Starts a request of the `StartIoQueue`.
    fn serve(&self, mut start: Start<Moves>, irql: &mut impl NoSpinLockHeld) {
        while let Start::Now(current) = start {
            match chance(4) {
                0 => {
                    let (irp, next) = current.start_next(irql);
                    self.pended(irp, irql);
                    start = next;
                }
                1 => {
                    let old = self.current.with(irql, |place, _| place.replace(current));
                    assert!(old.is_none());
                    return;
                }
                2 if one_in(4) => return drop(current),
                _ => match current.make_cancelable(irql) {
                    Ok(irp) => {
                        if one_in(6) {
                            return drop(irp);
                        }
                        let old = self.cancelable.with(irql, |place, _| place.replace(irp));
                        assert!(old.is_none());
                        return;
                    }
                    Err((current, error)) => {
                        let (irp, next) = current.start_next(irql);
                        irp.complete(error, irql);
                        start = next;
                    }
                },
            }
        }
    }

    /// Ends the request that is being served.
    fn served(&self, irql: &mut impl NoSpinLockHeld) {
        if let Some(irp) = self.current.with(irql, |place, _| place.take()) {
            let (irp, next) = irp.start_next(irql);
            self.pended(irp, irql);
            self.serve(next, irql);
        }
        if let Some(irp) = self.cancelable.with(irql, |place, _| place.take()) {
            match irp.take_back(irql) {
                Ok(irp) => {
                    let (irp, next) = irp.start_next(irql);
                    self.pended(irp, irql);
                    self.serve(next, irql);
                }
                Err(next) => self.serve(next, irql),
            }
        }
    }

    /// Completes the requests that are kept.
    fn end(&self, irql: &mut impl NoSpinLockHeld) {
        self.has_ended.exchange(1);
        while let Some(irp) = self.kept.with(irql, |kept, _| kept.pop()) {
            irp.complete(Error::DELETE_PENDING, irql);
        }
        while let Some(irp) = self.current.with(irql, |place, _| place.take()) {
            let (irp, next) = irp.start_next(irql);
            irp.complete(Error::DELETE_PENDING, irql);
            self.serve(next, irql);
        }
        while let Some(irp) = self.cancelable.with(irql, |place, _| place.take()) {
            match irp.take_back(irql) {
                Ok(irp) => drop(irp),
                Err(next) => self.serve(next, irql),
            }
        }
    }
}

/// Gets a request back.
struct Back;

impl CompletionRoutine for Back {
    type Record = Owner;

    fn run(irp: Returned<PendedIrp<Owner>>, irql: &mut CallerLevel) {
        let requests = irp.record().0.clone();
        assert!(irp.output_bytes().map_or(0, <[u8]>::len) <= irp.output_length());
        match chance(4) {
            0 => irp.complete(irql),
            1 => drop(irp),
            _ => match irp.into_irp() {
                Ok(irp) => requests.pended(irp, irql),
                Err(irp) => irp.complete(irql),
            },
        }
    }
}

impl CompletionObserver for Back {
    type Record = Owner;

    fn run(irp: &Returned<PendedIrp<Owner>>, irql: &mut CallerLevel) {
        let requests = irp.record().0.clone();
        if let Some(irp) = requests.take(irql) {
            requests.pended(irp, irql);
        }
    }
}

/// Acts later.
struct Acts(Shared<Requests>);

impl WorkItemRoutine for Acts {
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        if let Some(irp) = item.0.take(irql) {
            item.0.later(irp, irql);
        }
        item.0.served(irql);
        if item.0.has_ended.read() != 0 {
            item.0.end(irql);
        }
    }
}

/// The routine of a request of the driver's own.
struct Sends {
    requests: Shared<Requests>,
    place: Place<LowerIrp<Sends>>,
}

impl LowerIrpRoutine for Sends {
    fn run(irp: LowerIrp<Self>, irql: &mut CallerLevel) {
        if let Some(other) = irp.requests.take(irql) {
            irp.requests.pended(other, irql);
        }
        Self::send(irp, irql);
    }
}

impl Sends {
    /// Sends the request, keeps it or drops it.
    fn send(irp: LowerIrp<Self>, irql: &mut impl NoSpinLockHeld) {
        let sent = match chance(4) {
            0 => irp.read(0, 4, irql),
            1 => irp.device_control(serial::WAIT_ON_MASK, &[], 4, irql),
            2 => Err((irp, Error::RETRY)),
            _ => return,
        };
        if let Err((irp, _)) = sent {
            let place = irp.place.clone();
            place.with(irql, |place, _| *place = Some(irp));
        }
    }
}

/// A filter or a function driver.
struct Rig {
    requests: Shared<Requests>,
    tag: Owner,
    acts: Shared<WorkItem<Acts>>,
}

impl Rig {
    fn new(
        requests: Shared<Requests>,
        device: &DeviceObject,
        irql: &mut PassiveLevel,
    ) -> Result<Self, Error> {
        let tag = Shared::<Tag>::new(Tag(requests.clone()), device, irql)?;
        let acts = WorkItem::new(Ok::<_, Error>(Acts(requests.clone())), device, irql)?;
        Ok(Self {
            requests,
            tag,
            acts,
        })
    }

    /// Does something with a request at any level.
    fn any<'irp, L: NotRaised>(&self, irp: Irp<'irp>, irql: &mut L) -> Handled<'irp> {
        if one_in(3) {
            WorkItem::queue(&self.acts, irql);
        }
        if one_in(3)
            && let Some(other) = self.requests.take(irql)
        {
            self.requests.pended(other, irql);
        }
        if one_in(3) {
            self.requests.served(irql);
        }
        match chance(11) {
            0 => irp.complete(NtStatus::SUCCESS, irql),
            1 => irp.complete_with(&7_u32, irql),
            2 => irp.forward(irql),
            3 => irp.with_record(self.tag.clone()).forward(irql),
            4 => irp
                .with_record(self.tag.clone())
                .forward_with_observer::<Back>(irql),
            5 | 6 => irp
                .with_record(self.tag.clone())
                .forward_with_routine::<Back>(irql),
            7 => {
                let (irp, handled) = irp.with_record(self.tag.clone()).pend_not_cancelable(irql);
                self.requests.pended(irp, irql);
                handled
            }
            8 if self.requests.start_io.is_some() => {
                let queue = self.requests.start_io.as_ref().expect("checked");
                let (start, handled) = queue.insert(irp.with_record(self.tag.clone()), irql);
                self.requests.serve(start, irql);
                handled
            }
            _ => self
                .requests
                .queue
                .insert(irp.with_record(self.tag.clone()), irql),
        }
    }

    /// Does something with a request at `PASSIVE_LEVEL`.
    fn passive<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        if chance(4) != 0 {
            return self.any(irp, irql);
        }
        let returned = irp.with_record(self.tag.clone()).forward_and_wait(irql);
        match chance(2) {
            0 => returned.complete(irql),
            _ => match returned.into_irp() {
                Ok(irp) => match chance(4) {
                    0 => irp.forward_with_routine::<Back>(irql),
                    1 => irp.forward(irql),
                    2 => self.requests.queue.insert(irp, irql),
                    _ => irp.complete(Error::DEVICE_BUSY, irql),
                },
                Err(returned) => returned.complete(irql),
            },
        }
    }
}

/// A filter.
struct Filters(Rig);

impl Filter for Filters {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let queue = IrpQueue::new(Moves, device, irql)?;
        let requests = Shared::<Requests>::new(requests(queue, None), device, irql)?;
        Ok(Ok::<_, Error>(Self(Rig::new(requests, device, irql)?)))
    }

    fn open_or_close<'irp>(&self, irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        let irp = irp.with_record(self.0.tag.clone());
        match chance(4) {
            0 => irp.forward(irql),
            1 => irp.forward_with_observer::<Back>(irql),
            2 => irp.forward_with_routine::<Back>(irql),
            _ => irp.forward_and_wait(irql).complete(irql),
        }
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        self.0.any(irp, irql)
    }

    fn remove(&self, irql: &mut CallerLevel) {
        self.0.requests.end(irql);
    }
}

/// The function driver.
struct Function {
    rig: Rig,
    own: Place<LowerIrp<Sends>>,
    handle: LowerIrpHandle<Sends>,
}

impl Device for Function {
    const INTERFACE: Guid = Guid::new(0, 0, 0, [0; 8]);

    type File = ();

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let queue = IrpQueue::new(Moves, device, irql)?;
        let order = if one_in(2) {
            StartIoOrder::Key
        } else {
            StartIoOrder::Arrival
        };
        let start_io = StartIoQueue::new(order, Moves, device, irql)?;
        let requests = Shared::<Requests>::new(requests(queue, Some(start_io)), device, irql)?;
        let own = place(device, irql)?;
        let sends = Sends {
            requests: requests.clone(),
            place: own.clone(),
        };
        let irp = LowerIrp::new(Ok::<_, Error>(sends), 4, device, irql)?;
        let handle = irp.handle();
        own.with(irql, |own, _| *own = Some(irp));
        let rig = Rig::new(requests, device, irql)?;
        Ok(Ok::<_, Error>(Self { rig, own, handle }))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        (): &(),
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        self.passive(irp, irql)
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        self.passive(irp, irql)
    }

    fn write<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        self.passive(irp, irql)
    }

    fn internal_device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        irql: &mut CallerLevel,
    ) -> Handled<'irp> {
        self.rig.any(irp, irql)
    }

    fn cleanup(&self, (): &(), irql: &mut PassiveLevel) {
        self.rig.requests.end(irql);
    }

    fn remove(&self, irql: &mut PassiveLevel) {
        self.rig.requests.end(irql);
        // The routine owns the place.
        drop(self.own.with(irql, |own, _| own.take()));
    }
}

impl Function {
    fn passive<'irp>(&self, irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        if one_in(3)
            && let Some(irp) = self.own.with(irql, |own, _| own.take())
        {
            Sends::send(irp, irql);
        }
        if one_in(4) {
            self.handle.cancel(irql);
        }
        self.rig.passive(irp, irql)
    }
}

/// Sends a request.
fn send(file: &File) -> Request {
    let control = |code| file.device_control(code, &[1; 8], vec![0; 6]);
    match chance(8) {
        0 => file.read(chance(3).cast_signed() - 1, 4),
        1 => file.write(0, &[1, 2, 3]),
        2 => file.flush(),
        method @ 3..6 => control(0x22_2000 + u32::try_from(method).unwrap_or(0) - 2),
        _ => control(0x22_2000 + 4 * u32::try_from(chance(3)).unwrap_or(0)),
    }
}

/// Sends requests, cancels them, may close their handle, and removes the device, all at the same time.
fn scenario(kernel: &Arc<Kernel>) {
    CHOICES.store(0, Relaxed);
    let mut stack = Stack::new(load_filter::<Filters>(kernel)).function(load::<Function>(kernel));
    if one_in(2) {
        stack = stack.filter(load_filter::<Filters>(kernel));
    }
    let stack = stack.started();
    let file = stack.device.open_anyway(Access::ReadWrite);
    let file = Arc::new(file.expect("the device opens"));
    let requests = Arc::<Mutex<Vec<Arc<Request>>>>::default();
    let (sent, theirs) = (Arc::clone(&requests), Arc::clone(&file));
    let sender = kernel.actor("sender", move || {
        for _ in 0..2 + chance(4) {
            let request = Arc::new(send(&theirs));
            sent.lock().expect("no panic").push(request);
        }
    });
    let (sent, theirs) = (Arc::clone(&requests), Arc::clone(&file));
    let canceller = kernel.actor("canceller", move || {
        for index in 0..4 {
            let request = sent.lock().expect("no panic").get(index).cloned();
            if let Some(request) = request.filter(|_| one_in(2)) {
                request.cancel_irp();
            }
        }
        match chance(4) {
            0 => theirs.close_handle(),
            1 => drop(theirs.cancel_all()),
            _ => {}
        }
    });
    let device = stack.device.clone();
    let remover = kernel.actor("remover", move || device.surprise_remove());
    sender.join();
    canceller.join();
    remover.join();
    for request in requests.lock().expect("no panic").drain(..) {
        let end = request.wait(Duration::from_secs(5));
        end.expect("it ends");
    }
    let file = Arc::into_inner(file).expect("no other thread has it");
    file.close();
    // A worker thread may have the last reference to the file, and removes the device.
    while !stack.device.is_removed() {
        kernel.actor("other", || ()).join();
    }
    stack.unload();
}

#[test]
fn each_request_ends_whatever_the_drivers_do() {
    for seed in 0..40 {
        SEED.store(seed, Relaxed);
        let search = Search::Random {
            schedules: 20,
            seed,
        };
        if let Err(found) = explore(search, scenario) {
            panic!("with the seed {seed}: {found}");
        }
    }
}
