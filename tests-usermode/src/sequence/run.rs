//! Executes the steps of a sequence and compares each with the reference.

use std::time::Duration;

use interlock_abi::Counters;

use super::answer::{Answer, describe};
use super::reference::{Outcome, Reference, STEP};
use super::step::{Pnp, Step};
use super::system::System;
use crate::client::Device;
use crate::error::{Error, Result};
use crate::target::{DEADLINE, Request};

/// A sequence that is being run.
struct Run<'s, S> {
    system: &'s mut S,
    before: Counters,
    reference: Reference,
    files: Vec<Option<Device>>,
    /// The IOCTL code of each request, and the request.
    requests: Vec<(u32, Request)>,
    transcript: Vec<String>,
}

/// Runs a sequence on a device whose counters are `before` and on which no request is pending. Returns a transcript of the
/// steps without times, addresses or processor numbers. With `remove`, closes the files and removes the device at the end.
///
/// # Errors
/// The first step whose outcome differs from the reference.
pub fn run(
    system: &mut impl System,
    steps: &[Step],
    before: Counters,
    remove: bool,
) -> Result<Vec<String>> {
    let mut run = Run {
        system,
        before,
        reference: Reference::new(before),
        files: Vec::new(),
        requests: Vec::new(),
        transcript: Vec::new(),
    };
    for step in steps {
        run.execute(step)?;
    }
    let transcript = std::mem::take(&mut run.transcript);
    if remove {
        for step in run.reference.removal() {
            run.execute(&step)?;
        }
    }
    Ok(transcript)
}

impl<S: System> Run<'_, S> {
    /// Executes a step, if it applies, and compares it with the reference.
    fn execute(&mut self, step: &Step) -> Result<()> {
        let Some(step) = self.reference.resolve(step) else {
            return Ok(());
        };
        let wrong = |what: String| Error::failed(format!("{step}\n{what}"));
        let expected = self.reference.execute(&step);
        let outcome = match (self.perform(&step)?, expected) {
            (Outcome::Found(_), Outcome::FoundBefore) => expected,
            (outcome, _) => outcome,
        };
        self.transcript.push(format!("{step}: {outcome:?}"));
        if outcome != expected {
            return Err(wrong(format!(
                "the outcome is {outcome:?}, not {expected:?}"
            )));
        }
        for (request, answer) in self.reference.take_ended() {
            self.expect_end(request, &answer).map_err(wrong)?;
        }
        let mut waiting = self.reference.waiting();
        if let Some(request) = waiting.find(|request| self.requests[*request].1.is_done()) {
            let end = self.requests[request].1.wait(DEADLINE)?;
            let what = format!("request {request} should be pending, but has ended: {end:02x?}");
            return Err(wrong(what));
        }
        Ok(())
    }

    /// Executes the step on the system.
    fn perform(&mut self, step: &Step) -> Result<Outcome> {
        let mut time = Duration::from_micros(STEP);
        let outcome = match step {
            Step::Open(access) => {
                let file = self.system.open(*access)?;
                let opened = file.is_some();
                self.files.extend(opened.then_some(file));
                Outcome::Opened(opened)
            }
            Step::Close { file } => {
                self.files[*file] = None;
                Outcome::Done
            }
            Step::Send { file, control } => {
                let ioctl = control.ioctl();
                let request = self.file(*file)?.submit(&ioctl)?;
                self.requests.push((ioctl.code, request));
                Outcome::Done
            }
            Step::Cancel { request } => Outcome::Found(self.requests[*request].1.cancel()?),
            Step::CancelAll { file } => Outcome::Found(self.file(*file)?.cancel_all()?),
            Step::CancelIo { file } => {
                self.file(*file)?.cancel_threads_own()?;
                Outcome::Done
            }
            Step::Drain => {
                // The reference has already executed the step and knows which requests end.
                for (request, _) in self.reference.ended() {
                    self.requests[*request].1.wait(DEADLINE)?;
                }
                Outcome::Done
            }
            Step::Advance(millis) => {
                time += Duration::from_millis(u64::from(*millis));
                Outcome::Done
            }
            Step::Pnp(Pnp::Remove) => Outcome::Removed(self.system.pnp(Pnp::Remove)?),
            Step::Pnp(pnp) if self.system.pnp(*pnp)? => Outcome::Done,
            Step::Pnp(_) => Outcome::Removed(false),
        };
        self.system.advance(time)?;
        Ok(outcome)
    }

    fn file(&self, file: usize) -> Result<&Device> {
        let file = self.files.get(file).and_then(Option::as_ref);
        file.ok_or_else(|| Error::failed(format!("file {file:?} is not open")))
    }

    /// Waits for a request to end, and compares the result with the expected answer.
    fn expect_end(&mut self, request: usize, answer: &Answer) -> Result<(), String> {
        let (code, sent) = &self.requests[request];
        let end = sent.wait(DEADLINE).map_err(|error| error.to_string())?;
        let Some(end) = end else {
            return Err(format!(
                "request {request} has not ended; it must end with {answer:02x?}"
            ));
        };
        let described = describe(*code, &end, &self.before);
        self.transcript.push(format!("    {request}: {described}"));
        answer
            .check(&end)
            .map_err(|what| format!("request {request} {what}"))
    }
}
