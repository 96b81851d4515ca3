//! Runs the WinDbg script on an image of this program's memory, and checks what it prints.
#![cfg(target_os = "linux")]

mod image;
mod layouts;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use interlock::Interlock;
use interlock_abi::{Pend, queue};
use interlock_explore::Harness;
use ntmodel::{Clock, Config, Device, File, Kernel, Request};
use serde_json::{Value, json};

use image::Image;
use layouts::Layouts;

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../driver/windbg/interlock.js"
);
const HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/windbg/host.js");

/// Added to every address, so that it is a kernel-mode address; `host.js` has the same constant.
const KERNEL: u64 = 0xffff_8000_0000_0000;

/// The driver's own types that the script names.
const OWN: [&str; 10] = [
    "interlock::Interlock",
    "wdm::io::extension::Extension",
    "wdm::ex::node::Node<interlock::ledger::Record>",
    "wdm::shared::Inner<wdm::io::queue::IrpQueue<interlock::ledger::Ending>>",
    "wdm::shared::Inner<wdm::io::queue::IrpQueue<interlock::Alone>>",
    "wdm::io::file::Link",
    "wdm::shared::Inner<wdm::io::file::OpenFile<interlock::opened::Opened>>",
    "wdm::shared::Inner<interlock::draining::Requests>",
    "wdm::ke::timer::Inner<interlock::serving::Serving>",
    "wdm::ke::dpc::Inner<interlock::draining::Draining>",
];

/// The model's types for kernel structures.
const KERNELS: [&str; 6] = [
    "nt::portable::DEVICE_OBJECT",
    "nt::portable::IRP",
    "nt::portable::LIST_ENTRY",
    "nt::io::irp::TailOverlay",
    "ntmodel::host::layout::DeviceQueue",
    "ntmodel::host::layout::DeviceQueueEntry",
];

/// Returns the structures that the script uses, by their names in the kernel's symbols. `nt` and the model assert that their
/// offsets are those of 64-bit Windows.
fn kernel_types(layouts: &mut Layouts) -> BTreeMap<&'static str, String> {
    let [device, irp, list, overlay, queue, entry] = KERNELS;
    let place = |offset: u64, kind: &str| json!({ "offset": offset, "type": kind });
    let list_entry = layouts.key(list).to_owned();
    let head = place(layouts.offset(queue, &["head"]), &list_entry);
    let link = place(layouts.offset(entry, &["link"]), &list_entry);
    let context = layouts.field(overlay, "DriverContext");
    let in_overlay = place(layouts.offset(overlay, &["ListEntry"]), &list_entry);
    let tail = layouts.offset(irp, &["Tail"]);
    let queue_entry = layouts.add("_KDEVICE_QUEUE_ENTRY", &[("DeviceListEntry", link)]);
    let overlay = layouts.add(
        "Overlay",
        &[
            ("DeviceQueueEntry", place(0, &queue_entry)),
            ("DriverContext", context),
            ("ListEntry", in_overlay),
        ],
    );
    let union = layouts.add("Tail", &[("Overlay", place(0, &overlay))]);
    [
        ("_DEVICE_OBJECT", layouts.key(device).to_owned()),
        ("_LIST_ENTRY", list_entry),
        (
            "_KDEVICE_QUEUE",
            layouts.add("_KDEVICE_QUEUE", &[("DeviceListHead", head)]),
        ),
        (
            "_IRP",
            layouts.add("_IRP", &[("Tail", place(tail, &union))]),
        ),
    ]
    .into()
}

fn pend(file: &File, queue: u32, tag: u64, key: u32) -> Request {
    let service_ms = if matches!(queue, queue::KEYED | queue::SERIAL) {
        1000
    } else {
        0
    };
    let request = Pend {
        tag,
        queue,
        key,
        service_ms,
        ..Pend::default()
    };
    interlock_explore::pend(file, request)
}

/// The state that a debugger reads at a break: types, symbols and memory.
struct Picture {
    layouts: Layouts,
    symbols: Value,
    memory: Image,
    /// The address of the device object.
    object: u64,
    /// The address of the driver's value.
    device: u64,
}

impl Picture {
    fn take(device: &Device) -> Self {
        let names: Vec<_> = OWN.iter().chain(&KERNELS).copied().collect();
        let mut layouts = Layouts::of_this_program(&names);
        let kernel = kernel_types(&mut layouts);
        let own: BTreeMap<_, _> = OWN.iter().map(|name| (*name, layouts.key(name))).collect();
        let symbols = json!({ "interlock": own, "nt": kernel });
        let object = device.object() as u64;
        let memory = image::reachable(object);
        let extension = memory.word(object + layouts.offset(KERNELS[0], &["DeviceExtension"]));
        let device = memory.word(extension + layouts.offset(OWN[1], &["device"]));
        Self {
            layouts,
            symbols,
            memory,
            object,
            device,
        }
    }

    /// Returns the address of a field of the driver's value.
    fn address(&self, path: &[&str]) -> u64 {
        self.device + self.layouts.offset(OWN[0], path)
    }

    /// Returns the address of a field of a block that a value in the driver's value owns.
    fn in_block(&self, owner: &str, inner: &str, path: &[&str]) -> u64 {
        let block = self.memory.word(self.address(&[owner, "inner", "pointer"]));
        block + self.layouts.offset(inner, path)
    }

    /// Returns the address of a field of a value that a `Shared` in the driver's value owns.
    fn shared(&self, owner: &str, inner: &str, path: &[&str]) -> u64 {
        let path: Vec<_> = ["value"].iter().chain(path).copied().collect();
        self.in_block(owner, inner, &path)
    }

    /// Returns the debugger's output for the command that the script runs.
    fn driver_object(&self) -> [String; 8] {
        let shown = format!("{:x}", self.object + KERNEL);
        let (high, low) = shown.split_at(8);
        [
            "Driver object (ffffa50a4b2c1e30) is for:",
            " \\Driver\\interlock",
            "",
            "Driver Extension List: (id , addr)",
            "",
            "Device Object list:",
            &format!("{high}`{low}  "),
            "",
        ]
        .map(str::to_owned)
    }

    /// Runs a function of the script; returns its output, with `@` in place of each address.
    fn run(&self, function: &str, address: Option<u64>) -> String {
        let image = json!({
            "types": self.layouts.types(),
            "named": self.symbols,
            "commands": { "!drvobj \\Driver\\interlock 1": self.driver_object() },
            "pages": self.memory.0.keys().collect::<Vec<_>>(),
        });
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let files = [folder.join("image.json"), folder.join("pages.bin")];
        let pages: Vec<_> = self.memory.0.values().map(Vec::as_slice).collect();
        fs::write(&files[0], image.to_string()).expect("the folder is writable");
        fs::write(&files[1], pages.concat()).expect("the folder is writable");
        let mut node = Command::new("node");
        node.args([HOST, SCRIPT]).args(files).arg(function);
        node.args(address.map(|address| address.to_string()));
        let output = node
            .output()
            .expect("Node is installed: on Debian, `apt-get install nodejs`");
        let text = String::from_utf8(output.stdout).expect("the output is text");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{error}");
        without_addresses(&text)
    }
}

fn without_addresses(text: &str) -> String {
    let is_address = |word: &str| word.len() == 16 && word.starts_with("ffff");
    let lines = text.lines().map(|line| {
        let words = line.split(' ').map(|word| {
            let end = word.trim_end_matches([',', ':']);
            if is_address(end) {
                word.replacen(end, "@", 1)
            } else {
                word.to_owned()
            }
        });
        words.collect::<Vec<_>>().join(" ")
    });
    lines.map(|line| line + "\n").collect()
}

/// A tag that JavaScript's numbers cannot represent exactly.
const LONG_TAG: u64 = 0xfedc_ba98_7654_3210;

#[test]
fn the_script_prints_the_state_of_the_device() {
    let kernel = Kernel::new(Config {
        // No timer expires until a thread waits.
        clock: Clock::Virtual,
        print: false,
        ..Config::default()
    });
    let harness = Harness::new(&kernel, interlock_explore::load::<Interlock>(&kernel));
    let mut requests = Vec::new();
    for (queue, tag, key) in [
        (queue::FIFO, 11, 0),
        (queue::FIFO, 12, 0),
        (queue::FIFO, LONG_TAG, 0),
        (queue::KEYED, 21, 5),
        (queue::KEYED, 22, 9),
        (queue::KEYED, 23, 3),
        (queue::SERIAL, 31, 0),
        (queue::SERIAL, 32, 0),
        (queue::STACK, 41, 0),
        (queue::STACK, 42, 0),
    ] {
        requests.push(pend(&harness.file, queue, tag, key));
    }
    // The second request of *fifo* is cancelled, and a request to a queue that does not exist is rejected.
    assert!(requests[1].cancel());
    requests.push(pend(&harness.file, 99, 0, 0));

    let mut picture = Picture::take(&harness.device);
    // Two segments of 64 blocks. Each pending request and each record on the stack has one block.
    let size = block_size(&picture);
    let state = format!(
        "\
interlock::Interlock @
  state: running
  counters: 10 submitted, 2 completed, 1 cancelled, 0 aborted, 1 rejected, 7 pending
  zone: 128 blocks of {size} bytes, 9 in use, 119 free
  fifo: 2 IRPs
      IRP @ tag 11, key 0, sequence 0
      IRP @ tag 18364758544493064720, key 0, sequence 2
  keyed: busy, 2 IRPs wait
      IRP @ tag 21, key 5, sequence 3, served
      IRP @ tag 23, key 3, sequence 5
      IRP @ tag 22, key 9, sequence 4
  serial: busy, 1 IRPs wait
      IRP @ tag 31, key 0, sequence 6, served
      IRP @ tag 32, key 0, sequence 7
  interlocked: 0 IRPs
  cancelable: 0 IRPs
"
    );
    let shown = picture.run("interlock", None);
    let stacks = "\
device object @
  stacks: 1 opens, 2 records
      tag 42, key 0, sequence 9, of open 1
      tag 41, key 0, sequence 8, of open 1
";
    let rest = shown.strip_prefix(stacks).expect("the stacks come first");
    let (without_locks, locks) = rest.split_once("  locks: ").expect("the locks come last");
    assert_eq!(without_locks, state);
    assert_locks(locks);

    // With the address of the device object, of the driver's value, and an invalid address.
    assert_eq!(picture.run("interlock", Some(picture.object)), shown);
    assert_eq!(picture.run("interlockat", Some(picture.device)), rest);
    let nothing = picture.run("interlockat", Some(0x1000));
    assert!(
        nothing.contains("fifo: cannot be read: Unable to read memory"),
        "{nothing}"
    );

    check_corrupted(&mut picture);

    harness.file.cancel_all();
    for request in &requests {
        request
            .wait(std::time::Duration::from_secs(20))
            .expect("the request is completed");
    }
    drop(requests);
    harness.tear_down();
}

/// Returns the size of a block of the zone: the zone's address, the link of a list and a record.
fn block_size(picture: &Picture) -> u64 {
    let record = picture.layouts.offset(OWN[2], &["value"]);
    assert_eq!(record, 16, "a LIST_ENTRY comes first");
    let pend_and_order = size_of::<Pend>() as u64 + 8;
    let moment_and_sequence = 8 + 4;
    let charge_and_stacked = 2 * 8;
    (8 + record + pend_and_order + moment_and_sequence + charge_and_stacked).next_multiple_of(8)
}

/// Corrupts the memory image, and checks that the script reports what is broken and prints the rest. The DPC leaves no request
/// on *interlocked*, so its list gets the entries of *fifo*, whose head still points to the first one.
fn check_corrupted(picture: &mut Picture) {
    let fifo = picture.shared("fifo", OWN[3], &["head"]);
    let (first, last) = (picture.memory.word(fifo), picture.memory.word(fifo + 8));
    let drains = picture.in_block(
        "interlocked",
        OWN[9],
        &["context", "requests", "inner", "pointer"],
    );
    let head = picture.layouts.offset(OWN[7], &["value", "list", "head"]);
    let drained = picture.memory.word(drains) + head;
    for (at, to) in [
        (drained, first),
        (drained + 8, last),
        (first + 8, drained),
        (last, drained),
    ] {
        picture.memory.write(at, &to.to_le_bytes());
    }
    let state = picture.address(&["run_state"]);
    picture.memory.write(state, &1_u32.to_le_bytes());
    let length = picture.shared("cancelable", OWN[4], &["state", "value", "value", "length"]);
    picture.memory.write(length, &3_u64.to_le_bytes());
    let lock = picture.in_block("keyed", OWN[8], &["context", "current", "lock"]);
    picture.memory.write(lock, &1_u32.to_le_bytes());
    own(picture, 5);
    let shown = picture.run("interlock", None);
    for line in [
        "  state: stopped",
        "  fifo: cannot be read: the list is corrupt after @, entry 0",
        "  interlocked: 2 IRPs",
        "      IRP @ tag 11, key 0, sequence 0",
        "  cancelable: 3 IRPs, and the list has 0",
        "      tag 42, key 0, sequence 9",
        HELD,
    ] {
        let is_there = shown.lines().any(|other| other.starts_with(line));
        assert!(is_there, "{line} is not in\n{shown}");
    }
}

#[cfg(not(feature = "lock-debug"))]
fn assert_locks(shown: &str) {
    let expected = "\
a build with the feature lock-debug shows their owners
      fifo.state: free
      cancelable.state: free
      keyed.current: free
      serial.current: free
      ledger.counts: free
      ledger.longest: free
      zone.segments: free
";
    assert_eq!(shown, expected);
}

#[cfg(not(feature = "lock-debug"))]
const HELD: &str = "      keyed.current: held";
#[cfg(not(feature = "lock-debug"))]
fn own(_: &mut Picture, _: u32) {}

#[cfg(feature = "lock-debug")]
const HELD: &str = "      keyed.current: held by processor 5; 1 acquisitions";
/// Sets the owner of the lock that is held.
#[cfg(feature = "lock-debug")]
fn own(picture: &mut Picture, processor: u32) {
    let owner = picture.in_block("keyed", OWN[8], &["context", "current", "debug", "owner"]);
    picture.memory.write(owner, &processor.to_le_bytes());
}

/// Checks how often each lock was acquired. `ledger.counts` is acquired when a request is accepted, rejected or completed.
#[cfg(feature = "lock-debug")]
fn assert_locks(shown: &str) {
    let taken: Vec<_> = shown
        .lines()
        .skip(1)
        .map(|line| {
            let (lock, rest) = line.split_once(", held for at most ").expect("a lock");
            assert!(rest.ends_with(" ticks"), "{line}");
            lock.trim()
        })
        .collect();
    assert_eq!(
        taken,
        [
            // The first request of a queue that finds its IRPs by key: the queue has no node, gets one, and uses it. The
            // same for the two that follow.
            "fifo.state: free; 10 acquisitions, 0 of them contended",
            "cancelable.state: free; 0 acquisitions, 0 of them contended",
            "keyed.current: free; 1 acquisitions, 0 of them contended",
            "serial.current: free; 1 acquisitions, 0 of them contended",
            "ledger.counts: free; 14 acquisitions, 0 of them contended",
            "ledger.longest: free; 3 acquisitions, 0 of them contended",
            "zone.segments: free; 2 acquisitions, 0 of them contended",
        ]
    );
}
