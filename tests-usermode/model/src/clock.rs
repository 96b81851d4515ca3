//! Time: the host's, or a virtual one; and the timers that expire in it.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nt::DISPATCH_LEVEL;

use crate::{
    Clock, Rule,
    bug_check::BugCheck,
    call::Call,
    kernel::Kernel,
    layout::Timer,
    thread::{Attached, Thread},
    wait::{Engine, Wait, locked},
};

/// Units of 100 ns, as the kernel counts time.
pub(crate) fn units(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / 100).unwrap_or(u64::MAX)
}

/// What keeps the time.
pub(crate) struct TimeKeeper {
    /// The time now, if it is virtual.
    now: Option<AtomicU64>,
    timers: Arc<Timers>,
    /// Whether an exploration has a thread that lets timers expire.
    exploring: AtomicBool,
}

/// The timers that are set. Shared with the thread that waits for them in the host's time.
struct Timers {
    start: Instant,
    /// How much time was skipped.
    skipped: AtomicU64,
    /// By when they are due, and a number that tells apart those which are due at the same time.
    set: Mutex<BTreeMap<(u64, u64), usize>>,
    last: AtomicU64,
    changed: Condvar,
    ends: AtomicBool,
}

impl Timers {
    /// The host's time, and what was skipped.
    fn now(&self) -> u64 {
        units(self.start.elapsed()).saturating_add(self.skipped.load(Ordering::Relaxed))
    }
}

impl TimeKeeper {
    pub(crate) fn new(clock: Clock, engine: Engine) -> Self {
        let is_virtual = clock == Clock::Virtual || engine == Engine::Shuttle;
        Self {
            now: is_virtual.then(|| AtomicU64::new(0)),
            timers: Arc::new(Timers {
                start: Instant::now(),
                skipped: AtomicU64::new(0),
                set: Mutex::default(),
                last: AtomicU64::new(0),
                changed: Condvar::new(),
                ends: AtomicBool::new(false),
            }),
            exploring: AtomicBool::new(false),
        }
    }

    /// Skips the time until the next timer: somebody has waited for a while, and so a run takes no longer than there is
    /// something to do.
    pub(crate) fn skip(&self) {
        let timers = &self.timers;
        let set = locked(&timers.set);
        if let Some((&(due, _), _)) = set.first_key_value() {
            let left = due.saturating_sub(timers.now());
            timers.skipped.fetch_add(left, Ordering::Relaxed);
            drop(set);
            timers.changed.notify_all();
        }
    }

    /// Whether the time only goes on when nothing else can happen.
    pub(crate) fn is_virtual(&self) -> bool {
        self.now.is_some()
    }

    /// The time now, in units of 100 ns.
    pub(crate) fn now(&self) -> u64 {
        match &self.now {
            Some(now) => now.load(Ordering::Relaxed),
            None => self.timers.now(),
        }
    }

    /// Looks at the clock, by which a virtual one goes on.
    fn look(&self) -> u64 {
        match &self.now {
            Some(now) => now.fetch_add(1, Ordering::Relaxed) + 1,
            None => self.now(),
        }
    }

    fn key(&self) -> usize {
        Arc::as_ptr(&self.timers).addr()
    }

    /// Sets a timer; says whether it was set before.
    pub(crate) fn set(&self, kernel: &Kernel, timer: usize, due: u64) -> bool {
        let mut set = locked(&self.timers.set);
        let before = set.len();
        set.retain(|_, other| *other != timer);
        let was_set = set.len() != before;
        let number = self.timers.last.fetch_add(1, Ordering::Relaxed);
        set.insert((due, number), timer);
        drop(set);
        self.timers.changed.notify_all();
        kernel.sleepers.wake(Wait::Timer(self.key()));
        was_set
    }

    /// Cancels a timer; says whether it was set.
    pub(crate) fn cancel(&self, timer: usize) -> bool {
        let mut set = locked(&self.timers.set);
        let before = set.len();
        set.retain(|_, other| *other != timer);
        set.len() != before
    }

    /// Whether a timer is set.
    pub(crate) fn is_set(&self, timer: usize) -> bool {
        locked(&self.timers.set)
            .values()
            .any(|other| *other == timer)
    }

    /// A timer that is set and has its memory in a range.
    pub(crate) fn any_set_in(&self, range: &Range<usize>) -> Option<usize> {
        let set = locked(&self.timers.set);
        let mut set = set.values().copied();
        set.find(|timer| range.contains(timer))
    }

    /// Whether any timer is set.
    pub(crate) fn any_set(&self) -> bool {
        !locked(&self.timers.set).is_empty()
    }

    /// Takes the timer that is due next, no later than a time, and fires it before anybody can ask for it. A virtual clock
    /// is put forward to it.
    fn take_next(&self, until: u64, fire: impl FnOnce(usize)) -> bool {
        let mut set = locked(&self.timers.set);
        let Some((&(due, number), &timer)) = set.first_key_value() else {
            return false;
        };
        if due > until {
            return false;
        }
        set.remove(&(due, number));
        if let Some(now) = &self.now {
            now.fetch_max(due, Ordering::Relaxed);
        }
        fire(timer);
        true
    }

    /// Ends the thread that waits for timers.
    pub(crate) fn shut_down(&self) {
        self.timers.ends.store(true, Ordering::SeqCst);
        drop(locked(&self.timers.set));
        self.timers.changed.notify_all();
    }
}

/// Starts a thread that waits for timers, where time goes on by itself.
pub(crate) fn start(kernel: &Arc<Kernel>) {
    if kernel.clock.is_virtual() {
        return;
    }
    let timers = Arc::clone(&kernel.clock.timers);
    let kernel = Arc::downgrade(kernel);
    std::thread::spawn(move || {
        loop {
            let mut set = locked(&timers.set);
            let due = loop {
                if timers.ends.load(Ordering::SeqCst) {
                    return;
                }
                let next = set.first_key_value().map(|(&(due, _), _)| due);
                let now = timers.now();
                let left = match next {
                    Some(due) if due <= now => break due,
                    Some(due) => Duration::from_nanos(100 * (due - now)),
                    None => Duration::MAX / 4,
                };
                let woken = timers.changed.wait_timeout(set, left);
                (set, _) = woken.unwrap_or_else(PoisonError::into_inner);
            };
            drop(set);
            let Some(kernel) = kernel.upgrade() else {
                return;
            };
            let _attached = Attached::as_thread(Thread::new_of_timers(&kernel));
            expire(&kernel, due);
        }
    });
}

/// Lets the next timer expire, if it is due by then: queues its DPC on a processor, and runs that. Whoever cancels the
/// timer finds it set, or finds the DPC queued.
fn expire(kernel: &Arc<Kernel>, until: u64) -> bool {
    let call = Call::enter("a timer expires");
    let old_irql = call.raise_irql(DISPATCH_LEVEL);
    let mut woken = None;
    let expired = kernel.clock.take_next(until, |timer| {
        // SAFETY: a timer that is set is alive: its memory is the driver's until it is cancelled.
        let object = unsafe { &*std::ptr::with_exposed_provenance::<Timer>(timer) };
        let dpc = object.dpc.get();
        // Whoever waits for it may free it from here on.
        object.header.signal.store(1, Ordering::Release);
        woken = Some(Wait::Object(timer));
        if !dpc.is_null() {
            let now = kernel.clock.now();
            let [low, high] = [now & 0xffff_ffff, now >> 32].map(|half| {
                std::ptr::without_provenance_mut(usize::try_from(half).unwrap_or_default())
            });
            call.queue_dpc(dpc, low, high);
        }
    });
    if let Some(wait) = woken {
        kernel.sleepers.wake(wait);
    }
    call.lower_irql(old_irql);
    expired
}

/// Lets a time pass by a virtual clock, with whatever expires in it.
pub(crate) fn advance(kernel: &Arc<Kernel>, time: Duration) {
    let until = kernel.clock.now().saturating_add(units(time));
    kernel.settle();
    while expire(kernel, until) {
        kernel.settle();
    }
    if let Some(now) = &kernel.clock.now {
        now.fetch_max(until, Ordering::Relaxed);
    }
}

/// Starts the thread of an exploration that lets timers expire, with the first timer: there is one thread less to run in
/// turn where there is none.
pub(crate) fn start_exploring(kernel: &Arc<Kernel>) {
    let explores = kernel.engine == Engine::Shuttle;
    if explores && !kernel.clock.exploring.swap(true, Ordering::SeqCst) {
        Thread::new_of_timers(kernel).start(let_expire);
    }
}

/// Lets each timer expire whenever the scheduler likes, but in the order in which they are due, until the kernel is shut down
/// and none is set.
fn let_expire(kernel: &Arc<Kernel>) {
    loop {
        let call = Call::enter("a timer expires");
        let clock = &kernel.clock;
        let more = call.wait_for(Wait::Timer(clock.key()), || {
            let ends = clock.timers.ends.load(Ordering::SeqCst);
            (clock.any_set() || ends).then_some(clock.any_set())
        });
        if !more {
            return;
        }
        call.switch_point("a timer expires", clock.key());
        drop(call);
        expire(kernel, u64::MAX);
    }
}

/// Ends that thread.
pub(crate) fn end_exploring(kernel: &Kernel) {
    kernel.clock.shut_down();
    kernel.sleepers.wake(Wait::Timer(kernel.clock.key()));
}

impl Kernel {
    /// What time it is: since the kernel was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.clock.now().saturating_mul(100))
    }

    /// Lets the next timer expire while a thread waits; says whether there was one.
    pub(crate) fn pass_time(self: &Arc<Self>) -> bool {
        expire(self, u64::MAX)
    }
}

impl Call {
    /// Stops the system if a timer is still set, whose memory or driver goes.
    pub(crate) fn require_no_timer(&self) {
        self.require(!self.kernel.clock.any_set(), Rule::Dpc, || {
            let what = "the driver is unloaded while a timer of its is set";
            (BugCheck(0xce, [0; 4]), what.into())
        });
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn KeQueryPerformanceCounter(frequency: *mut i64) -> i64 {
    let call = Call::enter("KeQueryPerformanceCounter");
    if !frequency.is_null() {
        // SAFETY: the caller gives NULL or room for the frequency.
        unsafe { frequency.write(10_000_000) };
    }
    call.kernel.clock.look().cast_signed()
}
