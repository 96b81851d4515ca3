//! The queues of one device, as `interlock_abi` describes them: who waits where, who is next, and what is counted.

use interlock_abi::{Counters, Pend, Pended, queue};
use zerocopy::IntoBytes;

use super::super::answer::{Answer, wrapped};
use super::Micros;
use crate::status::Status;

/// A request that ends, and how.
pub type Ended = (usize, Answer);

/// A request that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub request: usize,
    pub file: usize,
    pended: Pended,
    service: Micros,
}

/// A queue whose requests are served one at a time.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// The one that is served, and when it will have been.
    current: Option<(Waiting, Micros)>,
    /// The others, as they came.
    waiting: Vec<Waiting>,
}

impl Served {
    pub fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.is_busy())
    }

    fn insert(&mut self, waiting: Waiting, now: Micros) {
        if self.is_busy() {
            self.waiting.push(waiting);
        } else {
            let due = now + waiting.service;
            self.current = Some((waiting, due));
        }
    }

    /// When the one that is served will have been.
    fn due(&self) -> Option<Micros> {
        self.current.as_ref().map(|(_, due)| *due)
    }

    /// Ends the service of one, and begins that of the next.
    fn serve(&mut self) -> Option<Waiting> {
        let (served, due) = self.current.take()?;
        let last = served.pended.key;
        let place = |waiting: &Waiting| (waiting.pended.key < last, waiting.pended.key);
        let next = self.waiting.iter().enumerate();
        // Of equal ones the first is taken.
        if let Some((index, _)) = next.min_by_key(|(_, waiting)| place(waiting)) {
            let next = self.waiting.remove(index);
            let due = due + next.service;
            self.current = Some((next, due));
        }
        Some(served)
    }
}

/// The queues.
#[derive(Clone, Debug, Default)]
pub struct Queues {
    pub counters: Counters,
    pub keyed: Served,
    pub serial: Served,
    /// The records that were pushed, and through which files.
    pub stack: Vec<(usize, Pended)>,
    pub stopped: bool,
    fifo: Vec<Waiting>,
    /// Requests that run `IoSetCancelRoutine` alone, and their files.
    alone: Vec<(usize, usize)>,
}

impl Queues {
    /// Queues of a device that has counted this.
    pub fn new(counters: Counters) -> Self {
        Self {
            counters,
            ..Self::default()
        }
    }

    pub fn pending(&self) -> u64 {
        (self.fifo.len() + self.keyed.len() + self.serial.len()) as u64
    }

    /// Counts a success and numbers it.
    fn complete(&mut self, mut pended: Pended) -> Pended {
        self.counters.completed += 1;
        pended.order = self.counters.completed;
        pended
    }

    fn succeed(&mut self, waiting: &Waiting) -> Ended {
        let pended = self.complete(waiting.pended);
        (waiting.request, Answer::Bytes(pended.as_bytes().into()))
    }

    /// Accepts a request, or does not; says how it ends if it ends now.
    pub fn pend(
        &mut self,
        request: usize,
        file: usize,
        pend: &Pend,
        now: Micros,
    ) -> Option<Answer> {
        if self.stopped {
            return Some(Answer::Only(Status::DEVICE_NOT_READY));
        }
        let waiting = Waiting {
            request,
            file,
            pended: Pended {
                tag: pend.tag,
                order: 0,
                sequence: wrapped(self.counters.submitted),
                queue: pend.queue,
                key: pend.key,
                reserved: 0,
            },
            service: Micros::from(pend.service_ms) * 1000,
        };
        self.counters.submitted += 1;
        match pend.queue {
            queue::INTERLOCKED => Some(self.succeed(&waiting).1),
            queue::STACK => {
                let pended = self.complete(waiting.pended);
                self.stack.push((file, pended));
                Some(Answer::Bytes(pended.as_bytes().into()))
            }
            queue::KEYED => {
                self.keyed.insert(waiting, now);
                None
            }
            queue::SERIAL => {
                self.serial.insert(waiting, now);
                None
            }
            _ => {
                self.fifo.push(waiting);
                None
            }
        }
    }

    /// Queues a request that runs `IoSetCancelRoutine` alone, until it is cancelled.
    pub fn pend_alone(&mut self, request: usize, file: usize) {
        self.alone.push((request, file));
    }

    pub fn complete_oldest(&mut self, count: u32) -> Vec<Ended> {
        let count = self.fifo.len().min(count as usize);
        let oldest: Vec<Waiting> = self.fifo.drain(..count).collect();
        oldest.iter().map(|waiting| self.succeed(waiting)).collect()
    }

    pub fn complete_by_tag(&mut self, tag: u64) -> Option<Ended> {
        let mut fifo = self.fifo.iter();
        let index = fifo.position(|waiting| waiting.pended.tag == tag)?;
        let found = self.fifo.remove(index);
        Some(self.succeed(&found))
    }

    /// Ends what waits, but for what is served, of the requests that match.
    fn end(&mut self, status: Status, matches: impl Fn(usize, usize) -> bool) -> Vec<Ended> {
        let mut ended = Vec::new();
        for queue in [
            &mut self.fifo,
            &mut self.keyed.waiting,
            &mut self.serial.waiting,
        ] {
            let over = queue.extract_if(.., |one| matches(one.request, one.file));
            ended.extend(over.map(|one| one.request));
        }
        let count = ended.len() as u64;
        if status == Status::CANCELLED {
            self.counters.cancelled += count;
        } else {
            self.counters.aborted += count;
        }
        // These are counted nowhere.
        let alone = self.alone.extract_if(.., |one| matches(one.0, one.1));
        ended.extend(alone.map(|one| one.0));
        let end = |request| (request, Answer::Only(status));
        ended.into_iter().map(end).collect()
    }

    pub fn cancel(&mut self, request: usize) -> Vec<Ended> {
        self.end(Status::CANCELLED, |one, _| one == request)
    }

    pub fn cancel_file(&mut self, file: usize) -> Vec<Ended> {
        self.end(Status::CANCELLED, |_, one| one == file)
    }

    /// Ends what a file has waiting, and drops what it has on its stack.
    pub fn close_file(&mut self, file: usize) -> Vec<Ended> {
        self.stack.retain(|(owner, _)| *owner != file);
        self.cancel_file(file)
    }

    /// Takes the record that was pushed last through a file.
    pub fn pop(&mut self, file: usize) -> Option<Pended> {
        let index = self.stack.iter().rposition(|(owner, _)| *owner == file)?;
        Some(self.stack.remove(index).1)
    }

    pub fn abort_all(&mut self) -> Vec<Ended> {
        self.end(Status::DELETE_PENDING, |_, _| true)
    }

    /// Serves the next request of either queue that will have been served by a time; says when.
    pub fn serve_next(&mut self, until: Micros) -> Option<(Micros, Ended)> {
        let (keyed, serial) = (self.keyed.due(), self.serial.due());
        let due = keyed.into_iter().chain(serial).min()?;
        if due > until {
            return None;
        }
        let queue = if keyed == Some(due) {
            &mut self.keyed
        } else {
            &mut self.serial
        };
        let served = queue.serve()?;
        Some((due, self.succeed(&served)))
    }
}
