//! Invalid memory: reads that cannot fault, and the handler for a fault in a driver's code.
//!
//! On Linux a handler for `SIGSEGV` and `SIGBUS` reports a violation. Unlike most signal handlers it may lock and allocate,
//! since the signal is synchronous: the instruction that faults is in the driver's code or in [`touch`], where the thread holds
//! no mutex of the model or of the allocator. A fault anywhere else is an error of the model: the handler prints a short
//! message and ends the program. On other hosts such a fault ends the program without a report; on Windows a handler for exceptions
//! serves the reads alone.

use std::cell::Cell;

pub(crate) use crate::touch::touch;

thread_local! {
    /// The address at which the thread continues if its current read faults; zero if there is no such read.
    static RESUME: Cell<usize> = const { Cell::new(0) };
}

/// Returns the word at an address that can be invalid; `None` if it is.
#[cfg(all(any(target_os = "linux", windows), target_arch = "x86_64"))]
pub(crate) fn read_word(address: usize) -> Option<usize> {
    // No other address can be one of a process. Most values that are not pointers fail this test, which is faster than a
    // fault.
    if !(0x1000..0x8000_0000_0000).contains(&address) {
        return None;
    }
    watch();
    let (mut word, mut faulted) = (0_usize, 0_u32);
    let resume = RESUME.with(Cell::as_ptr);
    // SAFETY: if the read faults, the thread continues at 3. Only `RESUME`, which belongs to this thread, is written.
    unsafe {
        std::arch::asm!(
            "lea {place}, [rip + 3f]",
            "mov [{resume}], {place}",
            "mov {word}, [{address}]",
            "jmp 4f",
            "3:",
            "mov {faulted:e}, 1",
            "4:",
            "mov qword ptr [{resume}], 0",
            place = out(reg) _,
            resume = in(reg) resume,
            word = inout(reg) word,
            address = in(reg) address,
            faulted = inout(reg) faulted,
            options(nostack, preserves_flags),
        );
    }
    (faulted == 0).then_some(word)
}

/// Returns the word at an address that can be invalid; `None` if it is.
#[cfg(all(target_os = "linux", not(target_arch = "x86_64")))]
pub(crate) fn read_word(address: usize) -> Option<usize> {
    // The routine fails for a closed page.
    crate::host::special::open(address, None);
    let mut word = 0_usize;
    let local = libc::iovec {
        iov_base: (&raw mut word).cast(),
        iov_len: size_of::<usize>(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: size_of::<usize>(),
    };
    // SAFETY: the routine always succeeds.
    let process = unsafe { libc::getpid() };
    // SAFETY: the kernel checks the remote address, and writes only the word.
    let read =
        unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read)
        .is_ok_and(|read| read == size_of::<usize>())
        .then_some(word)
}

/// Returns `None`: other hosts have no such read.
#[cfg(not(any(target_os = "linux", all(windows, target_arch = "x86_64"))))]
pub(crate) fn read_word(_address: usize) -> Option<usize> {
    None
}

#[cfg(not(any(target_os = "linux", all(windows, target_arch = "x86_64"))))]
pub(crate) fn watch() {}

#[cfg(target_os = "linux")]
pub(crate) use linux::watch;
#[cfg(all(windows, target_arch = "x86_64"))]
pub(crate) use windows::watch;

#[cfg(all(windows, target_arch = "x86_64"))]
mod windows {
    use std::sync::Once;

    use windows_sys::Win32::{
        Foundation::EXCEPTION_ACCESS_VIOLATION,
        System::Diagnostics::Debug::{
            AddVectoredExceptionHandler, EXCEPTION_CONTINUE_EXECUTION, EXCEPTION_CONTINUE_SEARCH,
            EXCEPTION_POINTERS,
        },
    };

    use super::RESUME;

    /// Installs the handler for reads that can fault. Other faults end the program.
    pub(crate) fn watch() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // SAFETY: the handler has the signature that the routine requires, and is never removed.
            unsafe { AddVectoredExceptionHandler(1, Some(on_exception)) };
        });
    }

    unsafe extern "system" fn on_exception(exception: *mut EXCEPTION_POINTERS) -> i32 {
        // SAFETY: Windows passes a valid structure.
        let exception = unsafe { &*exception };
        // SAFETY: as above.
        let code = unsafe { (*exception.ExceptionRecord).ExceptionCode };
        if code != EXCEPTION_ACCESS_VIOLATION || RESUME.get() == 0 {
            return EXCEPTION_CONTINUE_SEARCH;
        }
        // SAFETY: Windows passes the context of the thread, and restores the changed one.
        unsafe { (*exception.ContextRecord).Rip = RESUME.replace(0) as u64 };
        EXCEPTION_CONTINUE_EXECUTION
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        cell::Cell,
        ffi::{c_int, c_void},
        mem::MaybeUninit,
        ptr::null_mut,
        sync::{
            Once,
            atomic::{AtomicBool, Ordering, Ordering::Relaxed},
        },
    };

    #[cfg(target_arch = "x86_64")]
    use crate::host::privileged;
    use crate::{
        host::{
            Call,
            layout::FREED,
            special::{self, Contents, SpecialAddress},
            thread::{self, Mode},
        },
        image,
        touch::TOUCHED,
        verifier::{BugCheck, KMODE_EXCEPTION_NOT_HANDLED, Rule, callers},
    };

    /// The size of the handler's stack.
    const STACK: usize = 0x8_0000;

    /// The signals of processor exceptions.
    const SIGNALS: [c_int; 5] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
    ];

    /// `SI_KERNEL`: the processor does not report the address.
    const NO_ADDRESS: c_int = 0x80;

    /// The stack of a thread's handler.
    struct Stack(*mut c_void);

    impl Drop for Stack {
        fn drop(&mut self) {
            let none = libc::stack_t {
                ss_sp: null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: 0,
            };
            // SAFETY: the thread does not run a handler.
            unsafe { libc::sigaltstack(&raw const none, null_mut()) };
            // SAFETY: the memory was mapped for the stack, which is no longer used.
            unsafe { libc::munmap(self.0, STACK) };
        }
    }

    thread_local! {
        static STACK_OF_THREAD: Option<Stack> = make_stack();
        static WATCHES: Cell<bool> = const { Cell::new(false) };
        static HANDLES: Cell<bool> = const { Cell::new(false) };
    }

    fn make_stack() -> Option<Stack> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the mapping is new, at an address that the host chooses.
        let memory = unsafe { libc::mmap(null_mut(), STACK, access, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return None;
        }
        let stack = libc::stack_t {
            ss_sp: memory,
            ss_flags: 0,
            ss_size: STACK,
        };
        // SAFETY: the memory belongs to this thread until it ends.
        unsafe { libc::sigaltstack(&raw const stack, null_mut()) };
        Some(Stack(memory))
    }

    /// Installs the handler for the faults of this thread.
    #[inline]
    pub(crate) fn watch() {
        if !WATCHES.replace(true) {
            install();
        }
    }

    #[cold]
    fn install() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            for signal in SIGNALS {
                // SAFETY: zero is valid for every field.
                let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
                action.sa_sigaction = on_fault as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
                // SAFETY: the handler has the signature that `SA_SIGINFO` requires.
                unsafe { libc::sigaction(signal, &raw const action, null_mut()) };
            }
        });
        // A thread that ends no longer runs driver code.
        let _ = STACK_OF_THREAD.try_with(|_| ());
    }

    /// Prints a short message, and lets the fault end the program.
    fn give_up(what: &str) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        if !TOLD.swap(true, Ordering::SeqCst) {
            for text in ["ntmodel: ", what, "\n"] {
                // SAFETY: the text is valid and has this length.
                unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
            }
        }
        for signal in SIGNALS {
            // SAFETY: the default action; the instruction faults again when the handler returns.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }

    unsafe extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the host passes a valid structure.
        let code = unsafe { (*info).si_code };
        // SAFETY: as above.
        let info = unsafe { &*info };
        // SAFETY: each of the signals has an address, or zero in its place.
        let address = unsafe { info.si_addr() }.addr();
        let address = (code != NO_ADDRESS).then_some(address);
        let exception = exception(signal);
        let accessed = address.filter(|_| exception.is_none());
        if accessed.is_some_and(opens) || resumes(context) {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if exception.is_none() && thread::mode() == Mode::Driver {
            // Allocations in this function belong to the model.
            thread::set_mode(Mode::Kernel);
            // SAFETY: the host passes the context of the thread.
            let served = unsafe { privileged::serve(context, address) };
            if let Some(thread) = thread::try_current().filter(|_| served) {
                thread.kernel.open_pages.close_for(&thread);
            }
            thread::set_mode(Mode::Driver);
            if served {
                return;
            }
        }
        // A second fault in this handler ends the program; so does one in a thread that belongs to no kernel.
        if HANDLES.replace(true) {
            return give_up("a fault in the fault handler");
        }
        let mode = thread::set_mode(Mode::Kernel);
        let touched = TOUCHED.replace(0);
        let Some(thread) = thread::try_current().filter(|_| mode != Mode::User) else {
            return give_up("a fault in user mode");
        };
        let routine = thread.last_routine();
        if mode == Mode::Kernel && (touched == 0 || exception.is_some()) {
            let place = callers(4).join("\n         ");
            eprintln!(
                "ntmodel: a fault at {address:#x?} in {routine}, called by\n         {place}"
            );
            return give_up("this is an error in the model");
        }
        let call = Call::again(routine);
        let before = thread.recent_routines();
        if let Some((status, name)) = exception {
            let (_, place) = access(context);
            let bug_check = BugCheck(KMODE_EXCEPTION_NOT_HANDLED, [status, place, 0, 0]);
            let what = format!("the driver raises the exception {name}; {before}");
            call.stop(bug_check, Rule::Exception, what);
        }
        if touched != 0 && special::contents(touched) == Some(Contents::Freed) {
            let bug_check = BugCheck(0xd5, [touched as u64, 0, 0, 0]);
            let what = format!("the memory of {touched:#x} was freed{}", call.once(touched));
            call.stop(bug_check, Rule::FreedMemory, what);
        }
        if touched != 0 {
            if matches!(special::classify(touched), Some(SpecialAddress::Beyond(_))) {
                let (_, place) = access(context);
                require_special(&call, touched, false, place, &before);
            }
            let what = format!(
                "the pointer {touched:#x} points to no memory{}; {before}",
                call.once(touched)
            );
            let bug_check = BugCheck(0x50, [touched as u64, 0, 0, 0]);
            call.stop(bug_check, Rule::Pointer, what);
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the host passes the context of the thread.
        unsafe {
            privileged::refuse(&call, context, address);
        }
        driver_faults(&call, address, context, &before)
    }

    /// Opens the closed special page that contains an address, if the access is permitted; returns whether it was.
    fn opens(address: usize) -> bool {
        if image::is_paged(address) {
            return opens_section(address);
        }
        let Some(SpecialAddress::Inside(contents)) = special::classify(address) else {
            return false;
        };
        let Some(thread) = thread::try_current() else {
            return special::open(address, None);
        };
        let is_high = thread.irql() >= nt::DISPATCH_LEVEL;
        let may = match (thread::mode(), contents) {
            // The model has described the address before it reports the pointer.
            (Mode::Kernel, Contents::Freed) => TOUCHED.get() == 0,
            (Mode::Kernel | Mode::User, _) | (_, Contents::Nonpaged) => true,
            (_, Contents::Paged) => !is_high,
            (_, Contents::Probed) => !is_high && thread.has_user_memory(),
            (_, Contents::User | Contents::Freed) => false,
        };
        may && special::open(address, Some(&thread))
    }

    /// Opens the closed pageable sections of an image, if the access is permitted; returns whether it was.
    fn opens_section(address: usize) -> bool {
        thread_local! {
            static LAST: Cell<usize> = const { Cell::new(0) };
        }
        let is_high =
            thread::try_current().is_some_and(|thread| thread.irql() >= nt::DISPATCH_LEVEL);
        if is_high && thread::mode() == Mode::Driver {
            return false;
        }
        // Another thread may have opened it since. If the access is not one that the section permits, it faults again.
        let is_again = LAST.replace(address) == address;
        image::open_paged(address) || !is_again
    }

    /// Returns the status and the name of the exception for a signal, except for an access violation.
    fn exception(signal: c_int) -> Option<(u64, &'static str)> {
        match signal {
            libc::SIGILL => Some((0xc000_001d, "STATUS_ILLEGAL_INSTRUCTION")),
            libc::SIGFPE => Some((0xc000_0094, "STATUS_INTEGER_DIVIDE_BY_ZERO")),
            libc::SIGTRAP => Some((0x8000_0003, "STATUS_BREAKPOINT, and no debugger handles it")),
            _ => None,
        }
    }

    /// Lets the thread continue at its `RESUME` address, if it has set one.
    #[cfg(target_arch = "x86_64")]
    fn resumes(context: *mut c_void) -> bool {
        let place = super::RESUME.replace(0);
        if place == 0 {
            return false;
        }
        let rip = usize::try_from(libc::REG_RIP).unwrap_or_default();
        // SAFETY: the host passes the context of the thread.
        let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
        context.uc_mcontext.gregs[rip] = (place as u64).cast_signed();
        true
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn resumes(_: *mut c_void) -> bool {
        false
    }

    /// Stops the system for a fault in the driver's own code.
    fn driver_faults(call: &Call, address: Option<usize>, context: *mut c_void, before: &str) -> ! {
        let (writes, place) = access(context);
        let does = if writes { "writes to" } else { "reads from" };
        let freed = is_freed_pattern(context);
        #[cfg(target_arch = "x86_64")]
        skip_unreadable(context);
        if let Some(address) = address {
            require_special(call, address, writes, place, before);
            require_stack(call, address, context);
        }
        let (at, rule) = match address {
            Some(address) => {
                let once = call.once(address);
                let rule = if once.is_empty() {
                    Rule::Pointer
                } else {
                    Rule::FreedMemory
                };
                (
                    format!("{address:#x}, where there is no memory{once}"),
                    rule,
                )
            }
            None if freed => (
                "an address that it has read from freed memory, or from an IRP that was completed; both are filled with 0xdd"
                    .into(),
                Rule::FreedMemory,
            ),
            None => ("a noncanonical address".into(), Rule::Pointer),
        };
        let parameter = address.unwrap_or(usize::MAX) as u64;
        let irql = call.irql();
        let operation = u64::from(writes);
        let bug_check = if rule == Rule::FreedMemory {
            BugCheck(0xd5, [parameter, operation, place, 0])
        } else if irql >= nt::DISPATCH_LEVEL {
            BugCheck(0xd1, [parameter, irql.into(), operation, place])
        } else {
            BugCheck(0x50, [parameter, operation, place, 0])
        };
        call.stop(bug_check, rule, format!("the driver {does} {at}; {before}"))
    }

    /// Stops the system for a fault in a special page, or in the page without access after it.
    fn require_special(call: &Call, address: usize, writes: bool, place: u64, before: &str) {
        let irql = call.irql();
        let operation = u64::from(writes);
        let fault = [address as u64, operation, place, 0];
        let at_irql = BugCheck(0xd1, [address as u64, irql.into(), operation, place]);
        let exception = [0xc000_0005, place, operation, address as u64];
        if image::is_paged(address) && irql >= nt::DISPATCH_LEVEL {
            let does = if address as u64 == place {
                "runs"
            } else {
                "accesses"
            };
            let what = format!(
                "the driver {does} {address:#x}, in a pageable section, at DISPATCH_LEVEL or higher; {before}"
            );
            call.stop(at_irql, Rule::PagedMemory, what);
        }
        let (bug_check, rule, why) = match special::classify(address) {
            None | Some(SpecialAddress::Inside(Contents::Nonpaged)) => return,
            Some(
                SpecialAddress::Inside(Contents::Freed) | SpecialAddress::Beyond(Contents::Freed),
            ) => {
                let why = "whose block was freed";
                (BugCheck(0xd5, fault), Rule::FreedMemory, why)
            }
            Some(SpecialAddress::Beyond(Contents::User | Contents::Probed)) => {
                let why = "past the end of a user-mode buffer";
                (BugCheck::NONE, Rule::UserBuffer, why)
            }
            Some(SpecialAddress::Beyond(_)) => {
                let why = "past the end of a block";
                (BugCheck(0xd6, fault), Rule::Pool, why)
            }
            Some(SpecialAddress::Inside(Contents::Paged)) => {
                let why = "in the paged pool, at DISPATCH_LEVEL or higher";
                (at_irql, Rule::PagedMemory, why)
            }
            Some(SpecialAddress::Inside(_)) if irql >= nt::DISPATCH_LEVEL => {
                let why = "in a user-mode buffer, which is pageable, at DISPATCH_LEVEL or higher";
                (at_irql, Rule::UserBuffer, why)
            }
            Some(SpecialAddress::Inside(_)) if !call.has_user_memory() => {
                let why = "in a user-mode buffer, in a system thread, whose process is another one";
                let bug_check = BugCheck(KMODE_EXCEPTION_NOT_HANDLED, exception);
                (bug_check, Rule::UserBuffer, why)
            }
            Some(SpecialAddress::Inside(_)) => {
                let why = "in a user-mode buffer, which was not probed: call ProbeForRead or ProbeForWrite first";
                (BugCheck::NONE, Rule::UserBuffer, why)
            }
        };
        let does = if writes { "writes to" } else { "reads from" };
        let once = call.once(address);
        let what = format!("the driver {does} {address:#x}, {why}{once}; {before}");
        call.stop(bug_check, rule, what);
    }

    /// Stops the system if the address of a fault is near the stack pointer: the host's stack is used up.
    #[cfg(target_arch = "x86_64")]
    fn require_stack(call: &Call, address: usize, context: *mut c_void) {
        const NEAR: usize = 0x1_0000;
        let register = usize::try_from(libc::REG_RSP).unwrap_or_default();
        let pointer = usize::try_from(registers(context)[register]).unwrap_or_default();
        if (pointer.saturating_sub(NEAR)..pointer.saturating_add(0x1000)).contains(&address) {
            let base = call.stack_base.load(Relaxed);
            call.stack_overflows(base.saturating_sub(pointer));
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn require_stack(_: &Call, _: usize, _: *mut c_void) {}

    /// Makes a stack walk start at the caller if there is no memory at the instruction that has faulted, since a stack
    /// walk reads each instruction. The thread never continues.
    #[cfg(target_arch = "x86_64")]
    fn skip_unreadable(context: *mut c_void) {
        let [rip, rsp] = [libc::REG_RIP, libc::REG_RSP]
            .map(|register| usize::try_from(register).unwrap_or_default());
        // SAFETY: the host passes the context of the thread.
        let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
        let registers = &mut context.uc_mcontext.gregs;
        let word = |address: i64| super::read_word(usize::try_from(address).unwrap_or_default());
        if word(registers[rip]).is_none() {
            let caller = word(registers[rsp]).filter(|caller| super::read_word(*caller).is_some());
            // The end of the stack, if there is no memory at the caller either.
            registers[rip] = caller.map_or(0, |caller| (caller as u64).cast_signed());
            registers[rsp] += 8;
        }
    }

    /// Returns whether the instruction that faulted writes, and its address.
    #[cfg(target_arch = "x86_64")]
    fn access(context: *mut c_void) -> (bool, u64) {
        let registers = registers(context);
        let number = |register: c_int| usize::try_from(register).unwrap_or_default();
        let writes = registers[number(libc::REG_ERR)] & 2 != 0;
        (writes, registers[number(libc::REG_RIP)].cast_unsigned())
    }

    #[cfg(target_arch = "x86_64")]
    fn registers(context: *mut c_void) -> [i64; 23] {
        // SAFETY: the host passes the context of the thread.
        unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs }
    }

    /// Returns whether a register contains the pattern of freed memory, or nearly.
    #[cfg(target_arch = "x86_64")]
    fn is_freed_pattern(context: *mut c_void) -> bool {
        const NEAR: u64 = 0x1_0000;
        let freed = u64::from_ne_bytes([FREED; 8]);
        let mut registers = registers(context).into_iter().map(i64::cast_unsigned);
        registers.any(|register| register.abs_diff(freed) < NEAR)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn access(_: *mut c_void) -> (bool, u64) {
        (false, 0)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_freed_pattern(_: *mut c_void) -> bool {
        let _ = FREED;
        false
    }
}
