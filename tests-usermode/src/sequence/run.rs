//! Takes the steps of a sequence, and holds what comes of them against the reference.

use std::time::Duration;

use interlock_abi::Counters;

use super::answer::{Answer, tell};
use super::reference::{Outcome, Reference, STEP};
use super::step::{Plug, Step};
use super::system::System;
use crate::error::{Error, Result};
use crate::target::{DEADLINE, Device, Request, blank};

/// A sequence that is being run.
struct Run<'s, S> {
    system: &'s mut S,
    before: Counters,
    reference: Reference,
    files: Vec<Option<Device>>,
    /// Each with its code.
    requests: Vec<(u32, Request)>,
    told: Vec<String>,
}

/// Runs a sequence on a device that has counted `before` and on which nothing waits; gives what is told of each step, in
/// which there is no time, address or number of a processor. In the end what is left is closed and the device removed,
/// if so told.
///
/// # Errors
/// The first step of which something else comes than must.
pub fn run(
    system: &mut impl System,
    steps: &[Step],
    before: Counters,
    take_down: bool,
) -> Result<Vec<String>> {
    let mut run = Run {
        system,
        before,
        reference: Reference::new(before),
        files: Vec::new(),
        requests: Vec::new(),
        told: Vec::new(),
    };
    for step in steps {
        run.take(step)?;
    }
    let told = std::mem::take(&mut run.told);
    if take_down {
        for step in run.reference.take_down() {
            run.take(&step)?;
        }
    }
    Ok(told)
}

impl<S: System> Run<'_, S> {
    /// Takes a step, if there is anything for it.
    fn take(&mut self, step: &Step) -> Result<()> {
        let Some(step) = self.reference.resolve(step) else {
            return Ok(());
        };
        let wrong = |what: String| Error::failed(format!("{step}\n{what}"));
        let expected = self.reference.take(&step);
        let outcome = match (self.perform(&step)?, expected) {
            (Outcome::Found(_), Outcome::FoundBefore) => expected,
            (outcome, _) => outcome,
        };
        self.told.push(format!("{step}: {outcome:?}"));
        if outcome != expected {
            return Err(wrong(format!("came to {outcome:?}, not to {expected:?}")));
        }
        for (request, answer) in self.reference.take_ended() {
            self.expect_end(request, &answer).map_err(wrong)?;
        }
        let mut waiting = self.reference.waiting();
        if let Some(request) = waiting.find(|request| self.requests[*request].1.is_done()) {
            let end = self.requests[request].1.wait(DEADLINE)?;
            let what = format!("request {request} should wait, and has ended: {end:02x?}");
            return Err(wrong(what));
        }
        Ok(())
    }

    /// Takes the step on the system.
    fn perform(&mut self, step: &Step) -> Result<Outcome> {
        let mut passes = Duration::from_micros(STEP);
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
            Step::Send { file, ask } => {
                let wire = ask.wire();
                let request =
                    self.file(*file)?
                        .submit(wire.code, &wire.input, blank(wire.output_len))?;
                self.requests.push((wire.code, request));
                Outcome::Done
            }
            Step::Cancel { request } => Outcome::Found(self.requests[*request].1.cancel()?),
            Step::CancelAll { file } => Outcome::Found(self.file(*file)?.cancel_all()?),
            Step::CancelIo { file } => {
                self.file(*file)?.cancel_threads_own()?;
                Outcome::Done
            }
            Step::Serve => {
                // The reference has taken the step already, and says which these are.
                for (request, _) in self.reference.ended() {
                    self.requests[*request].1.wait(DEADLINE)?;
                }
                Outcome::Done
            }
            Step::Pass(millis) => {
                passes += Duration::from_millis(u64::from(*millis));
                Outcome::Done
            }
            Step::Plug(Plug::Remove) => Outcome::Removed(self.system.plug(Plug::Remove)?),
            Step::Plug(plug) => {
                if self.system.plug(*plug)? {
                    Outcome::Done
                } else {
                    Outcome::Removed(false)
                }
            }
        };
        self.system.pass(passes)?;
        Ok(outcome)
    }

    fn file(&self, file: usize) -> Result<&Device> {
        let file = self.files.get(file).and_then(Option::as_ref);
        file.ok_or_else(|| Error::failed(format!("file {file:?} is not open")))
    }

    /// Waits for a request's end and holds it against what it must be.
    fn expect_end(&mut self, request: usize, answer: &Answer) -> Result<(), String> {
        let (code, sent) = &self.requests[request];
        let end = sent.wait(DEADLINE).map_err(|error| error.to_string())?;
        let Some(end) = end else {
            return Err(format!(
                "request {request} has not ended, with {answer:02x?}"
            ));
        };
        let told = tell(*code, &end, &self.before);
        self.told.push(format!("    {request}: {told}"));
        answer
            .check(&end)
            .map_err(|what| format!("request {request} {what}"))
    }
}
