//! The queues of a device, as `interlock_abi` describes them, and its counters.

use interlock_abi::{Counters, Pend, Pended, queue};
use zerocopy::IntoBytes;

use super::super::answer::{Answer, wrapped};
use super::Micros;
use crate::status::Status;

/// The number of a request that ends, and its answer.
pub type Ended = (usize, Answer);

/// A pending request.
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
    /// The request that is being served, and when its service ends.
    current: Option<(Waiting, Micros)>,
    /// The other requests, in the order of arrival.
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

    /// Returns the time at which the current service ends.
    fn due(&self) -> Option<Micros> {
        self.current.as_ref().map(|(_, due)| *due)
    }

    /// Ends the current service and begins the next.
    fn serve(&mut self) -> Option<Waiting> {
        let (served, due) = self.current.take()?;
        let last = served.pended.key;
        let place = |waiting: &Waiting| (waiting.pended.key < last, waiting.pended.key);
        let next = self.waiting.iter().enumerate();
        // If several requests have the smallest key, this takes the first of them.
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
    /// The records on the stack, each with the file that it was pushed through.
    pub stack: Vec<(usize, Pended)>,
    pub stopped: bool,
    fifo: Vec<Waiting>,
    /// Requests of the routine `IoSetCancelRoutine`, and their files.
    of_routine: Vec<(usize, usize)>,
}

impl Queues {
    /// Returns the empty queues of a device with these counters.
    pub fn new(counters: Counters) -> Self {
        Self {
            counters,
            ..Self::default()
        }
    }

    pub fn pending(&self) -> u64 {
        (self.fifo.len() + self.keyed.len() + self.serial.len()) as u64
    }

    /// Counts a completion and numbers it.
    fn complete(&mut self, mut pended: Pended) -> Pended {
        self.counters.completed += 1;
        pended.order = self.counters.completed;
        pended
    }

    fn succeed(&mut self, waiting: &Waiting) -> Ended {
        let pended = self.complete(waiting.pended);
        (waiting.request, Answer::Bytes(pended.as_bytes().into()))
    }

    /// Accepts or refuses a request; returns the answer if the request ends immediately.
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

    /// Queues a request of the routine `IoSetCancelRoutine`, which is pending until it is cancelled.
    pub fn pend_routine(&mut self, request: usize, file: usize) {
        self.of_routine.push((request, file));
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

    /// Ends the pending requests that match, except those that are being served.
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
        // The counters do not include these requests.
        let of_routine = self.of_routine.extract_if(.., |one| matches(one.0, one.1));
        ended.extend(of_routine.map(|one| one.0));
        let end = |request| (request, Answer::Only(status));
        ended.into_iter().map(end).collect()
    }

    pub fn cancel(&mut self, request: usize) -> Vec<Ended> {
        self.end(Status::CANCELLED, |one, _| one == request)
    }

    pub fn cancel_file(&mut self, file: usize) -> Vec<Ended> {
        self.end(Status::CANCELLED, |_, one| one == file)
    }

    /// Ends a file's pending requests and empties its stack.
    pub fn close_file(&mut self, file: usize) -> Vec<Ended> {
        self.stack.retain(|(owner, _)| *owner != file);
        self.cancel_file(file)
    }

    /// Pops the record that was pushed last through a file.
    pub fn pop(&mut self, file: usize) -> Option<Pended> {
        let index = self.stack.iter().rposition(|(owner, _)| *owner == file)?;
        Some(self.stack.remove(index).1)
    }

    pub fn abort_all(&mut self) -> Vec<Ended> {
        self.end(Status::DELETE_PENDING, |_, _| true)
    }

    /// Ends the service that ends first, if it ends by `until`; returns the time and the request.
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
