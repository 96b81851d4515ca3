//! `hold`: the process that a scenario kills.

use std::io;

use crate::cli::Hold;
use crate::error::{Error, Exit, Result};
use crate::target::{Device, Request};

/// The line that it prints once all its requests pend.
pub const READY: &str = "ready";

/// Pends requests, says so, and holds them until standard input ends.
pub fn hold(args: &Hold) -> Result<Exit> {
    let device = Device::open()?;
    let tags = 0..u64::from(args.count);
    let requests: Vec<Request> = tags.map(|tag| device.pend(tag)).collect::<Result<_>>()?;
    if let Some(ended) = requests.iter().position(Request::is_done) {
        return Err(Error::failed(format!("request {ended} does not pend")));
    }
    anstream::println!("{READY}");
    // Whoever started this process kills it, or is gone and leaves it without input.
    let read = io::copy(&mut io::stdin(), &mut io::sink());
    read.map_err(|error| Error::failed(format!("standard input: {error}")))?;
    Ok(Exit::Passed)
}
