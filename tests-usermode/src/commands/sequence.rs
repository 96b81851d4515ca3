//! `sequence`

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::cli::Sequence;
use crate::client::Device;
use crate::error::{Error, Exit, Result};
use crate::sequence::{self, Installed, Step, everywhere, on_model};
use crate::target::{self, Kernel};

/// Runs sequences, and writes a transcript of each.
pub fn sequence(args: &Sequence) -> Result<Exit> {
    let mut output: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(File::create(path).map_err(|error| cannot_write(&error))?),
        None => Box::new(io::stdout()),
    };
    if args.on.kernel() == Kernel::Device {
        target::start(&args.on)?;
    }
    if let Some(path) = &args.steps {
        let transcript = run(args, read(path)?)?;
        write(&mut output, &transcript)?;
        return Ok(Exit::Passed);
    }
    let first = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    for seed in (first..).take(args.count.get()) {
        let transcript = run(args, everywhere(seed)).map_err(|error| match error.exit() {
            Exit::Failed => Error::failed(format!("--seed {seed} --count 1: {error}")),
            _ => error,
        })?;
        writeln!(output, "sequence {seed}").map_err(|error| cannot_write(&error))?;
        write(&mut output, &transcript)?;
    }
    Ok(Exit::Passed)
}

fn run(args: &Sequence, steps: Vec<Step>) -> Result<Vec<String>> {
    match args.on.kernel() {
        Kernel::Model => on_model(steps, &args.on),
        Kernel::Device => {
            let device = Device::open()?;
            let before = device.counters()?;
            device.close();
            if before.pending != 0 {
                return Err(Error::could_not_run(
                    "requests are pending already: is another program using the device?",
                ));
            }
            sequence::run(&mut Installed, &steps, before, false)
        }
    }
}

/// Reads steps, one a line. Empty lines and lines that begin with # are skipped.
fn read(path: &Path) -> Result<Vec<Step>> {
    let text = fs::read_to_string(path);
    let text =
        text.map_err(|error| Error::could_not_run(format!("{}: {error}", path.display())))?;
    let lines = text.lines().zip(1..);
    let lines = lines.filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
    let parse = |(line, number): (&str, u32)| {
        serde_json::from_str(line).map_err(|error| {
            let place = format!("{}:{number}", path.display());
            Error::could_not_run(format!("{place}: this is not a step: {error}"))
        })
    };
    let steps = lines.map(parse).collect::<Result<Vec<_>>>()?;
    if steps.is_empty() {
        return Err(Error::could_not_run(format!(
            "{} contains no step",
            path.display()
        )));
    }
    Ok(steps)
}

fn write(output: &mut impl Write, transcript: &[String]) -> Result {
    let mut lines = transcript.iter();
    lines
        .try_for_each(|line| writeln!(output, "{line}"))
        .map_err(|error| cannot_write(&error))
}

fn cannot_write(error: &io::Error) -> Error {
    Error::could_not_run(format!("the transcript cannot be written: {error}"))
}
