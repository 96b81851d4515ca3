//! Schedules: the order in which the threads of a scenario ran, as text.

use std::{fmt, str::FromStr};

/// The order in which the threads of a scenario ran: the thread that runs at each step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(pub(crate) Vec<usize>);

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A letter or digit for each step, followed by a number if the thread runs for several steps.
        let mut steps = self.0.iter().peekable();
        while let Some(task) = steps.next() {
            let mut times = 1;
            while steps.next_if_eq(&task).is_some() {
                times += 1;
            }
            write!(f, "{}", letter(*task))?;
            if times > 1 {
                write!(f, "{times}")?;
            }
        }
        Ok(())
    }
}

/// The letter of a thread in a schedule.
fn letter(task: usize) -> char {
    let task = u32::try_from(task).ok();
    let letter = task.and_then(|task| char::from_u32('a' as u32 + task));
    letter.unwrap_or('?')
}

/// Why a schedule does not fit the scenario that it is replayed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// At a step, counted from 1, the schedule names a thread that cannot run.
    Thread {
        /// The step.
        step: usize,
        /// The thread.
        thread: usize,
        /// The threads that can run.
        runnable: Vec<usize>,
    },
    /// The scenario ends before the schedule does.
    Length {
        /// The number of steps of the scenario.
        scenario: usize,
        /// The number of steps of the schedule.
        schedule: usize,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread {
                step,
                thread,
                runnable,
            } => {
                let letters = runnable.iter().map(|task| letter(*task).to_string());
                let (thread, others) = (letter(*thread), letters.collect::<Vec<_>>().join(", "));
                write!(
                    f,
                    "at step {step} thread {thread} cannot continue, but {others} can"
                )
            }
            Self::Length { scenario, schedule } => {
                write!(f, "the scenario ends after {scenario} of {schedule} steps")
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(letter) = rest.next() {
            let task = (letter as u32)
                .checked_sub('a' as u32)
                .filter(|task| *task < 26);
            let Some(task) = task else {
                return Err(format!("{letter:?} does not name a thread of a schedule"));
            };
            let mut digits = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let times = if digits.is_empty() {
                Ok(1)
            } else {
                digits.parse::<usize>()
            };
            let times = times.ok().filter(|times| *times <= 1 << 20);
            let times = times.ok_or_else(|| format!("{digits} is not a number of steps"))?;
            steps.extend(std::iter::repeat_n(task as usize, times));
        }
        if steps.is_empty() {
            return Err("a schedule has at least one step".into());
        }
        Ok(Self(steps))
    }
}
