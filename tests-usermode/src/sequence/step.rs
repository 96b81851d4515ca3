//! What can be done to the device, one step at a time.

use std::fmt;

use interlock_abi::{
    Call, CompleteByTag, CompleteOldest, Completed, Counters, Pend, Pended, Returned, Routine,
    RunState, RunThreads, Statistics, ThreadsRan, Version, ioctl,
};
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

use crate::target::Access;

/// A step of a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Opens the device.
    Open(Access),
    /// Closes a file, whether or not requests are pending.
    Close { file: usize },
    /// Sends a request through a file.
    Send { file: usize, ask: Ask },
    /// Cancels a request (`CancelIoEx`).
    Cancel { request: usize },
    /// Cancels every request of a file (`CancelIoEx`).
    CancelAll { file: usize },
    /// Cancels every request of this thread's of a file (`CancelIo`).
    CancelIo { file: usize },
    /// Waits until nothing is served any more.
    Serve,
    /// Lets some milliseconds pass. On the model alone, as all that follows.
    Pass(u32),
    /// Does something to the device as the PnP manager does.
    Plug(Plug),
}

/// What the PnP manager does to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Plug {
    /// Asks whether it may be removed.
    QueryRemove,
    /// Says that it is not removed after all.
    CancelRemove,
    /// Removes it in good order, unless a file is open.
    Remove,
    /// Takes it away under its users.
    TakeAway,
    /// Adds one again, once the last one is gone.
    BringBack,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// `GET_VERSION`
    Version,
    /// `PEND`
    Pend {
        tag: u64,
        queue: u32,
        key: u32,
        service_ms: u32,
    },
    /// `COMPLETE_OLDEST`
    CompleteOldest { count: u32 },
    /// `COMPLETE_BY_TAG`
    CompleteByTag { tag: u64 },
    /// `GET_COUNTERS`
    Counters,
    /// `GET_STATISTICS`
    Statistics,
    /// `POP`
    Pop,
    /// `SET_RUN_STATE`
    SetRunState { state: u32 },
    /// The code of a routine.
    Routine {
        #[serde(with = "by_name")]
        routine: Routine,
        argument: u64,
        reserved: u32,
        values: Vec<u64>,
    },
    /// `RUN_THREADS`
    Threads {
        #[serde(with = "by_name")]
        routine: Routine,
        threads: u32,
        rounds: u32,
    },
    /// Anything.
    Raw {
        code: u32,
        input: Vec<u8>,
        output_len: usize,
    },
}

/// A request as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The IOCTL code.
    pub code: u32,
    /// What the input buffer holds.
    pub input: Vec<u8>,
    /// How long the output buffer is.
    pub output_len: usize,
}

/// A request whose output has the type `O`.
fn wire<O>(code: u32, input: &(impl IntoBytes + zerocopy::Immutable)) -> Wire {
    Wire {
        code,
        input: input.as_bytes().into(),
        output_len: size_of::<O>(),
    }
}

impl Ask {
    /// The request as it is sent.
    pub fn wire(&self) -> Wire {
        match *self {
            Self::Version => wire::<Version>(ioctl::GET_VERSION, &()),
            Self::Pend {
                tag,
                queue,
                key,
                service_ms,
            } => {
                let pend = Pend {
                    tag,
                    queue,
                    key,
                    service_ms,
                    reserved: 0,
                };
                wire::<Pended>(ioctl::PEND, &pend)
            }
            Self::CompleteOldest { count } => {
                let oldest = CompleteOldest { count, reserved: 0 };
                wire::<Completed>(ioctl::COMPLETE_OLDEST, &oldest)
            }
            Self::CompleteByTag { tag } => {
                wire::<()>(ioctl::COMPLETE_BY_TAG, &CompleteByTag { tag })
            }
            Self::Counters => wire::<Counters>(ioctl::GET_COUNTERS, &()),
            Self::Statistics => wire::<Statistics>(ioctl::GET_STATISTICS, &()),
            Self::Pop => wire::<Pended>(ioctl::POP, &()),
            Self::SetRunState { state } => {
                wire::<RunState>(ioctl::SET_RUN_STATE, &RunState { state, reserved: 0 })
            }
            Self::Routine {
                routine,
                argument,
                reserved,
                ref values,
            } => {
                let mut call = Call {
                    argument,
                    reserved,
                    count: u32::try_from(values.len()).unwrap_or(u32::MAX),
                    ..Call::default()
                };
                for (to, from) in call.values.iter_mut().zip(values) {
                    *to = *from;
                }
                wire::<Returned>(routine.ioctl(), &call)
            }
            Self::Threads {
                routine,
                threads,
                rounds,
            } => {
                let run = RunThreads {
                    routine: routine as u32,
                    threads,
                    rounds,
                    reserved: 0,
                };
                wire::<ThreadsRan>(ioctl::RUN_THREADS, &run)
            }
            Self::Raw {
                code,
                ref input,
                output_len,
            } => Wire {
                code,
                input: input.clone(),
                output_len,
            },
        }
    }
}

impl fmt::Display for Step {
    /// As JSON, in which a step can be given to `harness sequence` again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// A routine by the name that the WDK has for it.
mod by_name {
    use interlock_abi::Routine;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde gives it like this"
    )]
    pub fn serialize<S: Serializer>(routine: &Routine, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(routine.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Routine, D::Error> {
        let name = String::deserialize(from)?;
        let mut all = Routine::ALL.iter().copied();
        all.find(|routine| routine.name() == name)
            .ok_or_else(|| D::Error::custom(format!("no routine is called {name}")))
    }
}
