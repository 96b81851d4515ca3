//! Threads and their state.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    ffi::c_void,
    fmt,
    io::Write,
    ops::Deref,
    ptr::{NonNull, null},
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed,
        },
    },
};

use backtrace::Backtrace;

use crate::{
    host::{
        Kernel,
        order::VectorClock,
        process::Process,
        spinning::Spinning,
        wait::{Engine, Wait, away},
    },
    mutex::locked,
    verifier::{callers_on, held::HeldLocks, lock_order::KnownOrder},
};

/// The code that a thread runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// User-mode code: the test or the harness.
    User,
    /// The model.
    Kernel,
    /// The driver, whose allocations come from the pool.
    Driver,
}

thread_local! {
    /// The thread that runs, or NULL. It is kept by the [`Attached`] that has set it.
    static CURRENT: Cell<*const Thread> = const { Cell::new(null()) };
    /// The thread that this host thread was in the kernel that it entered last.
    static HOST: RefCell<Option<Arc<Thread>>> = const { RefCell::new(None) };
    /// Separate from the thread, since the allocator can read it at any time.
    static MODE: Cell<Mode> = const { Cell::new(Mode::User) };
}

/// The purpose of a thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A thread of the test or of the harness.
    User,
    /// A system thread of the driver, or a system worker thread.
    System,
    /// The thread that expires timers.
    Timers,
}

/// A thread of the model.
pub(crate) struct Thread {
    pub(crate) kernel: Arc<Kernel>,
    /// The number by which a lock identifies its owner; not zero.
    pub(crate) number: u32,
    pub(super) name: Cow<'static, str>,
    role: Role,
    irql: AtomicU8,
    /// The processor on which the thread runs at `DISPATCH_LEVEL`, or last ran at that IRQL.
    processor: AtomicU32,
    /// The processors that a driver has set as the affinity of the thread, a bit for each; zero if it has not.
    pub(crate) affinity: AtomicU64,
    /// The spin locks that the thread holds, the innermost last.
    pub(crate) held: HeldLocks,
    /// The mutexes and the resources that the thread owns: the address of each, and what it is.
    pub(crate) mutexes: Mutex<Vec<(usize, &'static str)>>,
    /// The processes to which the thread is attached, the last one last, each with the address of the state that it was stored in.
    pub(crate) attached: Mutex<Vec<(usize, Process)>>,
    /// How many critical regions the thread has entered and not left.
    pub(crate) critical_regions: AtomicU32,
    /// How many guarded regions the thread has entered and not left.
    pub(crate) guarded_regions: AtomicU32,
    pub(crate) waits_for: Mutex<Option<Wait>>,
    /// The object that was pulsed while the thread waited for it; zero if none was.
    pub(crate) pulsed: AtomicUsize,
    /// The stack at the wait, if it is recorded.
    waits_at: Mutex<Option<Backtrace>>,
    /// Whether the last routine has announced that a wait follows.
    pub(crate) must_wait: AtomicBool,
    pub(crate) in_dpc: AtomicBool,
    /// Whether the DPC is a threaded one.
    pub(crate) in_threaded_dpc: AtomicBool,
    pub(crate) spinning: Spinning,
    /// Whether a PnP request is sent to the device that this thread is adding, before the next routine that it calls.
    pub(crate) is_probed: AtomicBool,
    /// The entry that the thread last inserted into an interlocked list.
    pub(crate) inserted_last: AtomicPtr<nt::LIST_ENTRY>,
    pub(crate) known_order: Mutex<KnownOrder>,
    /// Where a system thread of the driver continues that ends in its routine; NULL in another thread.
    pub(crate) exit: AtomicPtr<c_void>,
    /// The start of the stack of the driver routine that runs, and the objects that it has initialised on it.
    pub(crate) frame: AtomicUsize,
    /// The start of the stack of the outermost driver routine; zero if none runs.
    pub(crate) stack_base: AtomicUsize,
    pub(crate) on_stack: Mutex<Vec<usize>>,
    /// The IRP that the current driver routine last passed down.
    pub(crate) passed: ThreadOwned<Cell<Option<PassedIrp>>>,
    /// The IRP that the current dispatch routine was called for.
    pub(crate) serving: ThreadOwned<Cell<Option<DispatchedIrp>>>,
    /// The event of the request whose completion routine runs, and whether the routine has set it; zero if it has no event.
    pub(crate) request_event: ThreadOwned<Cell<(usize, bool)>>,
    /// The steps of other threads that happened before.
    pub(crate) order: Mutex<VectorClock>,
    /// The last routines that the thread has entered.
    recent: ThreadOwned<Recent>,
}

/// Returns the address of the object of the thread with a number, where user mode has no memory.
pub(crate) const fn object_of(number: u32) -> usize {
    const THREADS: usize = 0xffff_8000_0000_0000;
    const SIZE: usize = 0x1000;
    THREADS + SIZE * number as usize
}

/// An IRP that a driver has passed to a lower driver.
#[derive(Clone, Copy)]
pub(crate) struct PassedIrp {
    /// The address of the IRP.
    pub(crate) irp: usize,
    /// The number of the lower driver's stack location.
    pub(crate) location: i8,
    /// The status that the lower driver returned.
    pub(crate) status: i32,
}

/// The IRP of a dispatch routine, as the routine got it.
#[derive(Clone, Copy)]
pub(crate) struct DispatchedIrp {
    /// The address of the IRP.
    pub(crate) irp: usize,
    /// The number of its stack location.
    pub(crate) location: i8,
    /// The completion routine in that location, which is the upper driver's, and its context.
    pub(crate) completion: (usize, usize),
    /// Whether it is a request of a file, whose thread user mode can suspend.
    pub(crate) is_of_file: bool,
}

/// The number of routines in `recent`.
const RECENT: usize = 8;

#[derive(Default)]
struct Recent {
    routines: [Cell<&'static str>; RECENT],
    count: Cell<usize>,
}

/// State that only the thread itself uses.
#[derive(Default)]
pub(crate) struct ThreadOwned<T>(T);

// SAFETY: only the thread itself uses this, and it is the current thread of one host thread at a time.
unsafe impl<T: Send> Sync for ThreadOwned<T> {}

impl<T> Deref for ThreadOwned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Thread {
    /// Makes a thread at `PASSIVE_LEVEL`.
    pub(crate) fn new(kernel: &Arc<Kernel>, name: impl Into<Cow<'static, str>>) -> Arc<Self> {
        Self::make(kernel, name, Role::User)
    }

    /// Makes a system thread at `PASSIVE_LEVEL`.
    pub(crate) fn new_system(
        kernel: &Arc<Kernel>,
        name: impl Into<Cow<'static, str>>,
    ) -> Arc<Self> {
        Self::make(kernel, name, Role::System)
    }

    /// Makes a thread that expires timers.
    pub(crate) fn new_of_timers(kernel: &Arc<Kernel>) -> Arc<Self> {
        Self::make(kernel, "timers", Role::Timers)
    }

    fn make(kernel: &Arc<Kernel>, name: impl Into<Cow<'static, str>>, role: Role) -> Arc<Self> {
        let number = kernel.next_thread();
        let thread = Arc::new(Self {
            kernel: Arc::clone(kernel),
            number,
            name: name.into(),
            role,
            irql: AtomicU8::new(0),
            // Each thread has a processor of its own as long as there are enough, and so keeps it.
            processor: AtomicU32::new((number - 1) % kernel.config.processors.clamp(1, 64)),
            affinity: AtomicU64::new(0),
            held: HeldLocks::default(),
            mutexes: Mutex::default(),
            attached: Mutex::default(),
            critical_regions: AtomicU32::new(0),
            guarded_regions: AtomicU32::new(0),
            waits_for: Mutex::default(),
            pulsed: AtomicUsize::new(0),
            waits_at: Mutex::default(),
            must_wait: AtomicBool::new(false),
            in_dpc: AtomicBool::new(false),
            in_threaded_dpc: AtomicBool::new(false),
            spinning: Spinning::default(),
            is_probed: AtomicBool::new(false),
            inserted_last: AtomicPtr::default(),
            known_order: Mutex::default(),
            exit: AtomicPtr::default(),
            frame: AtomicUsize::new(0),
            stack_base: AtomicUsize::new(0),
            on_stack: Mutex::default(),
            passed: ThreadOwned::default(),
            serving: ThreadOwned::default(),
            request_event: ThreadOwned::default(),
            order: Mutex::new(Self::clock_of_maker()),
            recent: ThreadOwned::default(),
        });
        kernel.add_thread(&thread);
        thread
    }

    /// Returns whether this is a system thread: of the driver, or a system worker thread.
    pub(crate) fn is_system(&self) -> bool {
        self.role == Role::System
    }

    /// Returns the address of the thread object, where user mode has no memory.
    pub(crate) fn object(&self) -> usize {
        object_of(self.number)
    }

    /// Returns whether this is the thread that expires timers.
    pub(crate) fn is_of_timers(&self) -> bool {
        self.role == Role::Timers
    }

    /// Returns whether this is a user-mode thread in a system call.
    pub(crate) fn is_user(&self) -> bool {
        self.role == Role::User
    }

    /// Returns the number of bytes between the current stack frame and that of the outermost driver routine.
    #[inline]
    pub(crate) fn stack_depth(&self) -> usize {
        let here = 0_u8;
        let base = self.stack_base.load(Relaxed);
        base.saturating_sub((&raw const here).addr())
    }

    /// Records that the thread enters a routine.
    #[inline]
    pub(crate) fn note_routine(&self, routine: &'static str) {
        let Recent { routines, count } = &*self.recent;
        routines[count.get() % RECENT].set(routine);
        count.set(count.get().wrapping_add(1));
    }

    /// Returns the routine that the thread entered last.
    #[cfg(target_os = "linux")]
    pub(crate) fn last_routine(&self) -> &'static str {
        let Recent { routines, count } = &*self.recent;
        let last = count.get().checked_sub(1);
        last.map_or("no routine", |last| routines[last % RECENT].get())
    }

    /// Returns a description of the routines that the thread entered last.
    #[cfg(target_os = "linux")]
    pub(crate) fn recent_routines(&self) -> String {
        let Recent { routines, count } = &*self.recent;
        let first = count.get().saturating_sub(RECENT);
        let names = (first..count.get()).map(|place| routines[place % RECENT].get());
        let names: Vec<_> = names.collect();
        format!("it has entered {}", names.join(", "))
    }

    /// Records the wait that the thread begins, and the stack if the wait can be long.
    pub(crate) fn note_wait(&self, wait: Option<Wait>) {
        let notes = self.kernel.engine == Engine::Host || self.kernel.config.locations;
        let stays = wait.is_some_and(|wait| notes && !wait.is_short());
        *locked(&self.waits_at) = stays.then(Backtrace::new_unresolved);
        *locked(&self.waits_for) = wait;
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
    /// Records that the thread owns a mutex or a resource.
    pub(crate) fn own(&self, object: usize, kind: &'static str) {
        locked(&self.mutexes).push((object, kind));
    }

    pub(crate) fn disown(&self, object: usize) {
        locked(&self.mutexes).retain(|(owned, _)| *owned != object);
    }

    /// Returns the addresses of the mutexes and the resources that the thread owns.
    pub(crate) fn owned(&self) -> Vec<usize> {
        let owned = locked(&self.mutexes);
        owned.iter().map(|(object, _)| *object).collect()
    }
}

impl Thread {
    /// Starts the thread: as a host thread, or as one that the scheduler of an exploration runs.
    pub(crate) fn start(self: Arc<Self>, body: impl FnOnce(&Arc<Kernel>) + Send + 'static) {
        match self.kernel.engine {
            Engine::Host => drop(std::thread::spawn(move || {
                let _attached = Attached::as_thread(Arc::clone(&self));
                body(&self.kernel);
            })),
            Engine::Shuttle => {
                self.kernel.sleepers.add_task();
                let body = move || {
                    let _attached = Attached::as_thread(Arc::clone(&self));
                    body(&self.kernel);
                    self.kernel.sleepers.remove_task(&self.kernel);
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
        for held in self.held.all().iter() {
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

/// The current thread of the model. A reference count would have to be changed in every routine, which takes too long.
/// Instead the [`Attached`] in a frame below keeps the thread.
pub(crate) struct CurrentThread(NonNull<Thread>);

impl Deref for CurrentThread {
    type Target = Thread;

    #[inline]
    fn deref(&self) -> &Thread {
        // SAFETY: the `Attached` that has set the current thread keeps it until it is dropped. It is in a frame below that of this
        // value, which is not sent to another host thread, or in a coroutine that is suspended.
        unsafe { self.0.as_ref() }
    }
}

/// Returns the current thread of the model. Ends the program if there is none, since a routine then has no kernel.
#[inline]
pub(crate) fn current(routine: &str) -> CurrentThread {
    try_current().unwrap_or_else(|| is_outside(routine))
}

#[cold]
fn is_outside(routine: &str) -> ! {
    let what = "is called in a thread that has not entered a kernel";
    // Written directly, as a violation is, so that the test harness does not capture the message.
    let _ = writeln!(std::io::stderr(), "ntmodel: {routine} {what}");
    std::process::abort()
}

/// Returns the current thread, if it is one of the model's.
#[inline]
pub(crate) fn try_current() -> Option<CurrentThread> {
    NonNull::new(CURRENT.get().cast_mut()).map(CurrentThread)
}

/// Sets the current thread, which its [`Attached`] keeps; returns the previous one.
pub(crate) fn replace_current(thread: *const Thread) -> *const Thread {
    CURRENT.replace(thread)
}

/// Sets the mode of the current thread; returns the previous mode.
#[inline]
pub(crate) fn set_mode(mode: Mode) -> Mode {
    MODE.replace(mode)
}

/// Returns the mode of the current thread.
#[inline]
pub(crate) fn mode() -> Mode {
    MODE.get()
}

/// Makes a host thread a thread of a kernel while this value lives.
pub(crate) struct Attached {
    _thread: Arc<Thread>,
    before: *const Thread,
}

impl Attached {
    /// Makes the calling host thread a thread of the kernel, if it is not one already.
    pub(crate) fn to(kernel: &Arc<Kernel>) -> Option<Self> {
        let of_kernel = |thread: &&Arc<Thread>| Arc::ptr_eq(&thread.kernel, kernel);
        if try_current().is_some_and(|current| Arc::ptr_eq(&current.kernel, kernel)) {
            return None;
        }
        let thread = HOST.with_borrow_mut(|host| {
            if let Some(thread) = host.as_ref().filter(of_kernel) {
                return Arc::clone(thread);
            }
            let name = std::thread::current().name().map(str::to_owned);
            let name = name.map_or(Cow::Borrowed("thread"), Cow::Owned);
            Arc::clone(host.insert(Thread::new(kernel, name)))
        });
        Some(Self::as_thread(thread))
    }

    /// Makes a thread the current one.
    pub(crate) fn as_thread(thread: Arc<Thread>) -> Self {
        Self {
            before: replace_current(Arc::as_ptr(&thread)),
            _thread: thread,
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        replace_current(self.before);
    }
}
