//! Plain memory of a test's driver, whose accesses are checked for races.

use std::{fmt, panic::Location, sync::Mutex};

use crate::{
    host::{
        Call, footprint,
        order::{self, VectorClock},
        thread::{self, Mode},
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// A variable of a driver under test that has no lock of its own. Two accesses by different threads, at least one of them a
/// write, must be ordered.
///
/// An [exploration](crate::explore) reports such a pair of accesses with both source lines. A thread is ordered after
/// another by: a lock that it acquires after the other's release; an event, timer or thread that it waits for; a DPC or work
/// item that the other has queued; an IRP that was completed; and a routine on an object on which the other has called a
/// routine before, including the `Interlocked` ones on a number. So a race is found without trying both orders of the two
/// accesses: a counter without a lock is found in the first schedule. If no variable of a driver is reported in
/// any order of the operations on objects, the order of its plain reads and writes makes no difference. Therefore a
/// [complete](crate::explore::Explored::complete) search need not try them.
///
/// These races remain undetected: in memory that is in no `Shared`; in memory that two threads access in sequence in each
/// order that was tried (so a search should be complete); and between two threads that a common object orders by chance,
/// such as two calls of routines on one lock, or an object in reused memory. In a kernel whose threads are host threads
/// nothing is checked.
///
/// ```
/// use ntmodel::explore::Shared;
///
/// let counter = Shared::new(1);
/// counter.set(counter.get() + 1);
/// assert_eq!(counter.get(), 2);
/// ```
pub struct Shared<T>(Mutex<Inner<T>>);

struct Inner<T> {
    value: T,
    written: Option<Access>,
    /// The accesses since the last write: the last one of each thread.
    read: Vec<Access>,
}

/// The thread.
#[derive(Clone)]
struct Access {
    thread: u32,
    /// The step of the thread.
    step: u32,
    name: String,
    place: &'static Location<'static>,
}

impl Access {
    /// Returns whether a thread with this clock comes after the access.
    fn is_before(&self, thread: u32, clock: &VectorClock) -> bool {
        self.thread == thread || self.step <= clock.of(self.thread)
    }
}

impl<T: Copy> Shared<T> {
    /// Makes a variable.
    #[must_use]
    pub fn new(value: T) -> Self {
        order::track();
        Self(Mutex::new(Inner {
            value,
            written: None,
            read: Vec::new(),
        }))
    }

    /// Reads the value.
    #[track_caller]
    pub fn get(&self) -> T {
        let place = Location::caller();
        let _mode = InModel::enter();
        footprint::touch((&raw const *self).addr(), footprint::Access::Commuting);
        let mut inner = locked(&self.0);
        let found = access(place, |access, clock| {
            let before = inner.written.clone();
            inner.read.retain(|read| read.thread != access.thread);
            inner.read.push(access.clone());
            before.filter(|before| !before.is_before(access.thread, clock))
        });
        let value = inner.value;
        drop(inner);
        report(found, "read", "written");
        value
    }

    /// Writes the value.
    #[track_caller]
    pub fn set(&self, value: T) {
        let place = Location::caller();
        let _mode = InModel::enter();
        footprint::touch((&raw const *self).addr(), footprint::Access::Exclusive);
        let mut inner = locked(&self.0);
        let found = access(place, |access, clock| {
            let mut before = inner.written.iter().chain(&inner.read);
            let found = before.find(|before| !before.is_before(access.thread, clock));
            let found = found.cloned();
            inner.read.clear();
            inner.written = Some(access.clone());
            found
        });
        inner.value = value;
        drop(inner);
        report(found, "written", "touched");
    }
}

/// While this value exists, allocations belong to the model and not to the driver.
struct InModel(Mode);

impl InModel {
    fn enter() -> Self {
        Self(thread::set_mode(Mode::Kernel))
    }
}

impl Drop for InModel {
    fn drop(&mut self) {
        thread::set_mode(self.0);
    }
}

/// Records an access of the current thread, if it belongs to an exploration. Returns the access, and an earlier one that
/// nothing orders before it.
fn access(
    place: &'static Location<'static>,
    look: impl FnOnce(&Access, &VectorClock) -> Option<Access>,
) -> Option<(Access, Access)> {
    let thread = thread::try_current()?;
    let clock = thread.known()?;
    let access = Access {
        thread: thread.number,
        step: clock.of(thread.number),
        name: thread.name().to_owned(),
        place,
    };
    let before = look(&access, &clock)?;
    Some((access, before))
}

/// Stops the system for two accesses that nothing orders.
fn report(found: Option<(Access, Access)>, now: &str, before: &str) {
    if let Some((access, other)) = found {
        let what = format!(
            "plain memory is {now} by {} in {}, and was {before} by {} in {}, and nothing orders the two",
            access.name, access.place, other.name, other.place
        );
        Call::enter("plain memory").stop(BugCheck::NONE, Rule::PlainMemory, what);
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
