//! The reduced search has the outcomes of the unreduced one, for small programs drawn at random.
//!
//! The threads of a program call routines of the kernel on a few objects, and record the results. An outcome consists of all
//! recorded results, and the state of the objects at the end.

#[macro_use]
mod call;

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    collections::BTreeSet,
    ffi::c_void,
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering::Relaxed},
    },
};

use call::wait;
use nt::{
    DRIVER_OBJECT, HANDLE, KDPC, KEVENT, KMUTEX, KSEMAPHORE, KSPIN_LOCK, KTIMER, NTSTATUS,
    STATUS_CANCELLED, UNICODE_STRING, interlocked::InterlockedExchangeAdd,
};
use ntmodel::{
    Driver, Kernel,
    explore::{Search, explore},
};

/// An operation of a thread in a program.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Replaces a variable under its lock.
    Locked(usize),
    /// Replaces both, under both locks.
    BothLocked,
    SetEvent,
    ResetEvent,
    ReadEvent,
    PollEvent,
    Interlocked,
    AddUlong,
    QueueDpc,
    RemoveDpc,
    SetTimer,
    CancelTimer,
    ReleaseSemaphore,
    PollSemaphore,
    /// Replaces a variable under its lock, if that is free.
    TryLocked,
    /// Replaces a variable under a mutex.
    UnderMutex,
    ReadTime,
    /// Reads the number of the processor, at `DISPATCH_LEVEL` and then at `PASSIVE_LEVEL`.
    ReadProcessor,
    /// Replaces a variable that the model observes.
    Seen,
    /// Replaces a variable that the model does not observe.
    Unseen,
}

/// The last one is for memory that is not guarded.
const OPERATIONS: &[Operation] = &[
    Operation::Locked(0),
    Operation::Locked(1),
    Operation::BothLocked,
    Operation::SetEvent,
    Operation::ResetEvent,
    Operation::ReadEvent,
    Operation::PollEvent,
    Operation::Interlocked,
    Operation::AddUlong,
    Operation::QueueDpc,
    Operation::RemoveDpc,
    Operation::SetTimer,
    Operation::CancelTimer,
    Operation::ReleaseSemaphore,
    Operation::PollSemaphore,
    Operation::TryLocked,
    Operation::UnderMutex,
    Operation::ReadTime,
    Operation::ReadProcessor,
    Operation::Seen,
    Operation::Unseen,
];

type Program = Vec<Vec<Operation>>;

/// Programs that are rarely drawn: in each a thread has to run between two operations of another one, on an object that both wait
/// for or that depends on time. Their memory is guarded. A search that never wakes a sleeping thread misses outcomes of each of the
/// first three.
const CHOSEN: &[[&[Operation]; 2]] = &[
    [&[Operation::TryLocked], &[Operation::TryLocked]],
    [
        &[Operation::PollEvent],
        &[Operation::SetEvent, Operation::ResetEvent],
    ],
    [
        &[Operation::AddUlong, Operation::ReadTime],
        &[Operation::AddUlong, Operation::ReadTime],
    ],
    [
        &[Operation::Locked(0), Operation::Locked(0)],
        &[Operation::Locked(0)],
    ],
    [&[Operation::BothLocked], &[Operation::TryLocked]],
    [&[Operation::UnderMutex], &[Operation::UnderMutex]],
    [
        &[Operation::Locked(0), Operation::ReadProcessor],
        &[Operation::Locked(1), Operation::ReadProcessor],
    ],
];

/// The objects of a program. The threads of an exploration run one at a time.
struct Objects {
    locks: [UnsafeCell<KSPIN_LOCK>; 3],
    variables: [Cell<u32>; 3],
    mutex: UnsafeCell<KMUTEX>,
    event: UnsafeCell<KEVENT>,
    semaphore: UnsafeCell<KSEMAPHORE>,
    number: AtomicI32,
    long: UnsafeCell<u32>,
    dpc: UnsafeCell<KDPC>,
    timer_dpc: UnsafeCell<KDPC>,
    timer: UnsafeCell<KTIMER>,
    seen: nt::atomic::AtomicU32,
    unseen: AtomicU32,
    parts: Vec<Part>,
}

static OBJECTS: AtomicPtr<Objects> = AtomicPtr::new(null_mut());
static PROGRAM: Mutex<Program> = Mutex::new(Vec::new());
static OUTCOMES: Mutex<BTreeSet<Vec<Vec<u32>>>> = Mutex::new(BTreeSet::new());

/// The argument of a system thread of a program.
struct Part {
    thread: usize,
    operations: Vec<Operation>,
    notes: RefCell<Vec<u32>>,
}

unsafe extern "C" fn adds(_: *mut KDPC, _: *mut c_void, _: *mut c_void, _: *mut c_void) {
    InterlockedExchangeAdd(&objects().number, 100);
}

/// The objects of the current program.
fn objects<'a>() -> &'a Objects {
    // SAFETY: the objects stay until the end of the program, and one thread runs at a time.
    unsafe { &*OBJECTS.load(Relaxed) }
}

/// Runs a step with a lock held.
fn under_lock(lock: usize, work: impl FnOnce()) {
    let lock = objects().locks[lock].get();
    let irql = nt!(KeAcquireSpinLockRaiseToDpc(lock));
    work();
    nt!(KeReleaseSpinLock(lock, irql));
}

impl Part {
    fn note(&self, value: u32) {
        let mut notes = self.notes.borrow_mut();
        assert!(
            notes.len() < notes.capacity(),
            "a driver's allocations are the pool's"
        );
        notes.push(value);
    }

    /// Returns the value that an operation of this thread writes.
    fn value(&self, step: usize) -> u32 {
        u32::try_from(10 * (self.thread + 1) + step).expect("a small number")
    }

    fn replace(&self, variable: usize, value: u32) {
        self.note(objects().variables[variable].replace(value));
    }

    fn poll(&self, object: *mut c_void) {
        let mut now = 0;
        let status = nt!(KeWaitForSingleObject(object, 0, 0, 0, &raw mut now));
        self.note(status.cast_unsigned());
    }

    fn run(&self, step: usize, operation: Operation) {
        let objects = objects();
        let value = self.value(step);
        match operation {
            Operation::Locked(lock) => under_lock(lock, || self.replace(lock, value)),
            Operation::BothLocked => under_lock(0, || {
                self.replace(0, value);
                nt!(KeAcquireSpinLockAtDpcLevel(objects.locks[1].get()));
                self.replace(1, value);
                nt!(KeReleaseSpinLockFromDpcLevel(objects.locks[1].get()));
            }),
            Operation::SetEvent => {
                let was = nt!(KeSetEvent(objects.event.get(), 0, 0));
                self.note(was.cast_unsigned());
            }
            Operation::ResetEvent => {
                let was = nt!(KeResetEvent(objects.event.get()));
                self.note(was.cast_unsigned());
            }
            Operation::ReadEvent => {
                let is = nt!(KeReadStateEvent(objects.event.get()));
                self.note(is.cast_unsigned());
            }
            Operation::PollEvent => self.poll(objects.event.get().cast()),
            Operation::Interlocked => {
                let was = InterlockedExchangeAdd(&objects.number, 1);
                self.note(was.cast_unsigned());
            }
            Operation::AddUlong => {
                // SAFETY: the object is initialised, and stays.
                let lock = objects.locks[2].get();
                let was = nt!(ExInterlockedAddUlong(objects.long.get(), 1, lock));
                self.note(was);
            }
            Operation::QueueDpc => {
                let queued = nt!(KeInsertQueueDpc(objects.dpc.get(), null_mut(), null_mut()));
                self.note(queued.into());
            }
            Operation::RemoveDpc => {
                let removed = nt!(KeRemoveQueueDpc(objects.dpc.get()));
                self.note(removed.into());
            }
            Operation::SetTimer => {
                let (timer, dpc) = (objects.timer.get(), objects.timer_dpc.get());
                let was_set = nt!(KeSetTimer(timer, -10_000, dpc));
                self.note(was_set.into());
            }
            Operation::CancelTimer => {
                let was_set = nt!(KeCancelTimer(objects.timer.get()));
                self.note(was_set.into());
            }
            Operation::ReleaseSemaphore => {
                let count = nt!(KeReleaseSemaphore(objects.semaphore.get(), 0, 1, 0));
                self.note(count.cast_unsigned());
            }
            Operation::PollSemaphore => self.poll(objects.semaphore.get().cast()),
            Operation::TryLocked => {
                let lock = objects.locks[0].get();
                let irql = nt!(KfRaiseIrql(nt::DISPATCH_LEVEL));
                let taken = nt!(KeTryToAcquireSpinLockAtDpcLevel(lock));
                self.note(taken.into());
                if taken != 0 {
                    self.replace(0, value);
                    nt!(KeReleaseSpinLockFromDpcLevel(lock));
                }
                nt!(KeLowerIrql(irql));
            }
            Operation::UnderMutex => {
                let mutex = objects.mutex.get();
                wait(mutex);
                self.replace(2, value);
                nt!(KeReleaseMutex(mutex, 0));
            }
            Operation::ReadTime => {
                let time = nt!(KeQueryPerformanceCounter(null_mut()));
                self.note(u32::try_from(time).expect("little time has passed"));
            }
            Operation::ReadProcessor => {
                let irql = nt!(KfRaiseIrql(nt::DISPATCH_LEVEL));
                self.note(nt!(KeGetCurrentProcessorNumberEx(null_mut())));
                nt!(KeLowerIrql(irql));
                self.note(nt!(KeGetCurrentProcessorNumberEx(null_mut())));
            }
            Operation::Seen => {
                self.note(objects.seen.swap(value, Relaxed));
            }
            Operation::Unseen => {
                self.note(objects.unseen.swap(value, Relaxed));
            }
        }
    }
}

unsafe extern "C" fn thread(context: *mut c_void) {
    // SAFETY: the context is a part of the program, which stays until its end.
    let part = unsafe { &*context.cast::<Part>() };
    for (step, operation) in part.operations.iter().enumerate() {
        part.run(step, *operation);
    }
}

fn initialise(objects: &Objects) {
    for index in 0..3 {
        nt!(KeInitializeSpinLock(objects.locks[index].get()));
    }
    nt!(KeInitializeEvent(objects.event.get(), 1, 0));
    nt!(KeInitializeSemaphore(objects.semaphore.get(), 1, 100));
    nt!(KeInitializeMutex(objects.mutex.get(), 0));
    nt!(KeInitializeTimer(objects.timer.get()));
    for dpc in [objects.dpc.get(), objects.timer_dpc.get()] {
        nt!(KeInitializeDpc(dpc, Some(adds), null_mut()));
    }
}

unsafe extern "C" fn entry(_: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let objects = objects();
    initialise(objects);
    let parts = &objects.parts;
    let mut handles: [HANDLE; 3] = [null_mut(); 3];
    for (part, handle) in parts.iter().zip(&mut handles) {
        let context = (&raw const *part).cast_mut().cast();
        let no = null_mut();
        let status = nt!(PsCreateSystemThread(
            handle,
            0,
            null_mut(),
            no,
            null_mut(),
            Some(thread),
            context
        ));
        assert_eq!(status, 0);
    }
    for handle in &handles[..parts.len()] {
        nt!(ZwWaitForSingleObject(*handle, 0, null_mut()));
        nt!(ZwClose(*handle));
    }
    nt!(KeCancelTimer(objects.timer.get()));
    nt!(KeFlushQueuedDpcs());
    STATUS_CANCELLED
}

fn scenario(kernel: &Arc<Kernel>) {
    let program = locked(&PROGRAM).clone();
    let part = |(thread, operations)| Part {
        thread,
        operations,
        notes: RefCell::new(Vec::with_capacity(16)),
    };
    let dpc = || UnsafeCell::new(KDPC { Reserved: [0; 8] });
    let objects = Box::into_raw(Box::new(Objects {
        locks: Default::default(),
        variables: Default::default(),
        // SAFETY: a mutex may be zeroed before it is initialised.
        mutex: UnsafeCell::new(unsafe { std::mem::zeroed() }),
        event: UnsafeCell::new(KEVENT { Header: [0; 3] }),
        // SAFETY: a semaphore may be zeroed before it is initialised.
        semaphore: UnsafeCell::new(unsafe { std::mem::zeroed() }),
        number: AtomicI32::new(0),
        long: UnsafeCell::new(0),
        dpc: dpc(),
        timer_dpc: dpc(),
        timer: UnsafeCell::new(KTIMER { Reserved: [0; 8] }),
        seen: nt::atomic::AtomicU32::new(0),
        unseen: AtomicU32::new(0),
        parts: program.into_iter().enumerate().map(part).collect(),
    }));
    OBJECTS.store(objects, Relaxed);
    // SAFETY: the entry point uses the objects until it returns.
    let loaded = unsafe { Driver::load(kernel, entry) };
    assert_eq!(loaded.err(), Some(STATUS_CANCELLED));
    // SAFETY: threads, timers and DPCs no longer use the objects.
    let mut objects = unsafe { Box::from_raw(objects) };
    let notes = objects.parts.iter().map(|part| part.notes.take());
    let mut outcome: Vec<_> = notes.collect();
    outcome.push(vec![
        objects.variables[0].get(),
        objects.variables[1].get(),
        objects.variables[2].get(),
        objects.number.load(Relaxed).cast_unsigned(),
        *objects.long.get_mut(),
        objects.seen.load(Relaxed),
        objects.unseen.load(Relaxed),
    ]);
    locked(&OUTCOMES).insert(outcome);
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no thread has panicked")
}

/// The outcomes of a program, and how many schedules gave them; `None` if there are too many.
fn outcomes(search: Search) -> Option<(BTreeSet<Vec<Vec<u32>>>, usize)> {
    locked(&OUTCOMES).clear();
    let explored = explore(search, scenario).unwrap_or_else(|found| panic!("{found}"));
    let outcomes = locked(&OUTCOMES).clone();
    explored.complete.then_some((outcomes, explored.schedules))
}

/// The generator `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ (bits >> 31)) % limit as u64).expect("it is below the limit")
    }

    /// Two or three threads with few operations, which mostly have some objects in common.
    fn program(&mut self, operations: usize) -> Program {
        let kinds: Vec<_> = (0..4).map(|_| self.below(operations)).collect();
        let threads = 2 + usize::from(self.below(4) == 0);
        let most = if threads == 2 { 3 } else { 1 };
        let thread = |random: &mut Self| {
            let count = 1 + random.below(most);
            let operation = |random: &mut Self| OPERATIONS[kinds[random.below(kinds.len())]];
            (0..count).map(|_| operation(random)).collect()
        };
        (0..threads).map(|_| thread(self)).collect()
    }
}

/// Returns the number of programs that are compared, which the environment can set; `.ci/run` compares more.
fn count() -> usize {
    let count = std::env::var("REDUCTION_PROGRAMS").ok();
    count.and_then(|count| count.parse().ok()).unwrap_or(10)
}

#[test]
fn reduced_search_has_every_outcome() {
    // Random programs with more schedules are left out.
    const MAX: usize = 30_000;
    const MAX_REDUCED: usize = 5_000;
    let mut random = Random(1);
    let (mut compared, mut all, mut reduced, mut guarded) = (0, 0, 0, 0);
    for number in 0.. {
        if compared == count() {
            break;
        }
        let chosen = CHOSEN.get(number);
        let is_guarded = chosen.is_some() || number % 2 == 0;
        let program = chosen.map_or_else(
            || random.program(OPERATIONS.len() - usize::from(is_guarded)),
            |threads| threads.iter().map(|thread| thread.to_vec()).collect(),
        );
        locked(&PROGRAM).clone_from(&program);
        let Some((seen, schedules)) = outcomes(Search::every(MAX_REDUCED)) else {
            assert!(chosen.is_none(), "{program:?} is too long");
            continue;
        };
        let Some((expected, unreduced)) = outcomes(Search::unreduced(MAX)) else {
            assert!(chosen.is_none(), "{program:?} is too long");
            continue;
        };
        assert_eq!(seen, expected, "every order of {program:?}");
        assert!(schedules <= unreduced, "every order of {program:?}");
        compared += 1;
        all += unreduced;
        reduced += schedules;
        if is_guarded {
            let (seen, schedules) =
                outcomes(Search::guarded(MAX)).expect("it is no longer than unreduced");
            assert_eq!(seen, expected, "guarded accesses of {program:?}");
            assert!(schedules <= unreduced, "guarded accesses of {program:?}");
            guarded += schedules;
        }
    }
    println!(
        "{compared} programs: {all} schedules, reduced {reduced}; of some with guarded memory {guarded}"
    );
}
