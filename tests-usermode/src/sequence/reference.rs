//! The expected outcome of each step: a device as `interlock_abi` describes it, written from that description alone.

mod queues;
mod requests;
mod routines;

use interlock_abi::{Counters, RunState};

use self::queues::{Ended, Queues};
use super::step::{Control, Pnp, Step};
use crate::target::Access;

/// A time since the beginning of the sequence.
pub type Micros = u64;

/// How long a step takes. It is longer than the model's clock advances by itself during a step, and 90 steps take less than a
/// millisecond. Service times are multiples of a millisecond, so no two services end at the same time, and their order is
/// known.
pub const STEP: Micros = 10;

/// How many of the last requests that may pend a step can name, to cancel one.
const NAMED: usize = 8;

/// The immediate outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was executed.
    Done,
    /// Whether the device was opened.
    Opened(bool),
    /// Whether there was a request to cancel.
    Found(bool),
    /// Every request that there was to cancel has been cancelled before, and is still being served. It is not documented
    /// whether it is found again: under Wine it is not.
    FoundBefore,
    /// Whether the device was removed.
    Removed(bool),
}

#[derive(Clone, Debug)]
struct File {
    access: Access,
    is_open: bool,
}

#[derive(Clone, Debug)]
struct Request {
    file: usize,
    may_pend: bool,
    /// Whether `CancelIo` or `CancelIoEx` was called for it.
    is_cancelled: bool,
    has_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Started,
    /// Removed by surprise while files are open.
    SurpriseRemoved,
    Removed,
}

/// The device and its users.
#[derive(Clone, Debug)]
pub struct Reference {
    files: Vec<File>,
    requests: Vec<Request>,
    queues: Queues,
    presence: Presence,
    /// Whether a query for removal is pending: the device cannot be opened, and serves everything else.
    remove_pending: bool,
    now: Micros,
    ended: Vec<Ended>,
}

impl Reference {
    /// Returns a device with these counters and no pending request.
    pub fn new(before: Counters) -> Self {
        Self {
            files: Vec::new(),
            requests: Vec::new(),
            queues: Queues::new(before),
            presence: Presence::Started,
            remove_pending: false,
            now: 0,
            ended: Vec::new(),
        }
    }

    /// Returns the step with the number of its file or request resolved; `None` if it does not apply.
    pub fn resolve(&self, step: &Step) -> Option<Step> {
        let mut step = step.clone();
        let started = self.presence == Presence::Started;
        let applies = match &mut step {
            Step::Close { file }
            | Step::Send { file, .. }
            | Step::CancelAll { file }
            | Step::CancelIo { file } => pick(file, &self.open_files()),
            Step::Cancel { request } => pick(request, &self.named()),
            Step::Drain => self.is_serving(),
            Step::Open(_) | Step::Advance(_) => true,
            Step::Pnp(pnp) => match pnp {
                Pnp::QueryRemove | Pnp::Remove | Pnp::SurpriseRemove => started,
                Pnp::CancelRemove => started && self.remove_pending,
                Pnp::Restore => self.presence == Presence::Removed,
            },
        };
        applies.then_some(step)
    }

    fn open_files(&self) -> Vec<usize> {
        let files = self.files.iter().enumerate();
        let open = files.filter(|(_, file)| file.is_open);
        open.map(|(index, _)| index).collect()
    }

    /// Returns the last requests of open files that may pend.
    fn named(&self) -> Vec<usize> {
        let requests = self.requests.iter().enumerate().rev();
        let named = requests.filter(|(_, one)| one.may_pend && self.files[one.file].is_open);
        named.map(|(index, _)| index).take(NAMED).collect()
    }

    /// Returns whether any request is being served.
    pub fn is_serving(&self) -> bool {
        self.queues.keyed.is_busy() || self.queues.serial.is_busy()
    }

    /// Returns whether *keyed*, and whether *serial*, is serving a request.
    pub fn busy(&self) -> [bool; 2] {
        [self.queues.keyed.is_busy(), self.queues.serial.is_busy()]
    }

    /// Returns the requests that have not ended.
    pub fn waiting(&self) -> impl Iterator<Item = usize> {
        let requests = self.requests.iter().enumerate();
        let waiting = requests.filter(|(_, one)| !one.has_ended);
        waiting.map(|(index, _)| index)
    }

    /// Returns the requests that have ended since the last call of [`take_ended`](Self::take_ended).
    pub fn ended(&self) -> &[Ended] {
        &self.ended
    }

    /// Takes the requests that have ended since the last call.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Executes a step that was [resolved](Self::resolve).
    pub fn execute(&mut self, step: &Step) -> Outcome {
        let mut time = STEP;
        let outcome = match step {
            Step::Open(access) => {
                let opens = self.presence == Presence::Started && !self.remove_pending;
                if opens {
                    self.files.push(File {
                        access: *access,
                        is_open: true,
                    });
                }
                Outcome::Opened(opens)
            }
            Step::Close { file } => {
                self.files[*file].is_open = false;
                let ended = self.queues.close_file(*file);
                self.end(ended);
                Outcome::Done
            }
            Step::Send { file, control } => {
                self.send(*file, control);
                Outcome::Done
            }
            Step::Cancel { request } => {
                let found = self.find(|index, _| index == *request);
                let ended = self.queues.cancel(*request);
                self.end(ended);
                found
            }
            Step::CancelAll { file } => self.cancel_file(*file),
            Step::CancelIo { file } => {
                self.cancel_file(*file);
                Outcome::Done
            }
            Step::Drain => {
                self.serve(Micros::MAX);
                Outcome::Done
            }
            Step::Advance(millis) => {
                time += Micros::from(*millis) * 1000;
                Outcome::Done
            }
            Step::Pnp(pnp) => self.pnp(*pnp),
        };
        let now = self.now + time;
        self.serve(now);
        self.now = now;
        self.remove_if_unused();
        outcome
    }

    fn cancel_file(&mut self, file: usize) -> Outcome {
        let found = self.find(|_, one| one.file == file);
        let ended = self.queues.cancel_file(file);
        self.end(ended);
        found
    }

    /// Marks the requests that match as cancelled; returns what is found.
    fn find(&mut self, matches: impl Fn(usize, &Request) -> bool) -> Outcome {
        let mut outcome = Outcome::Found(false);
        for (index, one) in self.requests.iter_mut().enumerate() {
            if one.has_ended || !matches(index, one) {
                continue;
            }
            if !one.is_cancelled {
                outcome = Outcome::Found(true);
            } else if outcome == Outcome::Found(false) {
                outcome = Outcome::FoundBefore;
            }
            one.is_cancelled = true;
        }
        outcome
    }

    /// Returns whether a request of a file has not ended.
    fn is_in_use(&self, file: usize) -> bool {
        let mut requests = self.requests.iter();
        requests.any(|one| one.file == file && !one.has_ended)
    }

    /// Returns whether a file is open, or is closed but has a request that has not ended.
    fn has_files(&self) -> bool {
        let mut files = self.files.iter().enumerate();
        files.any(|(index, file)| file.is_open || self.is_in_use(index))
    }

    /// Removes the device that was removed by surprise, once it has no files.
    fn remove_if_unused(&mut self) {
        if self.presence == Presence::SurpriseRemoved && !self.has_files() {
            self.presence = Presence::Removed;
        }
    }

    fn end(&mut self, ended: Vec<Ended>) {
        for (request, answer) in ended {
            self.requests[request].has_ended = true;
            self.ended.push((request, answer));
        }
    }

    /// Ends the services that end by a time.
    fn serve(&mut self, until: Micros) {
        while let Some((due, ended)) = self.queues.serve_next(until) {
            self.now = self.now.max(due);
            self.end(vec![ended]);
        }
    }

    fn pnp(&mut self, pnp: Pnp) -> Outcome {
        match pnp {
            Pnp::QueryRemove => self.remove_pending = true,
            Pnp::CancelRemove => self.remove_pending = false,
            Pnp::Remove => {
                let removed = !self.has_files();
                self.remove_pending = false;
                if removed {
                    self.presence = Presence::Removed;
                }
                return Outcome::Removed(removed);
            }
            Pnp::SurpriseRemove => {
                let ended = self.queues.abort_all();
                self.end(ended);
                self.presence = Presence::SurpriseRemoved;
            }
            Pnp::Restore => {
                self.queues = Queues::new(Counters::default());
                self.remove_pending = false;
                self.presence = Presence::Started;
            }
        }
        Outcome::Done
    }

    /// Returns the steps that clean up after a sequence: no request stays pending, no record on the stack.
    pub fn clean_up(&self) -> Vec<Step> {
        let send = |control| Step::Send { file: 0, control };
        let mut steps = vec![Step::Drain];
        steps.extend(self.open_files().iter().map(|_| Step::Close { file: 0 }));
        if self.presence == Presence::Started && self.remove_pending {
            steps.push(Step::Pnp(Pnp::CancelRemove));
        }
        steps.push(Step::Open(Access::ReadWrite));
        let state = RunState::RUNNING;
        steps.push(send(Control::SetRunState { state }));
        steps.push(send(Control::Counters));
        steps.push(send(Control::Statistics));
        steps.push(Step::Close { file: 0 });
        steps
    }

    /// Returns the steps that remove the device, so that the driver can be unloaded.
    pub fn removal(&self) -> Vec<Step> {
        let mut steps = vec![Step::Drain];
        steps.extend(self.open_files().iter().map(|_| Step::Close { file: 0 }));
        steps.push(Step::Pnp(Pnp::Remove));
        steps
    }
}

/// Replaces a number with the element that it selects; returns whether there is one.
fn pick(number: &mut usize, from: &[usize]) -> bool {
    let picked = from.get(*number % from.len().max(1));
    *number = picked.copied().unwrap_or(0);
    picked.is_some()
}
