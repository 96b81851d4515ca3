//! How a request must end, and the description of how it ended.

use std::fmt::Debug;

use interlock_abi::{CallResult, Counters, Pended, Routine, Statistics, ThreadResults, ioctl};
use zerocopy::FromBytes;

use crate::status::Status;
use crate::target::Completion;

/// How a request must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With this status and no output.
    Only(Status),
    /// With success and exactly this output.
    Bytes(Vec<u8>),
    /// With success and statistics with these numbers of records in use, records on the stack and requests accepted.
    Statistics {
        in_use: u64,
        stacked: u64,
        accepted: u64,
    },
    /// With success and a processor's number.
    Processor,
    /// With success and the result of this number of rounds; `expected` is the count that they must reach, if it is known.
    Threads { rounds: u64, expected: Option<u64> },
}

impl Answer {
    /// Checks how a request ended.
    pub fn check(&self, end: &Completion) -> Result<(), String> {
        let right = match self {
            Self::Only(status) => end.status == *status && end.information == 0,
            Self::Bytes(bytes) => {
                end.status == Status::SUCCESS
                    && end.output.get(..end.information) == Some(bytes.as_slice())
            }
            Self::Statistics {
                in_use,
                stacked,
                accepted,
            } => read(end).is_some_and(|got: Statistics| {
                let sum: u64 = got
                    .processor
                    .iter()
                    .map(|one| u64::from(one.accepted))
                    .sum();
                u64::from(got.records_in_use) == *in_use
                    && u64::from(got.stacked) == *stacked
                    && got.records >= got.records_in_use
                    && sum == *accepted
                    && got.processors > 0
                    && (0..=got.latency).contains(&got.longest)
            }),
            Self::Processor => read(end).is_some_and(|got: CallResult| {
                got.found == 1 && got.count == 1 && got.status == 0 && got.value < got.values[0]
            }),
            Self::Threads { rounds, expected } => read(end).is_some_and(|got: ThreadResults| {
                got.rounds == *rounds
                    && got.actual == got.expected
                    && expected.is_none_or(|expected| expected == got.expected)
                    && got.violations == 0
            }),
        };
        if right && end.rest_is_untouched() {
            return Ok(());
        }
        Err(format!(
            "ended with {}, Information {}, output {:02x?},\nnot with {self:02x?}",
            end.status, end.information, end.output
        ))
    }
}

/// Returns the output of a request that succeeded, if it has the size of a `T`.
fn read<T: FromBytes>(end: &Completion) -> Option<T> {
    (end.status == Status::SUCCESS).then(|| end.read().ok())?
}

/// Describes how a request ended, without what differs between runs: times, processors, and the counters before.
pub fn describe(code: u32, end: &Completion, before: &Counters) -> String {
    let output = end.output.get(..end.information).unwrap_or_default();
    let described = match code {
        ioctl::PEND | ioctl::POP => show(output, |pended: Pended| Pended {
            order: pended.order.wrapping_sub(before.completed),
            sequence: pended.sequence.wrapping_sub(wrapped(before.submitted)),
            ..pended
        }),
        ioctl::GET_COUNTERS => show(output, |now: Counters| Counters {
            submitted: now.submitted.wrapping_sub(before.submitted),
            completed: now.completed.wrapping_sub(before.completed),
            cancelled: now.cancelled.wrapping_sub(before.cancelled),
            aborted: now.aborted.wrapping_sub(before.aborted),
            rejected: now.rejected.wrapping_sub(before.rejected),
            over_quota: now.over_quota.wrapping_sub(before.over_quota),
            pending: now.pending,
        }),
        ioctl::GET_STATISTICS => show(output, |now: Statistics| (now.records_in_use, now.stacked)),
        _ if code == Routine::KeGetCurrentProcessorNumber.ioctl() => {
            show(output, |returned: CallResult| {
                (returned.found, returned.count)
            })
        }
        _ if Routine::from_ioctl(code).is_some() => show(output, |returned: CallResult| returned),
        ioctl::RUN_THREADS => show(output, |ran: ThreadResults| ran),
        _ => None,
    };
    let described = described.unwrap_or_else(|| format!("{output:02x?}"));
    format!("{}, {} bytes, {described}", end.status, end.information)
}

/// Returns the number of accepted requests, as a sequence number has it.
pub fn wrapped(submitted: u64) -> u32 {
    u32::try_from(submitted & u64::from(u32::MAX)).unwrap_or_default()
}

fn show<T: FromBytes, D: Debug>(output: &[u8], what: impl FnOnce(T) -> D) -> Option<String> {
    let output = T::read_from_bytes(output).ok()?;
    Some(format!("{:?}", what(output)))
}
