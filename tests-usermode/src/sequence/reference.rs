//! What must come of each step: a device as `interlock_abi` describes it, written from that alone.

mod queues;
mod requests;
mod routines;

use interlock_abi::{Counters, RunState};

use self::queues::{Ended, Queues};
use super::step::{Ask, Plug, Step};
use crate::target::Access;

/// A time, from the beginning of the sequence.
pub type Micros = u64;

/// How long a step takes. It is longer than what the clock of the model goes on by itself meanwhile, and 90 steps take less
/// than a millisecond, of which service times are multiples. So no two requests have been served at the same
/// time, and which of them is first can be told.
pub const STEP: Micros = 10;

/// How many of a sequence's last requests that may wait can be named, to be cancelled.
const NAMED: usize = 8;

/// What must come of a step at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The device is open, or is not.
    Opened(bool),
    /// There was something to cancel, or there was not.
    Found(bool),
    /// Everything that could be cancelled had been asked to before, and goes on being served. Whether it is found again is
    /// documented nowhere: under Wine it is not.
    FoundBefore,
    /// The device is removed, or is not.
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
    may_wait: bool,
    /// Whether it was asked to be cancelled.
    is_cancelled: bool,
    is_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    There,
    /// Taken away, and still open.
    Gone,
    Removed,
}

/// The device and its users.
#[derive(Clone, Debug)]
pub struct Reference {
    files: Vec<File>,
    requests: Vec<Request>,
    queues: Queues,
    presence: Presence,
    /// Whether the device may be about to be removed: it cannot be opened, and serves everything else.
    remove_pending: bool,
    now: Micros,
    ended: Vec<Ended>,
}

impl Reference {
    /// A device that has counted this, and on which nothing waits.
    pub fn new(before: Counters) -> Self {
        Self {
            files: Vec::new(),
            requests: Vec::new(),
            queues: Queues::new(before),
            presence: Presence::There,
            remove_pending: false,
            now: 0,
            ended: Vec::new(),
        }
    }

    /// The step with the numbers of the very file and request that it is for; `None` where there is nothing for it.
    pub fn resolve(&self, step: &Step) -> Option<Step> {
        let mut step = step.clone();
        let there = self.presence == Presence::There;
        let can = match &mut step {
            Step::Close { file }
            | Step::Send { file, .. }
            | Step::CancelAll { file }
            | Step::CancelIo { file } => pick(file, &self.open_files()),
            Step::Cancel { request } => pick(request, &self.named()),
            Step::Serve => self.serves(),
            Step::Open(_) | Step::Pass(_) => true,
            Step::Plug(plug) => match plug {
                Plug::QueryRemove | Plug::Remove | Plug::TakeAway => there,
                Plug::CancelRemove => there && self.remove_pending,
                Plug::BringBack => self.presence == Presence::Removed,
            },
        };
        can.then_some(step)
    }

    fn open_files(&self) -> Vec<usize> {
        let files = self.files.iter().enumerate();
        let open = files.filter(|(_, file)| file.is_open);
        open.map(|(index, _)| index).collect()
    }

    /// The last requests of open files that may wait.
    fn named(&self) -> Vec<usize> {
        let requests = self.requests.iter().enumerate().rev();
        let named = requests.filter(|(_, one)| one.may_wait && self.files[one.file].is_open);
        named.map(|(index, _)| index).take(NAMED).collect()
    }

    /// Whether any request is served.
    pub fn serves(&self) -> bool {
        self.queues.keyed.is_busy() || self.queues.serial.is_busy()
    }

    /// Whether *keyed*, and whether *serial*, serves a request.
    pub fn busy(&self) -> [bool; 2] {
        [self.queues.keyed.is_busy(), self.queues.serial.is_busy()]
    }

    /// The requests that have not ended.
    pub fn waiting(&self) -> impl Iterator<Item = usize> {
        let requests = self.requests.iter().enumerate();
        let waiting = requests.filter(|(_, one)| !one.is_over);
        waiting.map(|(index, _)| index)
    }

    /// The requests that have ended since they were taken last.
    pub fn ended(&self) -> &[Ended] {
        &self.ended
    }

    /// The requests that have ended since this was asked last.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Takes a step that was [resolved](Self::resolve).
    pub fn take(&mut self, step: &Step) -> Outcome {
        let mut passes = STEP;
        let outcome = match step {
            Step::Open(access) => {
                let opens = self.presence == Presence::There && !self.remove_pending;
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
            Step::Send { file, ask } => {
                self.send(*file, ask);
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
            Step::Serve => {
                self.serve(Micros::MAX);
                Outcome::Done
            }
            Step::Pass(millis) => {
                passes += Micros::from(*millis) * 1000;
                Outcome::Done
            }
            Step::Plug(plug) => self.plug(*plug),
        };
        let now = self.now + passes;
        self.serve(now);
        self.now = now;
        self.let_go();
        outcome
    }

    fn cancel_file(&mut self, file: usize) -> Outcome {
        let found = self.find(|_, one| one.file == file);
        let ended = self.queues.cancel_file(file);
        self.end(ended);
        found
    }

    /// Asks the requests that match to be cancelled; says what is found.
    fn find(&mut self, matches: impl Fn(usize, &Request) -> bool) -> Outcome {
        let mut outcome = Outcome::Found(false);
        for (index, one) in self.requests.iter_mut().enumerate() {
            if one.is_over || !matches(index, one) {
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

    /// Whether a request of a file has not ended.
    fn is_in_use(&self, file: usize) -> bool {
        let mut requests = self.requests.iter();
        requests.any(|one| one.file == file && !one.is_over)
    }

    /// Whether a file is open, or closed while a request of it has not ended.
    fn is_held(&self) -> bool {
        let mut files = self.files.iter().enumerate();
        files.any(|(index, file)| file.is_open || self.is_in_use(index))
    }

    /// Removes the device that was taken away, once nothing holds it.
    fn let_go(&mut self) {
        if self.presence == Presence::Gone && !self.is_held() {
            self.presence = Presence::Removed;
        }
    }

    fn end(&mut self, ended: Vec<Ended>) {
        for (request, answer) in ended {
            self.requests[request].is_over = true;
            self.ended.push((request, answer));
        }
    }

    /// Serves whatever will have been served by a time.
    fn serve(&mut self, until: Micros) {
        while let Some((due, ended)) = self.queues.serve_next(until) {
            self.now = self.now.max(due);
            self.end(vec![ended]);
        }
    }

    fn plug(&mut self, plug: Plug) -> Outcome {
        match plug {
            Plug::QueryRemove => self.remove_pending = true,
            Plug::CancelRemove => self.remove_pending = false,
            Plug::Remove => {
                let removed = !self.is_held();
                self.remove_pending = false;
                if removed {
                    self.presence = Presence::Removed;
                }
                return Outcome::Removed(removed);
            }
            Plug::TakeAway => {
                let ended = self.queues.abort_all();
                self.end(ended);
                self.presence = Presence::Gone;
            }
            Plug::BringBack => {
                self.queues = Queues::new(Counters::default());
                self.remove_pending = false;
                self.presence = Presence::There;
            }
        }
        Outcome::Done
    }

    /// The steps after which nothing is left of a sequence on the device: nothing waits, nothing is stacked.
    pub fn clean_up(&self) -> Vec<Step> {
        let send = |ask| Step::Send { file: 0, ask };
        let mut steps = vec![Step::Serve];
        steps.extend(self.open_files().iter().map(|_| Step::Close { file: 0 }));
        if self.presence == Presence::There && self.remove_pending {
            steps.push(Step::Plug(Plug::CancelRemove));
        }
        steps.push(Step::Open(Access::ReadWrite));
        let state = RunState::RUNNING;
        steps.push(send(Ask::SetRunState { state }));
        steps.push(send(Ask::Counters));
        steps.push(send(Ask::Statistics));
        steps.push(Step::Close { file: 0 });
        steps
    }

    /// The steps after which the driver can be unloaded.
    pub fn take_down(&self) -> Vec<Step> {
        let mut steps = vec![Step::Serve];
        steps.extend(self.open_files().iter().map(|_| Step::Close { file: 0 }));
        steps.push(Step::Plug(Plug::Remove));
        steps
    }
}

/// Makes a number the one that it stands for; says whether there is one.
fn pick(number: &mut usize, from: &[usize]) -> bool {
    let picked = from.get(*number % from.len().max(1));
    *number = picked.copied().unwrap_or(0);
    picked.is_some()
}
