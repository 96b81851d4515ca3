//! Violations: the rules that were broken, and the report of each.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    ptr,
    sync::{Arc, Mutex},
};

use backtrace::Backtrace;

use crate::{
    image,
    mutex::locked,
    verifier::{Rule, symbol::short},
};

/// The bug check that Driver Verifier raises for a violation, and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BugCheck(pub(crate) u32, pub(crate) [u64; 4]);

/// `DRIVER_VERIFIER_DETECTED_VIOLATION`
pub(crate) const VERIFIER: u32 = 0xc4;
/// `DRIVER_VERIFIER_IOMANAGER_VIOLATION`
pub(crate) const IO_VERIFIER: u32 = 0xc9;
/// `KMODE_EXCEPTION_NOT_HANDLED`: the status of the exception, and the address of the instruction.
pub(crate) const KMODE_EXCEPTION_NOT_HANDLED: u32 = 0x1e;

/// `UNEXPECTED_KERNEL_MODE_TRAP`: the number of the trap.
pub(crate) const UNEXPECTED_KERNEL_MODE_TRAP: u32 = 0x7f;

impl BugCheck {
    /// A violation for which Windows has no bug check.
    pub(crate) const NONE: Self = Self(0, [0; 4]);

    /// Makes `DRIVER_VERIFIER_DETECTED_VIOLATION` with a subcode and the parameters of the subcode.
    pub(crate) const fn verifier(subcode: u64, parameters: [u64; 3]) -> Self {
        let [second, third, fourth] = parameters;
        Self(VERIFIER, [subcode, second, third, fourth])
    }

    /// Makes `DRIVER_VERIFIER_IOMANAGER_VIOLATION` with a subcode and the parameters of the subcode.
    pub(crate) const fn io(subcode: u64, parameters: [u64; 3]) -> Self {
        let [second, third, fourth] = parameters;
        Self(IO_VERIFIER, [subcode, second, third, fourth])
    }
}

/// The description of a violation: a text, with the bug check if Windows has one.
pub(crate) trait Finding {
    fn parts(self) -> (BugCheck, String);
}

impl Finding for &str {
    fn parts(self) -> (BugCheck, String) {
        (BugCheck::NONE, self.into())
    }
}

impl Finding for String {
    fn parts(self) -> (BugCheck, String) {
        (BugCheck::NONE, self)
    }
}

impl<T: Into<String>> Finding for (BugCheck, T) {
    fn parts(self) -> (BugCheck, String) {
        (self.0, self.1.into())
    }
}

/// A rule that the driver broke, and the report.
///
/// `Display` writes the whole report.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The code of the bug check; 0 if Windows hangs or does not detect the violation.
    pub code: u32,
    /// The parameters of the bug check.
    pub parameters: [u64; 4],
    /// The rule.
    pub rule: Rule,
    /// The routine that the driver, or the model on its behalf, called.
    pub routine: &'static str,
    /// A description of the violation.
    pub what: String,
    /// The driver's frames on the stack, the innermost first: function, source file and line.
    pub callers: Vec<String>,
    /// The threads in the kernel, each with its IRQL, the locks that it holds, and the object that it waits for.
    pub threads: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third, fourth] = self.parameters;
        if self.rule == Rule::Promise {
            write!(f, "*** FAILED CHECK")?;
        } else if self.code == 0 && !self.rule.is_hang() {
            write!(f, "*** NO BUG CHECK")?;
        } else if self.code == 0 {
            write!(f, "*** THE SYSTEM HANGS")?;
        } else {
            write!(
                f,
                "*** STOP: {:#010x} ({first:#x}, {second:#x}, {third:#x}, {fourth:#x}) {}",
                self.code,
                name(self.code)
            )?;
        }
        write!(f, "\n    rule     {}", self.rule)?;
        write!(f, "\n    routine  {}", self.routine)?;
        write!(f, "\n    what     {}", self.what)?;
        for (index, caller) in self.callers.iter().enumerate() {
            let label = if index == 0 { "caller" } else { "" };
            write!(f, "\n    {label:8} {caller}")?;
        }
        for (index, thread) in self.threads.iter().enumerate() {
            let label = if index == 0 { "threads" } else { "" };
            write!(f, "\n    {label:8} {thread}")?;
        }
        Ok(())
    }
}

/// Returns the name of a bug check.
const fn name(code: u32) -> &'static str {
    match code {
        0x01 => "APC_INDEX_MISMATCH",
        0x0a => "IRQL_NOT_LESS_OR_EQUAL",
        0x0c => "MAXIMUM_WAIT_OBJECTS_EXCEEDED",
        0x0f => "SPIN_LOCK_ALREADY_OWNED",
        0x10 => "SPIN_LOCK_NOT_OWNED",
        0x18 => "REFERENCE_BY_POINTER",
        KMODE_EXCEPTION_NOT_HANDLED => "KMODE_EXCEPTION_NOT_HANDLED",
        0x40 => "TARGET_MDL_TOO_SMALL",
        0x44 => "MULTIPLE_IRP_COMPLETE_REQUESTS",
        0x48 => "CANCEL_STATE_IN_COMPLETED_IRP",
        0x50 => "PAGE_FAULT_IN_NONPAGED_AREA",
        VERIFIER => "DRIVER_VERIFIER_DETECTED_VIOLATION",
        0xc7 => "TIMER_OR_DPC_INVALID",
        IO_VERIFIER => "DRIVER_VERIFIER_IOMANAGER_VIOLATION",
        0xce => "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS",
        0xd1 => "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
        0xd5 => "DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL",
        0xe3 => "RESOURCE_NOT_OWNED",
        0xe4 => "WORKER_INVALID",
        0x133 => "DPC_WATCHDOG_VIOLATION",
        0x139 => "KERNEL_SECURITY_CHECK_FAILURE",
        _ => "",
    }
}

/// The driver's frames of a stack, without those of the model and of inline functions of `nt`. Without debug information there
/// are none.
struct Callers {
    found: Vec<String>,
    most: usize,
}

impl Callers {
    const fn new(most: usize) -> Self {
        let found = Vec::new();
        Self { found, most }
    }

    /// Adds the frame of a return address; returns whether there is room for another.
    fn add(&mut self, address: usize) -> bool {
        self.found.extend(places(address).iter().cloned());
        self.found.truncate(self.most);
        self.found.len() < self.most
    }

    /// Adds the frame of a return address in an image; returns whether there is room for another.
    fn add_image(&mut self, address: usize) -> bool {
        self.found
            .extend(image::describe(address.wrapping_sub(1), short));
        self.found.len() < self.most
    }
}

/// Returns the function, file and line of a return address in the host's code; several if functions are inlined there. They are
/// looked up once, since most schedules of a search have the same stacks.
fn places(address: usize) -> Arc<[String]> {
    static KNOWN: Mutex<BTreeMap<usize, Arc<[String]>>> = Mutex::new(BTreeMap::new());
    if let Some(known) = locked(&KNOWN).get(&address) {
        return known.clone();
    }
    let mut found = Vec::new();
    backtrace::resolve(ptr::without_provenance_mut(address), |symbol| {
        found.extend(place(symbol));
    });
    let found = Arc::from(found);
    locked(&KNOWN).insert(address, Arc::clone(&found));
    found
}

/// Returns the function, file and line of a symbol that belongs to a driver.
fn place(symbol: &backtrace::Symbol) -> Option<String> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = model.ancestors().nth(2).unwrap_or(model);
    let (file, line) = (symbol.filename()?, symbol.lineno()?);
    // Paths of the C library are also relative, but start with a dot.
    let ours = file.starts_with(root) || (file.is_relative() && !file.starts_with("."));
    let is_model = file.starts_with(model) && !file.starts_with(model.join("tests"));
    let is_inline = file.starts_with(root.join("driver/nt"));
    if !ours || is_model || is_inline {
        return None;
    }
    let file = file.strip_prefix(root).unwrap_or(file).display();
    let name = symbol.name().map(|name| format!("{name:#}"));
    let function = name.map(|name| short(&name)).unwrap_or_default();
    Some(format!("{function} ({file}:{line})"))
}

/// Returns the driver's innermost frames on the stack.
pub(crate) fn callers(most: usize) -> Vec<String> {
    let mut callers = Callers::new(most);
    backtrace::trace(|frame| {
        let address = frame.ip().addr();
        let is_image = image::walk(address, frame.sp().addr(), |address| {
            callers.add_image(address)
        });
        // The host's frames outside an image are not found, since they have other unwind tables.
        !is_image && callers.add(address)
    });
    callers.found
}

/// Returns the driver's innermost frames on a stack that was captured before.
pub(crate) fn callers_on(stack: &Backtrace, most: usize) -> Vec<String> {
    let mut callers = Callers::new(most);
    for frame in stack.frames() {
        let address = frame.ip().addr();
        if !(callers.add_image(address) && callers.add(address)) {
            break;
        }
    }
    callers.found
}
