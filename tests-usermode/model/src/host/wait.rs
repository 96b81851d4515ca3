//! Waits and scheduling. The host schedules host threads; under `shuttle` one thread runs at a time, which its
//! scheduler selects.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    ptr::null,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst, fence},
    },
    task::{Poll, Waker},
    thread as host,
    time::{Duration, Instant},
};

use rustc_hash::FxHashSet;

use crate::{
    host::{
        Kernel,
        footprint::{self, Access},
        order::{Edges, Nodes},
        thread::{self, Thread},
    },
    mutex::locked,
};

/// The maximum number of timers that expire while a thread waits by a virtual clock. If there are more, the remaining timers are
/// periodic and do not end a wait.
const MOST_EXPIRATIONS: u32 = 100_000;

/// The scheduler of the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The host, which runs them in parallel.
    Host,
    /// An exploration, which runs them one at a time.
    Shuttle,
}

/// The object that a thread waits for. The address identifies the object whose change wakes the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    SpinLock(usize),
    ReaderWriter(usize),
    Resource(usize),
    Object(usize),
    /// An object, or the timer that ends the wait.
    Timed(usize, usize),
    /// Several objects, by the address of their list. A change of any object wakes the thread.
    Several(usize),
    Processor(usize),
    Irp(usize),
    Dpcs(usize),
    Thread(usize),
    /// A routine that a driver has registered.
    Callback(usize),
    Actor(usize),
    Timer(usize),
    WorkItems(usize),
    /// The last file of a device object.
    Closed(usize),
    /// Until no other thread can continue.
    Others,
}

impl Wait {
    const fn key(self) -> usize {
        match self {
            Self::SpinLock(key)
            | Self::ReaderWriter(key)
            | Self::Resource(key)
            | Self::Object(key)
            | Self::Timed(key, _)
            | Self::Several(key)
            | Self::Processor(key)
            | Self::Irp(key)
            | Self::Dpcs(key)
            | Self::Thread(key)
            | Self::Callback(key)
            | Self::Actor(key)
            | Self::Timer(key)
            | Self::WorkItems(key)
            | Self::Closed(key) => key,
            Self::Others => 0,
        }
    }

    /// Returns the other address whose change wakes the thread, if there is one.
    const fn second_key(self) -> Option<usize> {
        match self {
            Self::Timed(_, timer) => Some(timer),
            _ => None,
        }
    }

    /// Returns whether the wait orders the thread after the thread that wakes it. A free processor, a set timer and a
    /// shared lock do not order threads.
    const fn orders(self) -> bool {
        !matches!(
            self,
            Self::Processor(_)
                | Self::Timer(_)
                | Self::ReaderWriter(_)
                | Self::Resource(_)
                | Self::Several(_)
        )
    }

    /// Records that the current step has tested the condition of a wait, or wakes the threads that wait. For processors, see
    /// `Processors`.
    #[inline]
    fn touch(self, access: Access) {
        if footprint::is_noting() {
            self.note_touch(access);
        }
    }

    fn note_touch(self, access: Access) {
        if !matches!(self, Self::Processor(_)) {
            footprint::touch(self.key(), access);
        }
        if let Some(timer) = self.second_key() {
            footprint::touch(timer, access);
        }
    }

    /// Returns whether the wait is so short that a host thread does not sleep.
    pub(crate) const fn is_short(self) -> bool {
        matches!(
            self,
            Self::SpinLock(_) | Self::ReaderWriter(_) | Self::Processor(_)
        )
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpinLock(lock) | Self::ReaderWriter(lock) => write!(f, "the spin lock {lock:#x}"),
            Self::Resource(resource) => write!(f, "the resource {resource:#x}"),
            Self::Object(object) | Self::Timed(object, _) => write!(f, "the object {object:#x}"),
            Self::Several(_) => write!(f, "several objects"),
            Self::Processor(_) => write!(f, "a processor"),
            Self::Irp(irp) => write!(f, "the end of the IRP {irp:#x}"),
            Self::Dpcs(_) => write!(f, "the queued DPCs"),
            Self::Thread(_) => write!(f, "the end of a thread"),
            Self::Callback(_) => write!(f, "the end of a registered routine"),
            Self::Actor(_) => write!(f, "the end of an actor"),
            Self::Timer(_) => write!(f, "the next timer"),
            Self::Closed(device) => {
                write!(f, "the last file of the device object {device:#x}")
            }
            Self::WorkItems(_) => write!(f, "the routines of the work items that were queued"),
            Self::Others => write!(f, "the other threads"),
        }
    }
}

/// The sleeping threads.
#[derive(Default)]
pub(crate) struct Sleepers {
    /// Whether the threads are those of an exploration.
    explored: bool,
    tasks: Mutex<Vec<SleepingThread>>,
    host: Mutex<()>,
    condition: Condvar,
    /// The numbers of sleeping host threads and of sleeping threads of an exploration.
    sleeping: AtomicUsize,
    suspended: AtomicUsize,
    /// The order that the woken threads inherit.
    pub(crate) edges: Edges,
    pub(crate) nodes: Nodes,
    /// The objects that were on the stacks of driver routines that have returned.
    pub(crate) freed: Mutex<FxHashSet<usize>>,
    /// The number of threads of an exploration that can continue, without its first one.
    awake: AtomicUsize,
}

/// A sleeping thread of an exploration.
struct SleepingThread {
    thread: u32,
    wait: Wait,
    waker: Waker,
}

impl Sleepers {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            explored: engine == Engine::Shuttle,
            ..Self::default()
        }
    }

    /// Wakes the threads that wait for the object at this address. The caller holds no mutex that a waiter locks.
    #[inline]
    pub(crate) fn wake(&self, wait: Wait) {
        // In a short wait a host thread polls.
        if self.explored || !wait.is_short() {
            self.wake_sleeping(wait);
        }
    }

    fn wake_sleeping(&self, wait: Wait) {
        wait.touch(Access::Commuting);
        if wait.orders() {
            Edges::release(wait.key());
        }
        if !wait.is_short() {
            // Pairs with the fence in `sleep`: either the sleeper sees the change, or this thread sees the sleeper.
            fence(SeqCst);
            if self.sleeping.load(SeqCst) != 0 {
                drop(locked(&self.host));
                self.condition.notify_all();
            }
        }
        if self.suspended.load(SeqCst) != 0 {
            self.wake_suspended(wait);
        }
    }

    fn wake_suspended(&self, wait: Wait) {
        let mut woken = Vec::new();
        locked(&self.tasks).retain(|task| {
            let key = wait.key();
            let several = matches!((wait, task.wait), (Wait::Object(_), Wait::Several(_)));
            let stays = task.wait.key() != key && task.wait.second_key() != Some(key) && !several;
            if !stays {
                woken.push(task.waker.clone());
            }
            stays
        });
        self.awake.fetch_add(woken.len(), SeqCst);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Returns whether any thread sleeps.
    pub(crate) fn any_asleep(&self) -> bool {
        self.sleeping.load(SeqCst) != 0 || self.suspended.load(SeqCst) != 0
    }

    /// Adds a thread of an exploration.
    pub(crate) fn add_task(&self) {
        self.awake.fetch_add(1, SeqCst);
    }

    /// Returns whether a thread of an exploration other than the first one can continue.
    pub(crate) fn any_awake(&self) -> bool {
        self.awake.load(SeqCst) != 0
    }

    /// Removes a thread that has ended or cannot continue. If it was the last one, the waiting threads wait forever,
    /// except the one that waits for this.
    pub(crate) fn remove_task(&self, kernel: &Arc<Kernel>) {
        // The first thread was not counted when it started.
        if self.awake.fetch_sub(1, SeqCst) != 0 {
            return;
        }
        let (sleep, others) = {
            let tasks = locked(&self.tasks);
            let others = tasks.iter().any(|task| task.wait == Wait::Others);
            (!tasks.is_empty(), others)
        };
        if others {
            self.wake(Wait::Others);
        } else if sleep {
            (kernel.upcalls.end_with)((kernel.upcalls.hang)(kernel), kernel);
        }
    }

    /// Wakes every host thread.
    pub(crate) fn wake_all(&self) {
        drop(locked(&self.host));
        self.condition.notify_all();
    }

    fn sleep<R>(
        &self,
        deadline: Option<Instant>,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let mut guard = locked(&self.host);
        self.sleeping.fetch_add(1, SeqCst);
        let result = loop {
            fence(SeqCst);
            if let Some(result) = ready() {
                break Some(result);
            }
            let left = deadline.map_or(Duration::MAX / 4, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                break None;
            }
            let woken = self.condition.wait_timeout(guard, left);
            (guard, _) = woken.unwrap_or_else(PoisonError::into_inner);
        };
        self.sleeping.fetch_sub(1, SeqCst);
        result
    }

    fn suspend<R>(&self, thread: &Thread, wait: Wait, mut ready: impl FnMut() -> Option<R>) -> R {
        self.suspended.fetch_add(1, SeqCst);
        let result = away(|| {
            shuttle::future::block_on(pin!(poll_fn(|context| {
                // `shuttle` can run this again before another thread has woken this one. It is then still recorded as sleeping.
                let mut tasks = locked(&self.tasks);
                let place = tasks.iter().position(|task| task.thread == thread.number);
                if let Some(place) = place {
                    tasks.swap_remove(place);
                    self.awake.fetch_add(1, SeqCst);
                }
                drop(tasks);
                if let Some(result) = ready() {
                    return Poll::Ready(result);
                }
                locked(&self.tasks).push(SleepingThread {
                    thread: thread.number,
                    wait,
                    waker: context.waker().clone(),
                });
                self.remove_task(&thread.kernel);
                Poll::Pending
            })))
        });
        self.suspended.fetch_sub(1, SeqCst);
        result
    }
}

impl Thread {
    /// Waits until `ready` returns a value.
    #[inline]
    pub(crate) fn wait_for<R>(&self, wait: Wait, ready: impl FnMut() -> Option<R>) -> R {
        let result = self.wait_untracked(wait, ready);
        if wait.orders() {
            self.acquire_from(wait.key());
        }
        result
    }

    /// Waits until no other thread of an exploration can continue.
    pub(crate) fn wait_for_others(&self) {
        let sleepers = &self.kernel.sleepers;
        self.wait_for(Wait::Others, || (!sleepers.any_awake()).then_some(()));
        footprint::is_last();
    }

    #[inline]
    fn wait_untracked<R>(&self, wait: Wait, mut ready: impl FnMut() -> Option<R>) -> R {
        // A failed test of the condition has no effect except that the thread sleeps. Whether the test comes before or
        // after the step that wakes the thread, the thread continues after both, so the two are independent.
        let mut ready = || {
            let result = ready();
            wait.touch(match result {
                Some(_) => Access::Exclusive,
                None => Access::Commuting,
            });
            result
        };
        match ready() {
            Some(result) => result,
            None => self.wait_longer(wait, ready),
        }
    }

    /// Waits for an object that is not ready yet.
    #[cold]
    #[inline(never)]
    fn wait_longer<R>(&self, wait: Wait, mut ready: impl FnMut() -> Option<R>) -> R {
        self.note_wait(Some(wait));
        let result = match self.kernel.engine {
            Engine::Shuttle => self.kernel.sleepers.suspend(self, wait, ready),
            Engine::Host if wait.is_short() => self.spin(ready),
            Engine::Host => {
                let or_halted = |ready: &mut dyn FnMut() -> Option<R>| match ready() {
                    Some(result) => Some(Some(result)),
                    None => self.kernel.is_halted().then_some(None),
                };
                let result = match self.pass_virtual_time(wait, &mut ready) {
                    Some(result) => Some(Some(result)),
                    None => self.sleep_watched(|| or_halted(&mut ready)),
                };
                result.flatten().unwrap_or_else(|| self.halt())
            }
        };
        self.note_wait(None);
        result
    }

    /// Sleeps until `ready` returns a value. A user-mode thread that is in the kernel for too long while no other thread
    /// runs there stops the system.
    fn sleep_watched<R>(&self, mut ready: impl FnMut() -> Option<R>) -> Option<R> {
        let start = Instant::now();
        let patience = self.kernel.config.hang_after;
        loop {
            let look = Instant::now() + patience / 4;
            if let Some(result) = self.kernel.sleepers.sleep(Some(look), &mut ready) {
                return Some(result);
            }
            if self.is_user() && start.elapsed() >= patience && self.kernel.nothing_can_continue() {
                self.kernel.stop((self.kernel.upcalls.hang)(&self.kernel));
                self.halt();
            }
        }
    }

    /// Waits in user mode until `ready` returns a value; returns `None` after the deadline, or after the system has
    /// stopped.
    pub(crate) fn wait_until<R>(
        &self,
        wait: Wait,
        deadline: Instant,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        if self.kernel.engine == Engine::Shuttle {
            return Some(self.wait_for(wait, ready));
        }
        loop {
            if let Some(result) = self.pass_virtual_time(wait, &mut ready) {
                return Some(result);
            }
            // Under a virtual clock only a system thread can still end the wait.
            if self.kernel.clock.is_virtual() && !self.kernel.has_system_thread() {
                return ready();
            }
            let soon = deadline.min(Instant::now() + Self::PATIENCE);
            let or_halted = || match ready() {
                Some(result) => Some(Some(result)),
                None => self.kernel.is_halted().then_some(None),
            };
            if let Some(result) = self.kernel.sleepers.sleep(Some(soon), or_halted) {
                return result;
            }
            if Instant::now() >= deadline {
                return None;
            }
            self.kernel.clock.skip();
        }
    }

    /// Advances a virtual clock until `ready` returns a value, while no other thread can run; returns `None` if it
    /// returns none and no timer is left. A system thread leaves this to the user-mode threads.
    fn pass_virtual_time<R>(&self, wait: Wait, mut ready: impl FnMut() -> Option<R>) -> Option<R> {
        let passes = self.kernel.clock.is_virtual() && !matches!(wait, Wait::Actor(_));
        if !passes || self.is_system() {
            return None;
        }
        for _ in 0..MOST_EXPIRATIONS {
            self.kernel.settle();
            if let Some(result) = ready() {
                return Some(result);
            }
            if self.kernel.is_halted() || !(self.kernel.upcalls.expire)(&self.kernel, u64::MAX) {
                return None;
            }
        }
        self.kernel.clock.give_up();
        None
    }

    /// The time that a user-mode thread waits before time is skipped.
    const PATIENCE: Duration = Duration::from_millis(1);

    fn spin<R>(&self, mut ready: impl FnMut() -> Option<R>) -> R {
        loop {
            for _ in 0..64 {
                if let Some(result) = ready() {
                    self.spinning.is_over();
                    return result;
                }
                std::hint::spin_loop();
            }
            if self.kernel.is_halted() {
                self.halt();
            }
            host::yield_now();
            self.watch_spinning("a spin lock or a processor");
        }
    }

    /// A point before a routine whose effect other threads can observe, at which another thread may run first.
    #[inline]
    pub(crate) fn switch_point(&self, routine: &'static str, object: usize) {
        if self.kernel.engine == Engine::Shuttle {
            self.switch(routine, object);
        }
    }

    /// A point before a routine without an effect that other threads can observe, such as an allocation. If the thread holds no lock,
    /// another thread may run between the routine and a test of the driver's before it, such as that of a pointer.
    #[inline]
    pub(crate) fn switch_if_unguarded(&self, routine: &'static str) {
        if self.kernel.engine == Engine::Shuttle
            && self.held.is_empty()
            && locked(&self.mutexes).is_empty()
        {
            self.switch(routine, 0);
        }
    }

    #[inline(never)]
    fn switch(&self, routine: &'static str, object: usize) {
        // If no other thread can continue, there is nothing to choose.
        if self.kernel.sleepers.any_awake() {
            away(|| shuttle::thread::sleep(Duration::ZERO));
        }
        self.kernel.trace(self, routine, object);
        self.count_step(routine);
    }

    /// Like [`Thread::switch_point`], in a loop that waits for another thread.
    pub(crate) fn yield_processor(&self) {
        match self.kernel.engine {
            Engine::Host => {
                host::yield_now();
                self.watch_spinning("YieldProcessor");
            }
            Engine::Shuttle => {
                away(shuttle::thread::yield_now);
                self.count_step("YieldProcessor");
            }
        }
        if self.kernel.is_halted() {
            self.halt();
        }
    }

    /// Stops this thread forever.
    pub(crate) fn halt(&self) -> ! {
        match self.kernel.engine {
            Engine::Host => loop {
                host::park();
            },
            Engine::Shuttle => away(|| shuttle::future::block_on(std::future::pending())),
        }
    }
}

/// Lets other threads run, and then this one again.
pub(crate) fn away<R>(switch: impl FnOnce() -> R) -> R {
    let thread = thread::replace_current(null());
    let mode = thread::set_mode(thread::Mode::User);
    let result = switch();
    thread::set_mode(mode);
    thread::replace_current(thread);
    result
}
