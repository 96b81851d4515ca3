//! The report for users, in the format of `cargo test`.

use std::io::{self, Write};
use std::time::Duration;

use super::{Failure, GREEN, Plan, RED, Totals, YELLOW};
use crate::error::Result;

pub fn begin(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    let plural = if plan.count == 1 { "" } else { "s" };
    let Plan { count, seed, .. } = plan;
    writeln!(out, "\nrunning {count} test{plural} (seed: {seed})")
}

pub fn started(out: &mut impl Write, name: &str, plan: &Plan) -> io::Result<()> {
    write!(out, "test {name:width$} ... ", width = plan.name_width)
}

pub fn ended(out: &mut impl Write, result: &Result) -> io::Result<()> {
    match result {
        Ok(()) => writeln!(out, "{GREEN}ok{GREEN:#}"),
        Err(error) if error.is_unsupported() => {
            writeln!(out, "{YELLOW}ignored, {error}{YELLOW:#}")
        }
        Err(_) => writeln!(out, "{RED}FAILED{RED:#}"),
    }
}

pub fn failures(out: &mut impl Write, failures: &[Failure]) -> io::Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nfailures:\n")?;
    for Failure { name, message } in failures {
        writeln!(out, "---- {name} stdout ----\n{message}\n")?;
    }
    writeln!(out, "\nfailures:")?;
    for Failure { name, .. } in failures {
        writeln!(out, "    {name}")?;
    }
    Ok(())
}

pub fn end(
    out: &mut impl Write,
    totals: &Totals,
    plan: &Plan,
    duration: Duration,
) -> io::Result<()> {
    let (style, word) = if totals.failed > 0 {
        (RED, "FAILED")
    } else {
        (GREEN, "ok")
    };
    writeln!(
        out,
        "\ntest result: {style}{word}{style:#}. {} passed; {} failed; {} ignored; 0 measured; \
         {} filtered out; finished in {:.2}s\n",
        totals.passed,
        totals.failed,
        totals.ignored,
        plan.filtered_out,
        duration.as_secs_f64()
    )
}
