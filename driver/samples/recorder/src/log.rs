//! The recorded messages, and the log to which a thread appends them.

use alloc::collections::VecDeque;

use pinned_init::{PinInit, pin_data, try_pin_init};
use wdm::{
    Error, InterlockedLong, InterlockedOwner, IrpQueue, Lookaside, LookasideBox, Mutex, NewDevice,
    NtStatus, PassiveLevel, QueueCallbacks, Rundown, SList, Shared, Thread, ThreadRoutine,
    irql::AtMostDispatch,
};

/// The maximum number of lines in the log.
pub const CAPACITY: usize = 256;

/// The length of the longest line. A longer text is truncated.
pub const MAX_LINE: usize = 120;

/// The maximum number of recorded messages that are not in the log yet.
const MAX_ARRIVED: u16 = 1024;

/// The line of a message.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    bytes: [u8; MAX_LINE],
    length: usize,
}

impl Line {
    /// Makes a line of the parts of a text.
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        let text = parts.iter().copied().flatten().filter(|byte| **byte != 0);
        let text = text.take(MAX_LINE - 1).chain(b"\n");
        let mut line = Self {
            bytes: [0; MAX_LINE],
            length: 0,
        };
        for (place, byte) in line.bytes.iter_mut().zip(text) {
            *place = *byte;
            line.length += 1;
        }
        line
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The queues' callbacks, which do nothing.
pub(crate) struct Quiet;

impl QueueCallbacks for Quiet {
    type Record = ();
}

/// The state that is used to record a message.
struct Intake {
    memory: Lookaside<Line>,
    /// The messages that the thread has not appended to the log yet, the last one first.
    arrived: SList<Line>,
}

type Lines = VecDeque<LookasideBox<Line>>;

/// The state of the thread.
#[pin_data]
pub(crate) struct Log {
    #[pin]
    intake: Rundown<Intake>,
    #[pin]
    lines: Mutex<Lines>,
    pub(crate) reads: Shared<IrpQueue<Quiet>>,
    pub(crate) flushes: Shared<IrpQueue<Quiet>>,
    /// Memory that is used if an allocation fails, so that the first message of a shortage, which may state its cause, is recorded.
    reserve: InterlockedOwner<LookasideBox<Line>>,
    /// How many messages were lost.
    pub(crate) lost: InterlockedLong,
}

impl Log {
    /// Makes an empty log.
    pub(crate) fn new(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error> + use<>, Error> {
        let memory = Lookaside::new(irql)?;
        let reserve = InterlockedOwner::new();
        reserve.exchange(memory.allocate(Line::new(&[])));
        let mut lines = Lines::new();
        let reserved = lines.try_reserve_exact(CAPACITY);
        reserved.map_err(|_| Error::INSUFFICIENT_RESOURCES)?;
        let arrived = SList::new();
        let reads = IrpQueue::new(Quiet, device, irql)?;
        let flushes = IrpQueue::new(Quiet, device, irql)?;
        Ok(try_pin_init!(Self {
            intake <- Rundown::new(Intake { memory, arrived }),
            lines <- Mutex::new(lines),
            reads,
            flushes,
            reserve,
            lost: InterlockedLong::new(0),
        }? Error))
    }

    /// Records a line; returns whether the thread must be woken.
    pub(crate) fn put<L: AtMostDispatch>(&self, line: Line, irql: &mut L) -> Result<bool, Error> {
        let pushed = self.intake.access(irql, |intake, _| {
            if intake.arrived.depth() >= MAX_ARRIVED {
                return None;
            }
            let block = intake.memory.allocate(line).or_else(|| {
                let mut block = self.reserve.take()?;
                *block = line;
                Some(block)
            });
            block.map(|block| intake.arrived.push(block))
        });
        let pushed = pushed.ok_or(Error::DEVICE_NOT_READY)?;
        pushed.ok_or_else(|| {
            self.lost.increment();
            Error::INSUFFICIENT_RESOURCES
        })
    }

    /// Appends the messages that have arrived to the log.
    fn append(&self, intake: &Intake, lines: &mut Lines) {
        let in_order = SList::new();
        intake.arrived.flush(|line| {
            in_order.push(line);
        });
        let mut lost = 0;
        while let Some(line) = in_order.pop() {
            if lines.len() == lines.capacity() {
                self.free(lines.pop_front());
                lost += 1;
            }
            // The condition is always true. With it, the compiler recognises that `push_back` does not allocate, which could panic.
            if lines.len() < lines.capacity() {
                lines.push_back(line);
            }
        }
        self.lost.exchange_add(lost);
    }

    /// Frees the memory of a line, or keeps it as the reserve.
    fn free(&self, line: Option<LookasideBox<Line>>) {
        drop(line.map(|line| self.reserve.set_if_empty(line)));
    }

    /// Completes reads as long as there are lines.
    pub(crate) fn serve(&self, irql: &mut PassiveLevel) {
        while let Some(reply) = self.lines.with(irql, |lines, irql| {
            lines.front()?;
            let mut reply = self.reads.remove_first(irql)?.reply();
            while let Some(line) = lines.front()
                && line.bytes().len() <= reply.room()
            {
                reply.append(line.bytes());
                self.free(lines.pop_front());
            }
            Some(reply)
        }) {
            reply.complete(NtStatus::SUCCESS, irql);
        }
    }

    /// Returns the number of bytes in the log.
    pub(crate) fn size(&self, irql: &mut PassiveLevel) -> u64 {
        let length = |line: &LookasideBox<Line>| line.length as u64;
        self.lines
            .with(irql, |lines, _| lines.iter().map(length).sum())
    }

    /// Removes all lines from the log.
    pub(crate) fn clear(&self, irql: &mut PassiveLevel) {
        self.lines.with(irql, |lines, _| lines.clear());
    }

    /// Records the last line: further messages are refused, and messages that other threads are recording precede it.
    pub(crate) fn close(&self, last: Line, irql: &mut PassiveLevel) {
        if let Some(intake) = self.intake.run_down(irql) {
            if let Some(last) = intake.memory.allocate(last) {
                intake.arrived.push(last);
            }
            self.lines
                .with(irql, |lines, _| self.append(&intake, lines));
            self.serve(irql);
        }
    }
}

impl ThreadRoutine for Log {
    fn run(thread: &Thread<Self>, irql: &mut PassiveLevel) {
        while thread.wait(irql) {
            loop {
                // Removed first, so that what was recorded before the flush is in the log when it is completed.
                let flush = thread.flushes.remove_first(irql);
                thread.lines.with(irql, |lines, irql| {
                    let append = |intake: &Intake, _: &mut _| thread.append(intake, lines);
                    thread.intake.access(irql, append)
                });
                thread.serve(irql);
                let Some(flush) = flush else { break };
                flush.complete(NtStatus::SUCCESS, irql);
            }
        }
    }
}
