//! Calls of kernel routines by the driver, and of driver routines by the kernel.

use std::{
    borrow::Cow,
    ffi::c_void,
    fmt,
    ops::Deref,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    host::{
        driver_routine::DriverRoutine,
        fault,
        footprint::{self, Access},
        layout::FREED,
        thread::{self, CurrentThread, Mode, Thread},
    },
    mutex::locked,
    verifier::{BugCheck, Finding, Rule, UNEXPECTED_KERNEL_MODE_TRAP, Violation, callers},
};

/// A routine that runs in a thread of the model. Until this value is dropped, the thread runs kernel code, not driver
/// code.
pub(crate) struct Call {
    thread: CurrentThread,
    routine: &'static str,
    mode: Mode,
}

/// The thread that has called a routine, and the source line in the driver if it is recorded.
#[derive(Clone)]
pub(crate) struct Caller {
    thread: Cow<'static, str>,
    place: Option<String>,
}

impl Call {
    /// Enters a routine whose accesses are unknown. If the system has stopped, the thread stops here.
    pub(crate) fn enter(routine: &'static str) -> Self {
        footprint::touch_everything();
        Self::enter_noted(routine)
    }

    /// Enters a routine that records those of its accesses that other threads can observe.
    #[expect(
        clippy::inline_always,
        reason = "most of the time of a call is that of moving the result"
    )]
    #[inline(always)]
    pub(crate) fn enter_noted(routine: &'static str) -> Self {
        let mode = thread::set_mode(Mode::Kernel);
        let thread = thread::current(routine);
        thread.note_routine(routine);
        if mode != Mode::Kernel {
            footprint::touch_memory();
        }
        if thread.kernel.is_halted()
            || thread.stack_depth() > thread.kernel.config.kernel_stack
            || thread.must_wait.load(Ordering::Relaxed)
            || thread.is_probed.load(Ordering::Relaxed)
        {
            Self::entered_specially(routine);
        }
        Self {
            thread,
            routine,
            mode,
        }
    }

    /// Enters a routine after the system has stopped, with too much on the stack, after an announced wait, or before the device gets
    /// a PnP request.
    #[cold]
    #[inline(never)]
    fn entered_specially(routine: &'static str) {
        let call = Self::again(routine);
        if call.kernel.is_halted() {
            call.halt();
        }
        let depth = call.stack_depth();
        if depth > call.kernel.config.kernel_stack {
            call.stack_overflows(depth);
        }
        if call.must_wait.load(Ordering::Relaxed) {
            call.require_announced_wait();
        }
        if call.is_probed.load(Ordering::Relaxed) {
            (call.kernel.upcalls.probe_device)(&call);
        }
    }

    /// Stops the system if the last routine was called with `Wait` set, and this one is not a wait: the IRQL is still raised.
    fn require_announced_wait(&self) {
        self.must_wait.store(false, Ordering::Relaxed);
        let waits = self.routine.starts_with("KeWaitFor");
        self.require(waits, Rule::AnnouncedWait, || {
            format!(
                "{} follows a call with Wait = TRUE, which leaves the IRQL raised for a KeWaitForXxx routine: pass FALSE",
                self.routine
            )
        });
    }

    /// Stops the system, since the driver's routines use more of the stack than a kernel stack has.
    #[cold]
    pub(crate) fn stack_overflows(&self, depth: usize) -> ! {
        let what = format!(
            "the driver's routines of the thread use {depth} bytes of its stack, and may use {}: a kernel stack has 24 KB; is \
             a routine called again before it has returned?",
            self.kernel.config.kernel_stack
        );
        // A double fault.
        let bug_check = BugCheck(UNEXPECTED_KERNEL_MODE_TRAP, [8, 0, 0, 0]);
        self.stop(bug_check, Rule::KernelStack, what)
    }

    /// Makes the value of a routine that the thread has already entered.
    pub(crate) fn again(routine: &'static str) -> Self {
        Self {
            mode: thread::set_mode(Mode::Kernel),
            thread: thread::current(routine),
            routine,
        }
    }

    /// Describes the object that is or was at an address, as a clause; empty if none is known.
    pub(crate) fn once(&self, address: usize) -> String {
        let described = (self.kernel.upcalls.describe)(&self.kernel, address);
        described.map_or_else(String::new, |described| format!(": {described}"))
    }

    /// Returns the caller.
    pub(crate) fn caller(&self) -> Caller {
        let noted = self.kernel.config.locations;
        Caller {
            thread: self.name.clone(),
            place: noted.then(|| callers(1).pop()).flatten(),
        }
    }

    /// Enters a routine whose effect on an object other threads can observe. Another thread may run first.
    #[inline]
    pub(crate) fn enter_visible<T>(routine: &'static str, object: *const T) -> Self {
        Self::enter_visible_as(routine, object, Access::Exclusive)
    }

    /// Like [`Call::enter_visible`], for a routine that is independent of others of its kind.
    #[inline]
    pub(crate) fn enter_visible_as<T>(
        routine: &'static str,
        object: *const T,
        access: Access,
    ) -> Self {
        let call = Self::enter_noted(routine);
        call.switch_point(routine, object.addr());
        call.synchronise_as(object.addr(), access);
        call
    }

    /// Enters a routine that accesses what the kernel keeps for all drivers, such as the names of devices. Another thread may run
    /// first.
    pub(crate) fn enter_shared(routine: &'static str) -> Self {
        let call = Self::enter_noted(routine);
        call.switch_point(routine, 0);
        footprint::touch_everything();
        call
    }

    /// Like [`Call::enter_visible`], for a routine whose only effect on the object is that of a [wait](Thread::wait_for), which
    /// records its access itself.
    #[inline]
    pub(crate) fn enter_to_wait<T>(routine: &'static str, object: *const T) -> Self {
        let call = Self::enter_noted(routine);
        call.switch_point(routine, object.addr());
        call.order_by(object.addr());
        call
    }

    /// Lets another thread run after a routine whose effect it can observe, since the driver may continue without a
    /// call of a routine.
    pub(crate) fn switch_after<T>(&self, routine: &'static str, object: *const T) {
        self.switch_point(routine, object.addr());
    }

    /// Returns the name of the routine.
    pub(crate) fn routine(&self) -> &'static str {
        self.routine
    }

    /// Makes the violation that was detected in this call.
    pub(crate) fn violation(&self, bug_check: BugCheck, rule: Rule, what: String) -> Violation {
        Violation {
            code: bug_check.0,
            parameters: bug_check.1,
            rule,
            routine: self.routine,
            what,
            callers: callers(4),
            threads: self.kernel.describe_threads(),
        }
    }

    /// Stops the system.
    pub(crate) fn stop(&self, bug_check: BugCheck, rule: Rule, what: impl Into<String>) -> ! {
        self.kernel
            .stop(self.violation(bug_check, rule, what.into()));
        self.thread.halt()
    }

    /// Stops the system if a condition does not hold.
    pub(crate) fn require<F: Finding>(&self, holds: bool, rule: Rule, finding: impl FnOnce() -> F) {
        if !holds {
            let (bug_check, what) = finding().parts();
            self.stop(bug_check, rule, what);
        }
    }

    /// Calls a routine of the driver in this thread.
    ///
    /// # Safety
    /// The arguments are valid by the documentation of the routine.
    pub(crate) unsafe fn in_driver<R: DriverRoutine>(
        routine: R,
        arguments: R::Arguments,
    ) -> R::Output {
        fault::watch();
        let here = 0_u8;
        let outer = enter_frame((&raw const here).addr());
        close_pages();
        let mode = thread::set_mode(Mode::Driver);
        // SAFETY: guaranteed by the caller.
        let result = unsafe { routine.call(arguments) };
        thread::set_mode(mode);
        leave_frame((&raw const here).addr(), outer);
        footprint::touch_memory();
        result
    }
}

/// Closes the special pages that the current thread may not access.
fn close_pages() {
    if let Some(thread) = thread::try_current() {
        thread.kernel.open_pages.close_for(&thread);
    }
}

/// Records the start of the stack of a driver routine; returns that of the outer one.
fn enter_frame(frame: usize) -> usize {
    let Some(thread) = thread::try_current() else {
        return 0;
    };
    let outer = thread.frame.swap(frame, Ordering::Relaxed);
    if outer == 0 {
        thread.stack_base.store(frame, Ordering::Relaxed);
    }
    outer
}

/// Records that the stack frames of a driver routine, with the objects in them, no longer exist.
fn leave_frame(frame: usize, outer: usize) {
    let Some(thread) = thread::try_current() else {
        return;
    };
    thread.frame.store(outer, Ordering::Relaxed);
    if outer == 0 {
        thread.stack_base.store(0, Ordering::Relaxed);
    }
    let is_inside = |object: &mut usize| *object < frame;
    let freed: Vec<usize> = locked(&thread.on_stack).extract_if(.., is_inside).collect();
    let Some(first) = freed.iter().copied().min() else {
        return;
    };
    let call = Call::enter_noted("the return of a driver routine");
    let end = "was on the stack of a driver routine that has returned";
    (call.kernel.upcalls.in_use)(&call, &(first..frame), end);
    locked(&call.kernel.sleepers.freed).extend(freed);
}

impl Call {
    /// Returns whether an address is on the stack of the driver routine that runs.
    pub(crate) fn is_on_stack(&self, address: usize) -> bool {
        let here = 0_u8;
        let here = (&raw const here).addr();
        (here..self.frame.load(Ordering::Relaxed)).contains(&address)
    }

    /// Records that an object is initialised. If it is on the stack of the driver routine that runs, it no longer
    /// exists when the routine returns. Returns whether it is on the stack, whose memory may still contain data of a function that has returned.
    pub(crate) fn note_initialised<T>(&self, object: *const T) -> bool {
        let address = object.addr();
        self.require_nonpaged(object);
        self.require_no_timer_in(object);
        self.require_no_waiter_in(object);
        locked(&self.kernel.sleepers.freed).remove(&address);
        let is_on_stack = self.is_on_stack(address);
        if is_on_stack {
            locked(&self.on_stack).push(address);
        }
        is_on_stack
    }

    /// Stops the system if a thread waits for an object in memory that becomes an object.
    fn require_no_waiter_in<T>(&self, object: *const T) {
        if !self.kernel.sleepers.any_asleep() {
            return;
        }
        let memory = object.addr()..object.addr() + size_of::<T>();
        let waiter = self.kernel.any_waited_for_in(&memory);
        self.require(waiter.is_none(), Rule::WaitObjects, || {
            let (thread, waited_for) = waiter.unwrap_or_default();
            format!("{thread} waits for the object {waited_for:#x}, which is initialised again")
        });
    }

    /// Stops the system if a thread waits in user mode for an object on its stack, which can be swapped out, or for a mutex.
    pub(crate) fn require_wait_mode(&self, object: *const c_void, mode: i8, is_mutex: bool) {
        let is_on_stack = self.is_on_stack(object.addr());
        let is_wrong = mode != 0 && (is_on_stack || is_mutex);
        self.require(!is_wrong, Rule::WaitMode, || {
            let kind = if is_on_stack {
                "is on the kernel stack, which can be swapped out during the wait"
            } else {
                "is a mutex"
            };
            format!("the thread waits in UserMode for {object:?}, which {kind}: pass KernelMode")
        });
    }

    /// Stops the system if memory that becomes an object contains a timer that is set.
    fn require_no_timer_in<T>(&self, object: *const T) {
        let memory = object.addr()..object.addr() + size_of::<T>();
        let timer = self.kernel.clock.any_set_in(&memory);
        self.require(timer.is_none(), Rule::Dpc, || {
            let timer = timer.unwrap_or_default();
            let bug_check = BugCheck(0xc7, [0, timer as u64, 0, 0]);
            let what = format!(
                "the timer {timer:#x} is set, but its memory is initialised as another object"
            );
            (bug_check, what)
        });
    }

    /// Stops the system if an object was on the stack of a driver routine that has returned.
    pub(crate) fn require_there<T>(&self, object: *const T) {
        let is_freed = locked(&self.kernel.sleepers.freed).contains(&object.addr());
        self.require(!is_freed, Rule::Pointer, || {
            let bug_check = BugCheck(0x50, [object.addr() as u64, 0, 0, 0]);
            let what = format!(
                "{object:?} is used, and was on the stack of a driver routine that has returned"
            );
            (bug_check, what)
        });
    }

    /// Returns the object that a driver passed a pointer to.
    ///
    /// # Safety
    /// `pointer` is NULL, or valid for a `T` as long as the reference is used. During that time, other code accesses the
    /// object only under the kernel's own lock or by atomics. The documentation of every routine requires this.
    pub(crate) unsafe fn view<'a, T, P>(&self, pointer: *mut P) -> &'a T {
        self.require_pointer::<T, P>(pointer);
        // The host's allocator may have written to the first words of freed memory.
        let words = size_of::<T>() / size_of::<u64>();
        if words != 0 && align_of::<T>() >= align_of::<u64>() {
            // SAFETY: as below. All other accesses to the words are also atomic.
            let words = unsafe { std::slice::from_raw_parts(pointer.cast::<AtomicU64>(), words) };
            let is_filled =
                |word: &AtomicU64| word.load(Ordering::Relaxed) == u64::from_ne_bytes([FREED; 8]);
            let freed = words.iter().any(is_filled);
            self.require(!freed, Rule::FreedMemory, || {
                let bug_check = BugCheck(0xd5, [pointer.addr() as u64, 0, 0, 0]);
                let what = format!(
                    "the memory of {pointer:?} was freed{}",
                    self.once(pointer.addr())
                );
                (bug_check, what)
            });
        }
        // SAFETY: the pointer is aligned and not NULL; the rest is guaranteed by the caller.
        unsafe { &*pointer.cast() }
    }

    /// Like [`Call::view`], for memory of the driver that can have any content.
    ///
    /// # Safety
    /// As for [`Call::view`].
    pub(crate) unsafe fn view_new<'a, T, P>(&self, pointer: *mut P) -> &'a T {
        self.require_pointer::<T, P>(pointer);
        // SAFETY: the pointer is aligned and not NULL; the rest is guaranteed by the caller.
        unsafe { &*pointer.cast() }
    }

    /// Stops the system if a pointer to which a routine writes is invalid.
    pub(crate) fn require_room<T>(&self, pointer: *mut T) {
        self.require_pointer::<T, T>(pointer);
    }

    /// Stops the system if an object that is accessed at `DISPATCH_LEVEL` or higher is in the paged pool.
    pub(crate) fn require_nonpaged<T>(&self, object: *const T) {
        let address = object.addr();
        let is_paged = (self.kernel.upcalls.is_paged)(&self.kernel, address);
        self.require(!is_paged, Rule::PagedMemory, || {
            let bug_check = BugCheck(0xd1, [address as u64, nt::DISPATCH_LEVEL.into(), 1, 0]);
            let what = format!(
                "{object:?} is accessed at DISPATCH_LEVEL or higher, and is in the paged pool{}",
                self.once(address)
            );
            (bug_check, what)
        });
    }

    fn require_pointer<T, P>(&self, pointer: *mut P) {
        self.require(
            !pointer.is_null() && pointer.cast::<T>().is_aligned(),
            Rule::Pointer,
            || {
                let bug_check = BugCheck(0x50, [pointer.addr() as u64, 0, 0, 0]);
                let is_fill = pointer.addr() >> 8 == usize::from_ne_bytes([FREED; 8]) >> 8;
                let at = if is_fill {
                    ": it was read from memory that was freed".into()
                } else {
                    self.once(pointer.addr())
                };
                let what = if pointer.is_null() || pointer.cast::<T>().is_aligned() {
                    format!("the pointer {pointer:?} does not point to an object{at}")
                } else {
                    let alignment = align_of::<T>();
                    format!("the pointer {pointer:?} is not a multiple of {alignment}, and so does not point to an object{at}")
                };
                (bug_check, what)
            },
        );
        // SAFETY: the pointer is not NULL; the caller of the routine guarantees that it points to an object.
        unsafe { fault::touch(pointer.cast(), size_of::<T>()) };
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.thread)?;
        match &self.place {
            Some(place) => write!(f, " in {place}"),
            None => Ok(()),
        }
    }
}

impl Drop for Call {
    #[inline]
    fn drop(&mut self) {
        if self.mode == Mode::Driver {
            self.kernel.open_pages.close_for(self);
        }
        thread::set_mode(self.mode);
    }
}

impl Deref for Call {
    type Target = Thread;

    fn deref(&self) -> &Thread {
        &self.thread
    }
}
