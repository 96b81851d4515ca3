//! The parts of a driver's code: each instruction belongs to the first part that names one of its functions or source files.

use std::{
    fmt::Write as _,
    fs::File,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::{about, image::Image, read};

/// A part of the drivers.
struct Part {
    what: &'static str,
    /// Parts of the names of the functions, or of the paths of the source files.
    of: &'static [&'static str],
}

/// The parts that only the driver in Rust has come first, then those of both. An instruction that no part names belongs to the last one.
const PARTS: &[Part] = &[
    Part {
        what: "power states of the device and the system; C passes the requests on",
        of: &["wdm/src/io/power"],
    },
    Part {
        what: "direct I/O, user buffers, internal and information requests; C rejects them or has none",
        of: &[
            "wdm/src/io/user_buffer.rs",
            "nt/src/mm.rs",
            "IrpData::others",
            "other_input",
            "other_output",
            "other_buffering",
            "internal_device_control",
        ],
    },
    Part {
        what: "drops that wait for `PASSIVE_LEVEL`; dropped IRPs, moved objects and leaked DPCs are found",
        of: &[
            "device_object::run",
            "::defer",
            "dropped",
            "wdm/src/ke/place.rs",
            "check_unload",
        ],
    },
    Part {
        what: "lines for the debugger, names in UTF-16; in C the kernel and the compiler make them",
        of: &["wdm/src/log.rs", "Name::new"],
    },
    Part {
        what: "NT's routines that a request runs",
        of: &[
            "logic/src/routine",
            "twin/routine.c",
            "twin/locks.c",
            "twin/lists.c",
            "twin/zones.c",
            "twin/devqueues.c",
            "twin/numbers.c",
            "twin/threads.c",
        ],
    },
    Part {
        what: "queues of requests",
        of: &[
            "wdm/src/io/queue",
            "wdm/src/io/start_io",
            "wdm/src/io/key_index.rs",
            "wdm/src/io/refusal.rs",
            "wdm/src/io/cancel_lock.rs",
            "logic/src/serving.rs",
            "logic/src/draining.rs",
            "twin/own_queue.c",
            "twin/served_queue.c",
            "twin/drained.c",
        ],
    },
    Part {
        what: "requests, their records and data",
        of: &[
            "driver/logic/",
            "driver/abi/",
            "wdm/src/io/irp",
            "nt/src/io/irp",
            "twin/control.c",
            "twin/ledger.c",
        ],
    },
    Part {
        what: "locks, lists, zones, timers, DPCs, threads; C has most of them in the parts above",
        of: &["wdm/src/ke/", "wdm/src/ex/", "wdm/src/ps/", "twin/zone.c"],
    },
    Part {
        what: "entry, PnP, files, dispatch",
        of: &["wdm/src/io/", "twin/driver.c", "twin/pnp.c", "twin/files.c"],
    },
    Part {
        what: "the rest: shared ownership, `core` and `alloc`, drop glue",
        of: &[""],
    },
];

/// The number of the first parts, which only the driver in Rust has.
const ONLY_IN_RUST: usize = 4;

/// The bytes of code in each part of an image.
pub struct Sizes([u64; PARTS.len()]);

impl Sizes {
    /// Gets the functions and files of each instruction from LLVM's symbolizer: its own, and those into which it is inlined.
    pub fn of(path: &Path, scratch: &Path) -> Result<Self, String> {
        const SYMBOLIZER: &str = "llvm-symbolizer-19";
        let bytes = read(path)?;
        let instructions = Image::parse(&bytes)?.instructions();
        let mut addresses = File::create(scratch).map_err(|error| about(scratch, &error))?;
        for (address, _) in &instructions {
            writeln!(addresses, "{address:#x}").map_err(|error| about(scratch, &error))?;
        }
        let addresses = File::open(scratch).map_err(|error| about(scratch, &error))?;
        let output = Command::new(SYMBOLIZER)
            .arg("--obj")
            .arg(path)
            .stdin(Stdio::from(addresses))
            .output()
            .map_err(|error| format!("{SYMBOLIZER}: {error}"))?;
        // The output has a paragraph for each address, with alternating lines of names and places.
        let output = String::from_utf8_lossy(&output.stdout).replace('\\', "/");
        let mut paragraphs = output.split("\n\n");
        let mut sizes = [0; PARTS.len()];
        for (_, size) in instructions {
            let frames = paragraphs
                .next()
                .ok_or(format!("{SYMBOLIZER} stopped early"))?;
            let part = PARTS
                .iter()
                .position(|part| part.of.iter().any(|name| frames.contains(name)));
            sizes[part.unwrap_or(PARTS.len() - 1)] += size;
        }
        Ok(Self(sizes))
    }

    /// Returns the bytes of the parts that both drivers have.
    pub fn comparable(&self) -> u64 {
        self.0[ONLY_IN_RUST..].iter().sum()
    }
}

/// Returns the rows of a table: the part, its bytes in C and in Rust.
pub fn rows(rust: &Sizes, c: &Sizes) -> String {
    let mut rows = String::new();
    for (part, (c, rust)) in PARTS.iter().zip(c.0.iter().zip(&rust.0)) {
        let _ = writeln!(rows, "| {} | {c} | {rust} |", part.what);
    }
    rows
}
