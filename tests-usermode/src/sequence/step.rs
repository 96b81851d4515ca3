//! The steps of a sequence.

use std::fmt;

use interlock_abi::{Call, Pend, Routine};
use serde::{Deserialize, Serialize};

use crate::client::{Ioctl, on_queue};
use crate::target::Access;

/// A step of a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Opens the device.
    Open(Access),
    /// Closes a file, whether or not requests are pending.
    Close { file: usize },
    /// Sends a request through a file.
    Send { file: usize, control: Control },
    /// Cancels a request (`CancelIoEx`).
    Cancel { request: usize },
    /// Cancels every request of a file (`CancelIoEx`).
    CancelAll { file: usize },
    /// Cancels every request that this thread sent through a file (`CancelIo`).
    CancelIo { file: usize },
    /// Waits until no request is being served.
    Drain,
    /// Advances the clock by some milliseconds. This and the next are for the model only.
    Advance(u32),
    /// Does what the PnP manager does to the device.
    Pnp(Pnp),
}

/// A request of the PnP manager, or `AddDevice`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pnp {
    /// `IRP_MN_QUERY_REMOVE_DEVICE`
    QueryRemove,
    /// `IRP_MN_CANCEL_REMOVE_DEVICE`
    CancelRemove,
    /// `IRP_MN_QUERY_REMOVE_DEVICE` and `IRP_MN_REMOVE_DEVICE`; vetoed if a file is open.
    Remove,
    /// `IRP_MN_SURPRISE_REMOVAL`, whether or not files are open.
    SurpriseRemove,
    /// `AddDevice`, after the last device was removed.
    Restore,
}

/// A device-control request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
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
    /// Any code and buffers.
    Raw {
        code: u32,
        input: Vec<u8>,
        output_len: usize,
    },
}

impl Control {
    /// Returns the request as it is sent.
    pub fn ioctl(&self) -> Ioctl {
        match *self {
            Self::Version => Ioctl::get_version(),
            Self::Pend {
                tag,
                queue,
                key,
                service_ms,
            } => Ioctl::pend(Pend {
                key,
                service_ms,
                ..on_queue(queue, tag)
            }),
            Self::CompleteOldest { count } => Ioctl::complete_oldest(count),
            Self::CompleteByTag { tag } => Ioctl::complete_by_tag(tag),
            Self::Counters => Ioctl::get_counters(),
            Self::Statistics => Ioctl::get_statistics(),
            Self::Pop => Ioctl::pop(),
            Self::SetRunState { state } => Ioctl::set_run_state(state),
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
                Ioctl::call(routine, &call)
            }
            Self::Threads {
                routine,
                threads,
                rounds,
            } => Ioctl::run_threads(routine, threads, rounds),
            Self::Raw {
                code,
                ref input,
                output_len,
            } => Ioctl {
                code,
                input: input.clone(),
                output_len,
            },
        }
    }
}

impl fmt::Display for Step {
    /// As JSON, which `harness sequence --steps` reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Serializes a routine as its name in the WDK.
mod by_name {
    use interlock_abi::Routine;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
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
