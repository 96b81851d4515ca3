//! The report for programs: one JSON object a line, with libtest's names. The reason why a test failed or was ignored is its
//! `message`.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serializer;
use serde_json::Value;

use super::{Plan, Totals};
use crate::error::Result;

/// Writes an object with these members, in this order, as a line.
pub fn line(out: &mut impl Write, members: &[(&str, Value)]) -> io::Result<()> {
    let members = members.iter().map(|(name, value)| (name, value));
    serde_json::Serializer::new(&mut *out).collect_map(members)?;
    writeln!(out)
}

pub fn begin(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    let members = [
        ("type", "suite".into()),
        ("event", "started".into()),
        ("test_count", plan.count.into()),
        ("seed", plan.seed.into()),
    ];
    line(out, &members)
}

pub fn started(out: &mut impl Write, name: &str) -> io::Result<()> {
    let members = [
        ("type", "test".into()),
        ("event", "started".into()),
        ("name", name.into()),
    ];
    line(out, &members)
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
    let mut members = vec![
        ("type", "test".into()),
        ("name", name.into()),
        ("event", event.into()),
        ("exec_time", duration.as_secs_f64().into()),
    ];
    if let Err(error) = result {
        members.push(("message", error.message().into()));
    }
    line(out, &members)
}

pub fn end(
    out: &mut impl Write,
    totals: &Totals,
    plan: &Plan,
    duration: Duration,
) -> io::Result<()> {
    let event = if totals.failed > 0 { "failed" } else { "ok" };
    let members = [
        ("type", "suite".into()),
        ("event", event.into()),
        ("passed", totals.passed.into()),
        ("failed", totals.failed.into()),
        ("ignored", totals.ignored.into()),
        ("measured", 0.into()),
        ("filtered_out", plan.filtered_out.into()),
        ("exec_time", duration.as_secs_f64().into()),
    ];
    line(out, &members)
}
