//! Direct I/O: correct uses of the MDL of a request, and mistakes.

#[macro_use]
mod call;
mod steps;

use std::{
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicPtr, Ordering::SeqCst},
    },
};

use nt::{DEVICE_OBJECT, IRP, MDL, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};
use ntmodel::{Completion, Config, Faults, Kernel, Rule};
use steps::{Stage, Steps, breaks, complete, holds, mark};

/// `CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, method, FILE_ANY_ACCESS)`, by the direct methods and `METHOD_NEITHER`.
const IN_DIRECT: u32 = 0x22_2001;
const OUT_DIRECT: u32 = 0x22_2002;
const NEITHER: u32 = 0x22_2003;

const LENGTH: usize = 8;

fn map(mdl: *mut MDL) -> *mut u8 {
    nt!(MmGetSystemAddressForMdlSafe(mdl, nt::NormalPagePriority)).cast()
}

/// Maps the MDL without checking whether it is mapped.
fn map_anyway(mdl: *mut MDL) {
    nt!(MmMapLockedPagesSpecifyCache(
        mdl,
        0,
        nt::MmCached,
        null_mut(),
        0,
        16
    ));
}

fn mdl(irp: *mut IRP) -> *mut MDL {
    nt!(irp::mdl(irp))
}

/// Adds one to each byte of the buffer, or with `METHOD_IN_DIRECT` reads them.
struct Increments;

impl Steps for Increments {
    type Own = u64;

    fn control(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == NEITHER {
            let buffer = nt!(irp::system_buffer(irp));
            assert!(mdl(irp).is_null() && buffer.is_null());
            return complete(irp, STATUS_SUCCESS);
        }
        let start = map(mdl(irp));
        if start.is_null() {
            return complete(irp, STATUS_INSUFFICIENT_RESOURCES);
        }
        assert_eq!(map(mdl(irp)), start, "a mapped MDL keeps its address");
        let mut sum = 0;
        for place in 0..LENGTH {
            let byte = start.wrapping_add(place);
            // SAFETY: the buffer has this length.
            let value = unsafe { byte.read() };
            sum += usize::from(value);
            if code == OUT_DIRECT {
                // SAFETY: as above.
                unsafe { byte.write(value + 1) };
            }
        }
        nt!(irp::set_status(irp, STATUS_SUCCESS));
        nt!(irp::set_information(irp, sum));
        nt!(IofCompleteRequest(irp, 0));
        STATUS_SUCCESS
    }
}

fn send<S: Steps>(kernel: &Arc<Kernel>, code: u32, byte: u8) -> Completion {
    let stage = Stage::set::<S>(kernel);
    let sent = stage
        .file
        .device_control(code, b"input", vec![byte; LENGTH]);
    let end = sent.ended().expect("it ends without waiting");
    stage.tear_down();
    end
}

#[test]
fn driver_reads_and_writes_the_users_buffer() {
    let kernel = Kernel::new(Config::default());
    // Information is the sum of the bytes, up to their number.
    let end = send::<Increments>(&kernel, OUT_DIRECT, 1);
    assert_eq!((end.information, end.output), (LENGTH, vec![2; LENGTH]));
    let end = send::<Increments>(&kernel, IN_DIRECT, 1);
    assert_eq!((end.information, end.output), (LENGTH, vec![1; LENGTH]));
    let end = send::<Increments>(&kernel, NEITHER, 1);
    assert_eq!((end.information, end.output), (0, vec![1; LENGTH]));
    holds(|kernel| drop(send::<Increments>(kernel, OUT_DIRECT, 1)));
}

/// Nothing is copied, so the value is the driver's.
#[test]
fn information_of_direct_io_exceeds_the_buffer() {
    holds(|kernel| drop(send::<Increments>(kernel, OUT_DIRECT, 2)));
}

#[test]
fn mapping_may_fail() {
    let faults = Arc::new(Faults::default());
    let kernel = Kernel::new(Config {
        faults: Some(Arc::clone(&faults)),
        ..Config::default()
    });
    let stage = Stage::set::<Increments>(&kernel);
    let send = || {
        let sent = stage.file.device_control(OUT_DIRECT, &[], vec![1; LENGTH]);
        sent.ended().expect("it ends without waiting")
    };
    faults.arm();
    assert_eq!(send().status, STATUS_INSUFFICIENT_RESOURCES);
    assert!(faults.disarm());
    assert_eq!(send().status, STATUS_SUCCESS);
    stage.tear_down();
}

/// The mistake of a driver, by a number.
struct Faulty<const MISTAKE: u8>;

impl<const MISTAKE: u8> Steps for Faulty<MISTAKE> {
    type Own = AtomicPtr<u8>;

    fn control(_: *mut DEVICE_OBJECT, kept: &AtomicPtr<u8>, irp: *mut IRP, _: u32) -> NTSTATUS {
        let mdl = mdl(irp);
        let start = map(mdl);
        match MISTAKE {
            // SAFETY: the buffer is `LENGTH` bytes long.
            0 => unsafe { start.write(9) },
            1 => map_anyway(mdl),
            2 => kept.store(start, SeqCst),
            _ => {}
        }
        let status = complete(irp, STATUS_SUCCESS);
        if MISTAKE == 3 {
            map(mdl);
        }
        status
    }

    fn remove(kept: &AtomicPtr<u8>) {
        let start = kept.load(SeqCst);
        if !start.is_null() {
            // SAFETY: the model keeps the memory, and detects the access.
            unsafe { start.write(9) };
        }
    }
}

fn sends<const MISTAKE: u8>(kernel: &Arc<Kernel>) {
    send::<Faulty<MISTAKE>>(kernel, IN_DIRECT, 1);
}

#[test]
fn buffer_that_was_locked_for_reading_is_written() {
    breaks(sends::<0>, Rule::Mdl, "locked for reading only");
}

#[test]
fn mdl_is_mapped_twice() {
    breaks(sends::<1>, Rule::Mdl, "is mapped again");
}

#[test]
fn buffer_is_written_after_the_request_was_completed() {
    breaks(sends::<2>, Rule::CompletedIrp, "was written after");
}

#[test]
fn mdl_is_used_after_the_request_was_completed() {
    breaks(sends::<3>, Rule::CompletedIrp, "is used after");
    holds(sends::<4>);
}

/// Keeps a request until the next one, and then compares the buffer with its earlier content.
struct Keeps;

impl Steps for Keeps {
    type Own = AtomicPtr<IRP>;

    fn control(_: *mut DEVICE_OBJECT, kept: &AtomicPtr<IRP>, irp: *mut IRP, _: u32) -> NTSTATUS {
        let earlier = kept.swap(null_mut(), SeqCst);
        if earlier.is_null() {
            let status = mark(irp);
            kept.store(irp, SeqCst);
            return status;
        }
        // SAFETY: the buffer is `LENGTH` bytes long.
        let byte = unsafe { map(mdl(earlier)).wrapping_add(3).read() };
        assert_eq!(byte, 7);
        complete(earlier, STATUS_SUCCESS);
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn user_writes_the_buffer_while_the_driver_has_it() {
    let kernel = Kernel::new(Config::default());
    let stage = Stage::set::<Keeps>(&kernel);
    let send = || stage.file.device_control(IN_DIRECT, &[], vec![1; LENGTH]);
    let pending = send();
    pending.write_buffer(3, &[7]);
    assert_eq!(send().status(), Some(STATUS_SUCCESS));
    assert_eq!(pending.status(), Some(STATUS_SUCCESS));
    stage.tear_down();
}
