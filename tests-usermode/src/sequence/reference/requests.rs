//! How each request must end, by the tables of `interlock_abi`.

use interlock_abi::{
    ABI_VERSION, Call, CompleteByTag, CompleteOldest, Completed, Counters, Pend, Routine, RunState,
    RunThreads, Version, ioctl,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::super::answer::Answer;
use super::super::step::Control;
use super::{Presence, Reference, Request, routines};
use crate::client::Ioctl;
use crate::fuzz;
use crate::status::Status;
use crate::target::Access;

impl Reference {
    /// Sends a request through a file.
    pub fn send(&mut self, file: usize, control: &Control) {
        let request = self.requests.len();
        self.requests.push(Request {
            file,
            may_pend: false,
            is_cancelled: false,
            has_ended: false,
        });
        let ioctl = control.ioctl();
        let refused = self.refused(file, &ioctl);
        if let Some(answer) = refused.or_else(|| self.execute_ioctl(request, file, &ioctl)) {
            self.end(vec![(request, answer)]);
        }
    }

    /// Returns how a request ends that the I/O manager or the driver refuses.
    fn refused(&mut self, file: usize, ioctl: &Ioctl) -> Option<Answer> {
        let granted = match self.files[file].access {
            Access::Read => 1,
            Access::Write => 2,
            Access::ReadWrite => 3,
        };
        if (ioctl.code >> 14) & 3 & !granted != 0 {
            return Some(Answer::Only(Status::ACCESS_DENIED));
        }
        if self.presence != Presence::Started {
            return Some(Answer::Only(Status::DELETE_PENDING));
        }
        let status = fuzz::refusal(ioctl)?;
        self.queues.counters.rejected += 1;
        Some(Answer::Only(status))
    }

    /// Returns how a well-formed request ends; `None` if it is pending.
    fn execute_ioctl(&mut self, request: usize, file: usize, ioctl: &Ioctl) -> Option<Answer> {
        let input = &ioctl.input;
        Some(match ioctl.code {
            ioctl::GET_VERSION => success(&version()),
            ioctl::PEND => {
                self.requests[request].may_pend = true;
                let pend = Pend::read_from_bytes(input).ok()?;
                return self.queues.pend(request, file, &pend, self.now);
            }
            ioctl::COMPLETE_OLDEST => {
                let oldest = CompleteOldest::read_from_bytes(input).ok()?;
                let ended = self.queues.complete_oldest(oldest.count);
                let count = u32::try_from(ended.len()).unwrap_or(u32::MAX);
                self.end(ended);
                success(&Completed { count, reserved: 0 })
            }
            ioctl::COMPLETE_BY_TAG => {
                let by_tag = CompleteByTag::read_from_bytes(input).ok()?;
                match self.queues.complete_by_tag(by_tag.tag) {
                    Some(ended) => {
                        self.end(vec![ended]);
                        Answer::Only(Status::SUCCESS)
                    }
                    None => Answer::Only(Status::NOT_FOUND),
                }
            }
            ioctl::GET_COUNTERS => success(&Counters {
                pending: self.queues.pending(),
                ..self.queues.counters
            }),
            ioctl::GET_STATISTICS => {
                let stacked = self.queues.stack.len() as u64;
                Answer::Statistics {
                    in_use: self.queues.pending() + stacked,
                    stacked,
                    accepted: self.queues.counters.submitted,
                }
            }
            ioctl::POP => match self.queues.pop(file) {
                Some(pended) => success(&pended),
                None => Answer::Only(Status::NOT_FOUND),
            },
            ioctl::SET_RUN_STATE => {
                let state = RunState::read_from_bytes(input).ok()?;
                let old = RunState {
                    state: u32::from(self.queues.stopped),
                    reserved: 0,
                };
                self.queues.stopped = state.state == RunState::STOPPED;
                success(&old)
            }
            ioctl::RUN_THREADS => {
                routines::threads_answer(&RunThreads::read_from_bytes(input).ok()?)
            }
            code => {
                let routine = Routine::from_ioctl(code)?;
                let call = Call::read_from_bytes(input).ok()?;
                if routine == Routine::IoSetCancelRoutine {
                    return self.set_cancel_routine(request, file, &call);
                }
                routines::answer(routine, &call)
            }
        })
    }

    fn set_cancel_routine(&mut self, request: usize, file: usize, call: &Call) -> Option<Answer> {
        self.requests[request].may_pend = true;
        if call.argument == 0 {
            return Some(routines::answer(Routine::IoSetCancelRoutine, call));
        }
        self.queues.pend_routine(request, file);
        None
    }
}

fn success(output: &(impl IntoBytes + Immutable)) -> Answer {
    Answer::Bytes(output.as_bytes().into())
}

/// The driver's version is that of the workspace, as is this crate's.
fn version() -> Version {
    let number = |text: &str| text.parse().unwrap_or(u32::MAX);
    Version {
        abi: ABI_VERSION,
        major: number(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: number(env!("CARGO_PKG_VERSION_MINOR")),
        patch: number(env!("CARGO_PKG_VERSION_PATCH")),
    }
}
