//! The report of a run, as `cargo test` prints one.

pub mod json;
mod pretty;

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::cli::Format;
use crate::error::{Exit, Result};

/// The colours of the reports.
pub const GREEN: Style = AnsiColor::Green.on_default();
pub const RED: Style = AnsiColor::Red.on_default();
pub const YELLOW: Style = AnsiColor::Yellow.on_default();

/// The parameters of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many scenarios will run.
    pub count: usize,
    /// How many scenarios the filter excludes.
    pub filtered_out: usize,
    /// The seed of random choices.
    pub seed: u64,
    /// The length of the longest name.
    pub name_width: usize,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many scenarios passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many could not run on this kernel.
    pub ignored: usize,
}

impl Totals {
    /// Returns how the run ended. A scenario that was ignored is not a failure.
    pub const fn exit(&self) -> Exit {
        if self.failed > 0 {
            Exit::Failed
        } else {
            Exit::Passed
        }
    }
}

/// A scenario that failed, and why.
#[derive(Debug)]
struct Failure {
    name: &'static str,
    message: String,
}

/// A report that is being written.
#[derive(Debug)]
pub struct Report<W> {
    out: W,
    format: Format,
    plan: Plan,
    totals: Totals,
    failures: Vec<Failure>,
}

impl<W: Write> Report<W> {
    /// Begins a report.
    pub fn begin(mut out: W, format: Format, plan: Plan) -> io::Result<Self> {
        match format {
            Format::Pretty => pretty::begin(&mut out, &plan)?,
            Format::Json => json::begin(&mut out, &plan)?,
        }
        Ok(Self {
            out,
            format,
            plan,
            totals: Totals::default(),
            failures: Vec::new(),
        })
    }

    /// Reports that a scenario has started.
    pub fn started(&mut self, name: &'static str) -> io::Result<()> {
        match self.format {
            Format::Pretty => pretty::started(&mut self.out, name, &self.plan)?,
            Format::Json => json::started(&mut self.out, name)?,
        }
        self.out.flush()
    }

    /// Reports how a scenario ended.
    pub fn ended(
        &mut self,
        name: &'static str,
        result: &Result,
        duration: Duration,
    ) -> io::Result<()> {
        match result {
            Ok(()) => self.totals.passed += 1,
            Err(error) if error.is_unsupported() => self.totals.ignored += 1,
            Err(error) => {
                self.totals.failed += 1;
                let message = error.to_string();
                self.failures.push(Failure { name, message });
            }
        }
        match self.format {
            Format::Pretty => pretty::ended(&mut self.out, result),
            Format::Json => json::ended(&mut self.out, name, result, duration),
        }
    }

    /// Ends the report.
    pub fn end(mut self, duration: Duration) -> io::Result<Totals> {
        match self.format {
            Format::Pretty => {
                pretty::failures(&mut self.out, &self.failures)?;
                pretty::end(&mut self.out, &self.totals, &self.plan, duration)?;
            }
            Format::Json => json::end(&mut self.out, &self.totals, &self.plan, duration)?,
        }
        self.out.flush()?;
        Ok(self.totals)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Plan, Report, Totals};
    use crate::cli::Format;
    use crate::error::{Error, Exit, Result};

    /// Returns the report of a run with one scenario of each result.
    fn report(format: Format) -> (String, Totals) {
        let plan = Plan {
            count: 3,
            filtered_out: 4,
            seed: 9,
            name_width: 13,
        };
        let failed = Error::failed("was \"lost\"\nhere");
        let results: [(&'static str, Result); 3] = [
            ("complete::all", Ok(())),
            ("cancel::one", Err(failed)),
            ("gone", Err(Error::unsupported("it has open handles"))),
        ];
        let mut out = Vec::new();
        let mut report = Report::begin(&mut out, format, plan).expect("written to memory");
        for (name, result) in &results {
            report.started(name).expect("written to memory");
            let ended = report.ended(name, result, Duration::from_millis(1500));
            ended.expect("written to memory");
        }
        let totals = report
            .end(Duration::from_secs(5))
            .expect("written to memory");
        (String::from_utf8(out).expect("a report is UTF-8"), totals)
    }

    #[test]
    fn pretty_is_what_cargo_test_prints() {
        let (text, totals) = report(Format::Pretty);
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            text,
            "
running 3 tests (seed: 9)
test complete::all ... ok
test cancel::one   ... FAILED
test gone          ... ignored, it has open handles

failures:

---- cancel::one stdout ----
was \"lost\"
here


failures:
    cancel::one

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 4 filtered out; finished in 5.00s

"
        );
        assert_eq!(totals.exit(), Exit::Failed);
    }

    #[test]
    fn json_is_what_libtest_prints() {
        let (text, _) = report(Format::Json);
        let expected = [
            r#"{"type":"suite","event":"started","test_count":3,"seed":9}"#,
            r#"{"type":"test","event":"started","name":"complete::all"}"#,
            r#"{"type":"test","name":"complete::all","event":"ok","exec_time":1.5}"#,
            r#"{"type":"test","event":"started","name":"cancel::one"}"#,
            concat!(
                r#"{"type":"test","name":"cancel::one","event":"failed","exec_time":1.5,"#,
                r#""message":"was \"lost\"\nhere"}"#
            ),
            r#"{"type":"test","event":"started","name":"gone"}"#,
            concat!(
                r#"{"type":"test","name":"gone","event":"ignored","exec_time":1.5,"#,
                r#""message":"it has open handles"}"#
            ),
            concat!(
                r#"{"type":"suite","event":"failed","passed":1,"failed":1,"ignored":1,"#,
                r#""measured":0,"filtered_out":4,"exec_time":5.0}"#
            ),
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
            assert!(value.is_object());
        }
    }

    #[test]
    fn ignored_scenarios_are_not_failures() {
        let totals = Totals {
            passed: 0,
            failed: 0,
            ignored: 2,
        };
        assert_eq!(totals.exit(), Exit::Passed);
    }
}
