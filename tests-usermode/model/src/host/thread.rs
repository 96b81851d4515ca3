//! Threads: what each carries with it.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, Ordering::Relaxed},
    },
};

use backtrace::Backtrace;

use crate::{
    host::{
        Kernel,
        order::VectorClock,
        spinning::Spinning,
        wait::{Engine, Wait, away},
    },
    mutex::locked,
    verifier::{callers_on, held::Held, lock_order::KnownOrder},
};

/// Whose code a thread runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The test's or the harness', in user mode.
    User,
    /// The model's.
    Kernel,
    /// The driver's: what it allocates comes from the pool.
    Driver,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Thread>>> = const { RefCell::new(None) };
    /// What this thread of the host was in the kernel that it entered last.
    static HOST: RefCell<Option<Arc<Thread>>> = const { RefCell::new(None) };
    /// Apart from the thread, since the allocator asks for it at any time.
    static MODE: Cell<Mode> = const { Cell::new(Mode::User) };
}

/// What a thread is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The test's or the harness'.
    User,
    /// The driver's own, or a worker.
    System,
    /// Lets timers expire.
    Timers,
}

/// A thread of the model.
pub(crate) struct Thread {
    pub(crate) kernel: Arc<Kernel>,
    /// What it is called by in a lock's word; not zero.
    pub(crate) number: u32,
    name: String,
    role: Role,
    irql: AtomicU8,
    /// The processor that it runs on at `DISPATCH_LEVEL`, and ran on last below.
    processor: AtomicU32,
    /// The locks that it holds, the innermost last.
    pub(crate) held: Mutex<Vec<Held>>,
    /// The mutexes that it has, by their addresses.
    pub(crate) mutexes: Mutex<Vec<usize>>,
    pub(crate) waits_for: Mutex<Option<Wait>>,
    /// Where it waits, if that is noted.
    waits_at: Mutex<Option<Backtrace>>,
    pub(crate) in_dpc: AtomicBool,
    pub(crate) spinning: Spinning,
    /// Whether a PnP request is sent to the device that this thread is adding before its next routine of the kernel.
    pub(crate) is_probed: AtomicBool,
    /// The entry that it inserted last into an interlocked list.
    pub(crate) inserted_last: AtomicPtr<nt::LIST_ENTRY>,
    pub(crate) known_order: Mutex<KnownOrder>,
    /// The IRP that the driver's routine that runs has passed on last, by its address, and what the lower driver returned.
    pub(crate) passed: Mutex<Option<(usize, i32)>>,
    /// Which steps of other threads it comes after.
    pub(crate) order: Mutex<VectorClock>,
    /// The routines that it has entered, of which the last ones are kept.
    recent: Mutex<Recent>,
}

/// How many routines are kept.
const RECENT: usize = 8;

#[derive(Default)]
struct Recent {
    routines: [&'static str; RECENT],
    count: usize,
}

impl Thread {
    /// A new thread, at `PASSIVE_LEVEL`.
    pub(crate) fn new(kernel: &Arc<Kernel>, name: impl Into<String>) -> Arc<Self> {
        Self::make(kernel, name, Role::User)
    }

    /// A new system thread, at `PASSIVE_LEVEL`.
    pub(crate) fn new_system(kernel: &Arc<Kernel>, name: impl Into<String>) -> Arc<Self> {
        Self::make(kernel, name, Role::System)
    }

    /// A new thread that lets timers expire.
    pub(crate) fn new_of_timers(kernel: &Arc<Kernel>) -> Arc<Self> {
        Self::make(kernel, "timers", Role::Timers)
    }

    fn make(kernel: &Arc<Kernel>, name: impl Into<String>, role: Role) -> Arc<Self> {
        let thread = Arc::new(Self {
            kernel: Arc::clone(kernel),
            number: kernel.next_thread(),
            name: name.into(),
            role,
            irql: AtomicU8::new(0),
            processor: AtomicU32::new(0),
            held: Mutex::default(),
            mutexes: Mutex::default(),
            waits_for: Mutex::default(),
            waits_at: Mutex::default(),
            in_dpc: AtomicBool::new(false),
            spinning: Spinning::default(),
            is_probed: AtomicBool::new(false),
            inserted_last: AtomicPtr::default(),
            known_order: Mutex::default(),
            passed: Mutex::default(),
            order: Mutex::new(Self::clock_of_maker()),
            recent: Mutex::default(),
        });
        kernel.add_thread(&thread);
        thread
    }

    /// Whether it is a system thread: the driver's own, or a worker.
    pub(crate) fn is_system(&self) -> bool {
        self.role == Role::System
    }

    /// Whether it lets timers expire.
    pub(crate) fn is_of_timers(&self) -> bool {
        self.role == Role::Timers
    }

    /// Whether it is a thread of user mode, in a system call.
    pub(crate) fn is_user(&self) -> bool {
        self.role == Role::User
    }

    /// Notes that it enters a routine.
    pub(crate) fn note_routine(&self, routine: &'static str) {
        let mut recent = locked(&self.recent);
        let place = recent.count % RECENT;
        recent.routines[place] = routine;
        recent.count += 1;
    }

    /// The routine that it has entered last.
    #[cfg(target_os = "linux")]
    pub(crate) fn last_routine(&self) -> &'static str {
        let recent = locked(&self.recent);
        let last = recent.count.checked_sub(1);
        last.map_or("no routine", |last| recent.routines[last % RECENT])
    }

    /// The routines that it has entered last, in words.
    #[cfg(target_os = "linux")]
    pub(crate) fn recent_routines(&self) -> String {
        let recent = locked(&self.recent);
        let first = recent.count.saturating_sub(RECENT);
        let names = (first..recent.count).map(|place| recent.routines[place % RECENT]);
        let names: Vec<_> = names.collect();
        format!("it has entered {}", names.join(", "))
    }

    /// Notes what it waits for from now on, and where if it may wait for long.
    pub(crate) fn note_wait(&self, wait: Option<Wait>) {
        *locked(&self.waits_for) = wait;
        let notes = self.kernel.engine == Engine::Host || self.kernel.config.locations;
        let stays = wait.is_some_and(|wait| notes && !wait.is_short());
        *locked(&self.waits_at) = stays.then(Backtrace::new_unresolved);
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn irql(&self) -> u8 {
        self.irql.load(Relaxed)
    }

    pub(crate) fn set_irql(&self, irql: u8) {
        self.irql.store(irql, Relaxed);
    }

    pub(crate) fn processor(&self) -> u32 {
        self.processor.load(Relaxed)
    }

    pub(crate) fn set_processor(&self, processor: u32) {
        self.processor.store(processor, Relaxed);
    }
}

impl Thread {
    /// Starts a thread of the kernel: one of the host's, or one that runs in turn with the others.
    pub(crate) fn start(self: Arc<Self>, body: impl FnOnce(&Arc<Kernel>) + Send + 'static) {
        match self.kernel.engine {
            Engine::Host => drop(std::thread::spawn(move || {
                let _attached = Attached::as_thread(Arc::clone(&self));
                body(&self.kernel);
            })),
            Engine::Shuttle => {
                self.kernel.sleepers.task_starts();
                let body = move || {
                    let _attached = Attached::as_thread(Arc::clone(&self));
                    body(&self.kernel);
                    self.kernel.sleepers.one_less(&self.kernel);
                };
                drop(away(|| shuttle::thread::spawn(body)));
            }
        }
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at IRQL {}", self.name, self.irql())?;
        if self.irql() >= nt::DISPATCH_LEVEL {
            write!(f, " on processor {}", self.processor())?;
        }
        for held in locked(&self.held).iter() {
            write!(f, ", holds {held}")?;
        }
        let wait = *locked(&self.waits_for);
        if let Some(wait) = wait {
            write!(f, ", waits for {wait}")?;
            if let Some(holders) = self.kernel.holders(wait) {
                write!(f, ", {holders}")?;
            }
            if let Some(stack) = &*locked(&self.waits_at) {
                let callers = callers_on(stack, 4);
                write!(f, ", in {}", callers.join(" < "))?;
            }
        }
        Ok(())
    }
}

/// The model's thread that runs. A routine that is called from none at all has no kernel to work on.
pub(crate) fn current(routine: &str) -> Arc<Thread> {
    let current = CURRENT.with_borrow(Clone::clone);
    current.unwrap_or_else(|| {
        let what = "is called in a thread that is in no kernel";
        // As for a violation: past what a test keeps to itself.
        let _ = writeln!(std::io::stderr(), "ntmodel: {routine} {what}");
        std::process::abort()
    })
}

/// The thread that runs, if it is one of the model's.
pub(crate) fn try_current() -> Option<Arc<Thread>> {
    let current = CURRENT.try_with(|current| current.try_borrow().ok()?.clone());
    current.ok()?
}

/// Makes another thread the one that runs here, and gives the one before back.
pub(crate) fn replace_current(thread: Option<Arc<Thread>>) -> Option<Arc<Thread>> {
    CURRENT.replace(thread)
}

/// Says whose code runs from now on, and tells whose did before.
pub(crate) fn set_mode(mode: Mode) -> Mode {
    MODE.replace(mode)
}

/// Whose code runs.
pub(crate) fn mode() -> Mode {
    MODE.get()
}

/// A thread of the host as a thread of the kernel, for as long as this lives.
pub(crate) struct Attached {
    before: Option<Arc<Thread>>,
}

impl Attached {
    /// Makes the thread that calls this one of the kernel's, if it is not yet.
    pub(crate) fn to(kernel: &Arc<Kernel>) -> Option<Self> {
        let of_kernel = |thread: &Arc<Thread>| Arc::ptr_eq(&thread.kernel, kernel);
        if CURRENT.with_borrow(|current| current.as_ref().is_some_and(of_kernel)) {
            return None;
        }
        let thread = HOST.with_borrow_mut(|host| {
            if !host.as_ref().is_some_and(of_kernel) {
                let name = std::thread::current().name().map(str::to_owned);
                let name = name.unwrap_or_else(|| "thread".into());
                *host = Some(Thread::new(kernel, name));
            }
            host.clone()
        });
        Some(Self {
            before: replace_current(thread),
        })
    }

    /// Makes a thread the one that runs here.
    pub(crate) fn as_thread(thread: Arc<Thread>) -> Self {
        Self {
            before: replace_current(Some(thread)),
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        replace_current(self.before.take());
    }
}
