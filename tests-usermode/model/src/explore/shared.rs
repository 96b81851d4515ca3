//! Plain memory of a test's driver, whose use is looked at.

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

/// A variable of a driver on test, as plain memory is: two threads must not touch it, one of them to write it, unless something
/// puts the one after the other.
///
/// In an [exploration](crate::explore) it is found if they do, with the places of both. What puts a thread after another one is
/// a lock that it acquires after the other one's release, an event, timer or thread that it waits for, a DPC or work item that
/// the other one has queued, an IRP that was completed, or a routine on an object on which the other one has called a routine
/// before, the `Interlocked` ones on a number included. So the order of two threads need not be tried to find that they have
/// none: a counter without a lock is found in the first schedule. And if none of a driver's variables is found in any order of
/// what its threads do to objects, no order of its plain reads and writes can make a difference: that is why a search that is
/// [complete](crate::explore::Explored::complete) need not try them.
///
/// What remains invisible: memory that is in no `Shared`; memory that two threads touch in turn in each order that was tried
/// (so a search should be complete); two threads that a common object puts in order by chance, as two calls of routines on one
/// lock do, or an object whose memory was another's before. In a kernel whose threads are the host's nothing is looked at.
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
    /// Since it was written: by each thread the last time.
    read: Vec<Access>,
}

/// A thread that has touched it.
#[derive(Clone)]
struct Access {
    thread: u32,
    /// At which of its steps.
    step: u32,
    name: String,
    place: &'static Location<'static>,
}

impl Access {
    /// Whether a thread that knows this much comes after it.
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

    /// Reads it.
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

    /// Writes it.
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

/// While this lives, what is allocated is the model's, and not the driver's.
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

/// Looks at an access of the thread that runs, if it is one of an exploration: gives the access, and the one before that it does
/// not come after.
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

/// Stops the system for two accesses in no order.
fn report(found: Option<(Access, Access)>, now: &str, before: &str) {
    if let Some((access, other)) = found {
        let what = format!(
            "plain memory is {now} by {} in {}, and was {before} by {} in {}, and nothing puts the one after the other",
            access.name, access.place, other.name, other.place
        );
        Call::enter("plain memory").stop(BugCheck(0, [0; 4]), Rule::PlainMemory, what);
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
