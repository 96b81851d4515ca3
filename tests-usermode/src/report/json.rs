//! The report for programs: one JSON object a line, with libtest's names. The reason why a test failed or was ignored is its
//! `message`.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::{Plan, Totals};
use crate::error::{Error, Result};

/// A line of the report.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Begin {
        r#type: &'a str,
        event: &'a str,
        test_count: usize,
        seed: u64,
    },
    Started {
        r#type: &'a str,
        event: &'a str,
        name: &'a str,
    },
    Ended {
        r#type: &'a str,
        name: &'a str,
        event: &'a str,
        exec_time: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
    },
    End {
        r#type: &'a str,
        event: &'a str,
        passed: usize,
        failed: usize,
        ignored: usize,
        measured: usize,
        filtered_out: usize,
        exec_time: f64,
    },
}

fn write(out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    writeln!(out)
}

pub fn begin(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    let line = Line::Begin {
        r#type: "suite",
        event: "started",
        test_count: plan.count,
        seed: plan.seed,
    };
    write(out, &line)
}

pub fn started(out: &mut impl Write, name: &str) -> io::Result<()> {
    let line = Line::Started {
        r#type: "test",
        event: "started",
        name,
    };
    write(out, &line)
}

pub fn ended(
    out: &mut impl Write,
    name: &str,
    result: &Result,
    duration: Duration,
) -> io::Result<()> {
    let event = match result {
        Ok(()) => "ok",
        Err(error) if error.is_unsupported() => "ignored",
        Err(_) => "failed",
    };
    let line = Line::Ended {
        r#type: "test",
        name,
        event,
        exec_time: duration.as_secs_f64(),
        message: result.as_ref().err().map(Error::message),
    };
    write(out, &line)
}

pub fn end(
    out: &mut impl Write,
    totals: &Totals,
    plan: &Plan,
    duration: Duration,
) -> io::Result<()> {
    let line = Line::End {
        r#type: "suite",
        event: if totals.failed > 0 { "failed" } else { "ok" },
        passed: totals.passed,
        failed: totals.failed,
        ignored: totals.ignored,
        measured: 0,
        filtered_out: plan.filtered_out,
        exec_time: duration.as_secs_f64(),
    };
    write(out, &line)
}
