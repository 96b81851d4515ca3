//! The findings, as a table, or as one JSON object in each line for programs.

use std::io::{self, Write};

use super::{Answer, Finding};
use crate::cli::Format;
use crate::error::Exit;
use crate::report::{GREEN, RED, YELLOW, json};

/// The number of findings of each kind.
struct Totals {
    fine: usize,
    problems: usize,
    cannot_tell: usize,
}

/// Prints the findings. The diagnosis has failed if there is a problem.
pub fn print(out: &mut impl Write, findings: &[Finding], format: Format) -> io::Result<Exit> {
    let count = |kind: fn(&Answer) -> bool| findings.iter().filter(|it| kind(&it.answer)).count();
    let totals = Totals {
        fine: count(|answer| matches!(answer, Answer::Fine(_))),
        problems: count(|answer| matches!(answer, Answer::Problem { .. })),
        cannot_tell: count(|answer| matches!(answer, Answer::CannotTell(_))),
    };
    match format {
        Format::Pretty => print_table(out, findings, &totals)?,
        Format::Json => print_json(out, findings, &totals)?,
    }
    Ok(if totals.problems == 0 {
        Exit::Passed
    } else {
        Exit::Failed
    })
}

fn print_table(out: &mut impl Write, findings: &[Finding], totals: &Totals) -> io::Result<()> {
    let widths = findings.iter().map(|finding| finding.check.len());
    let width = widths.max().unwrap_or_default();
    for Finding { check, answer } in findings {
        let (style, word, text) = match answer {
            Answer::Fine(text) => (GREEN, "fine", text),
            Answer::Problem { what, .. } => (RED, "PROBLEM", what),
            Answer::CannotTell(why) => (YELLOW, "cannot tell", why),
        };
        writeln!(out, "{check:width$}  {style}{word:11}{style:#}  {text}")?;
        if let Answer::Problem { remedy, .. } = answer {
            writeln!(out, "{:width$}  {:11}  > {remedy}", "", "")?;
        }
    }
    let plural = if totals.problems == 1 { "" } else { "s" };
    writeln!(
        out,
        "\n{} problem{plural}, {} fine, {} unknown",
        totals.problems, totals.fine, totals.cannot_tell
    )
}

fn print_json(out: &mut impl Write, findings: &[Finding], totals: &Totals) -> io::Result<()> {
    for Finding { check, answer } in findings {
        let (event, message, remedy) = match answer {
            Answer::Fine(text) => ("fine", text, None),
            Answer::Problem { what, remedy } => ("problem", what, Some(remedy.as_str())),
            Answer::CannotTell(why) => ("cannot_tell", why, None),
        };
        let mut members = vec![
            ("type", "check".into()),
            ("name", (*check).into()),
            ("event", event.into()),
            ("message", message.as_str().into()),
        ];
        members.extend(remedy.map(|remedy| ("remedy", remedy.into())));
        json::line(out, &members)?;
    }
    let event = if totals.problems == 0 { "ok" } else { "failed" };
    let members = [
        ("type", "diagnosis".into()),
        ("event", event.into()),
        ("fine", totals.fine.into()),
        ("problems", totals.problems.into()),
        ("cannot_tell", totals.cannot_tell.into()),
    ];
    json::line(out, &members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        let finding = |check, answer| Finding { check, answer };
        vec![
            finding("system", Answer::Fine("Windows".into())),
            finding(
                "test signing",
                Answer::Problem {
                    what: "off".into(),
                    remedy: "bcdedit".into(),
                },
            ),
            finding("Root", Answer::CannotTell("no \"interlock.cer\"".into())),
        ]
    }

    fn printed(findings: &[Finding], format: Format) -> (String, Exit) {
        let mut out = Vec::new();
        let exit = print(&mut out, findings, format).unwrap();
        (String::from_utf8(out).unwrap(), exit)
    }

    #[test]
    fn the_table_has_a_row_for_each_check_and_the_remedy_below() {
        let (table, exit) = printed(&findings(), Format::Pretty);
        let plain = anstream::adapter::strip_str(&table).to_string();
        assert_eq!(
            plain,
            "system        fine         Windows\n\
             test signing  PROBLEM      off\n\
             \x20                          > bcdedit\n\
             Root          cannot tell  no \"interlock.cer\"\n\
             \n\
             1 problem, 1 fine, 1 unknown\n"
        );
        assert_eq!(exit, Exit::Failed);
    }

    #[test]
    fn each_line_of_json_is_an_object() {
        let (lines, exit) = printed(&findings(), Format::Json);
        let lines: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let expected = serde_json::json!([
            {"type": "check", "name": "system", "event": "fine", "message": "Windows"},
            {"type": "check", "name": "test signing", "event": "problem", "message": "off",
             "remedy": "bcdedit"},
            {"type": "check", "name": "Root", "event": "cannot_tell",
             "message": "no \"interlock.cer\""},
            {"type": "diagnosis", "event": "failed", "fine": 1, "problems": 1, "cannot_tell": 1},
        ]);
        assert_eq!(serde_json::Value::Array(lines), expected);
        assert_eq!(exit, Exit::Failed);
    }

    #[test]
    fn an_unknown_fact_is_not_a_failure() {
        let mut findings = findings();
        findings.remove(1);
        for format in [Format::Pretty, Format::Json] {
            assert_eq!(printed(&findings, format).1, Exit::Passed);
        }
    }
}
