//! Operations of drivers that are allowed but unusual: none is a violation.

#[macro_use]
mod call;
mod common;
mod steps;

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering::SeqCst},
};

use call::on_completion;
use nt::{
    DEVICE_OBJECT, FILE_OBJECT, IO_CSQ, IO_REMOVE_LOCK, IRP, KSPIN_LOCK, LIST_ENTRY, NTSTATUS,
    STATUS_CANCELLED, STATUS_DEVICE_BUSY, STATUS_NOT_SUPPORTED, STATUS_PENDING, STATUS_SUCCESS,
    irp as io,
};
use ntmodel::{Config, Kernel, Rule};
use steps::{
    FIRST, SECOND, Stage, Steps, complete, end_of, entry, holds, lower, mark, one_request, skip,
};

/// A cancel-safe queue that never takes an IRP.
#[repr(C)]
struct Full {
    csq: UnsafeCell<IO_CSQ>,
    lock: UnsafeCell<KSPIN_LOCK>,
}

unsafe extern "C" fn refuses(_: *mut IO_CSQ, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    STATUS_DEVICE_BUSY
}

unsafe extern "C" fn removes(_: *mut IO_CSQ, _: *mut IRP) {}

unsafe extern "C" fn finds_none(_: *mut IO_CSQ, _: *mut IRP, _: *mut c_void) -> *mut IRP {
    null_mut()
}

fn lock_of(csq: *mut IO_CSQ) -> *mut KSPIN_LOCK {
    // SAFETY: the queue is the first field of `Full`.
    unsafe { (*csq.cast::<Full>()).lock.get() }
}

unsafe extern "C" fn acquires(csq: *mut IO_CSQ, irql: *mut u8) {
    let old = nt!(KeAcquireSpinLockRaiseToDpc(lock_of(csq)));
    // SAFETY: the queue passes memory for the IRQL.
    unsafe { irql.write(old) };
}

unsafe extern "C" fn releases(csq: *mut IO_CSQ, irql: u8) {
    nt!(KeReleaseSpinLock(lock_of(csq), irql));
}

unsafe extern "C" fn completes_cancelled(_: *mut IO_CSQ, irp: *mut IRP) {
    complete(irp, STATUS_CANCELLED);
}

struct MarksBefore;

impl Steps for MarksBefore {
    type Own = Full;

    fn add(_: *mut DEVICE_OBJECT, own: &Full) {
        nt!(KeInitializeSpinLock(own.lock.get()));
        let status = nt!(IoCsqInitializeEx(
            own.csq.get(),
            Some(refuses),
            Some(removes),
            Some(finds_none),
            Some(acquires),
            Some(releases),
            Some(completes_cancelled),
        ));
        assert_eq!(status, STATUS_SUCCESS);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Full, irp: *mut IRP, _: u32) -> NTSTATUS {
        mark(irp);
        let status = nt!(IoCsqInsertIrpEx(own.csq.get(), irp, null_mut(), null_mut()));
        assert_eq!(status, STATUS_DEVICE_BUSY);
        complete(irp, status);
        STATUS_PENDING
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocsqinsertirpex>: the routine marks an IRP that is
/// inserted, and unmarks none.
#[test]
fn an_irp_is_marked_before_it_is_refused_by_its_queue() {
    holds(one_request::<MarksBefore>);
}

unsafe extern "C" fn succeeds_with_information(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    nt!(irp::set_status(irp, STATUS_SUCCESS));
    nt!(irp::set_information(irp, 77));
    nt!(IofCompleteRequest(irp, 0));
    STATUS_SUCCESS
}

/// Completes requests with an Information that depends on the request.
struct Informs;

impl Steps for Informs {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        // SAFETY: the I/O manager passes both.
        unsafe { succeeds_with_information(device, irp) }
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_io_status_block>: a request-dependent value.
#[test]
fn information_of_a_request_without_buffered_output_is_not_a_length() {
    holds(|kernel| {
        let stage = Stage::set::<Informs>(kernel);
        for (method, input, output) in [(0, 80, 0), (1, 8, 8), (2, 8, 8), (3, 8, 8)] {
            let (input, output) = (vec![0; input], vec![0; output]);
            let sent = stage.file.device_control(FIRST | method, &input, output);
            assert_eq!(end_of(&sent), STATUS_SUCCESS);
        }
        stage.tear_down();
    });
}

/// A filter that records the answers of the bus driver.
struct Asks;

unsafe extern "C" fn keeps(_: *mut DEVICE_OBJECT, _: *mut IRP, _: *mut c_void) -> NTSTATUS {
    nt::STATUS_MORE_PROCESSING_REQUIRED
}

impl Steps for Asks {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        skip(lower::<Self>(device), irp)
    }
}

/// <https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mn-query-resources>: a bus driver that does not handle a
/// request completes it with the status that it has.
#[test]
fn the_bus_driver_leaves_the_status_of_requests_that_it_does_not_handle() {
    let kernel = Kernel::new(Config::default());
    let stage = Stage::set::<Asks>(&kernel);
    // IRP_MN_QUERY_INTERFACE, IRP_MN_QUERY_RESOURCES, IRP_MN_QUERY_DEVICE_TEXT, IRP_MN_QUERY_ID
    for minor in [0x8, 0xa, 0xc, 0x13] {
        assert_eq!(stage.device.pnp(minor), STATUS_NOT_SUPPORTED, "{minor:#x}");
    }
    let status = end_of(&stage.send(FIRST));
    assert_eq!(status, nt::STATUS_INVALID_DEVICE_REQUEST);
    stage.tear_down();
}

/// Keeps the request of one thread, for the next request to pass it down.
struct SkipsPended;

impl Steps for SkipsPended {
    type Own = AtomicPtr<IRP>;

    fn control(device: *mut DEVICE_OBJECT, kept: &Self::Own, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            mark(irp);
            kept.store(irp, SeqCst);
            return STATUS_PENDING;
        }
        skip(lower::<Self>(device), kept.swap(null_mut(), SeqCst));
        complete(irp, STATUS_SUCCESS)
    }

    fn other(device: *mut DEVICE_OBJECT, _: &Self::Own, irp: *mut IRP) -> NTSTATUS {
        skip(lower::<Self>(device), irp)
    }
}

/// Bug check 0xC9, 0x206, is about a control field that was not zeroed, and recommends `IoSkipCurrentIrpStackLocation`. The location of
/// a driver that uses it is marked already when the lower driver completes the request.
#[test]
fn a_driver_skips_the_location_of_a_pended_irp() {
    holds(|kernel| {
        let stage = Stage::stack(kernel, entry::<Informs>, &[entry::<SkipsPended>]);
        let pended = stage.send(FIRST);
        assert_eq!(end_of(&stage.send(SECOND)), STATUS_SUCCESS);
        assert_eq!(end_of(&pended), STATUS_SUCCESS);
        stage.tear_down();
    });
}

/// Copies its whole stack location, with the control field.
struct CopiesAll;

impl Steps for CopiesAll {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        mark(irp);
        let own = nt!(irp::current_stack_location(irp));
        let next = nt!(IoGetNextIrpStackLocation(irp));
        // SAFETY: both locations are in the memory of the IRP.
        unsafe { next.copy_from(own, 1) };
        nt!(IofCallDriver(lower::<Self>(device), irp));
        STATUS_PENDING
    }
}

#[test]
fn a_driver_copies_the_control_field_of_its_location() {
    let violation = common::found_in(|kernel| {
        let stage = Stage::stack(kernel, entry::<Informs>, &[entry::<CopiesAll>]);
        end_of(&stage.send(FIRST));
    });
    let seen = (violation.rule, violation.code, violation.parameters[0]);
    assert_eq!(seen, (Rule::StackLocation, 0xc9, 0x206), "\n{violation}");
}

/// Sends a request down twice, the second time with the stack location that the completion has left.
struct LooksAfterwards;

impl Steps for LooksAfterwards {
    type Own = u64;

    fn control(device: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP, _: u32) -> NTSTATUS {
        nt!(irp::IoCopyCurrentIrpStackLocationToNext(irp));
        on_completion(irp, keeps, null_mut());
        nt!(IofCallDriver(lower::<Self>(device), irp));
        let next = nt!(irp::IoGetNextIrpStackLocation(irp));
        // SAFETY: the location is in the memory of the IRP, which this routine has again.
        let next = unsafe { &*next };
        assert_eq!(next.Control, 0);
        assert!(next.FileObject.is_null());
        let parameters = (&raw const next.Parameters).cast::<[u64; 4]>();
        // SAFETY: as above; the parameters have this size.
        assert_eq!(unsafe { parameters.read() }, [0; 4]);
        complete(irp, STATUS_SUCCESS)
    }
}

#[test]
fn the_completion_clears_the_stack_location_that_it_leaves() {
    let kernel = Kernel::new(Config::default());
    let stage = Stage::stack(&kernel, entry::<Informs>, &[entry::<LooksAfterwards>]);
    let sent = stage.file.device_control(FIRST | 3, &[1; 8], vec![0; 8]);
    assert_eq!(end_of(&sent), STATUS_SUCCESS);
    stage.tear_down();
}

const SLOTS: usize = 4;

/// A list of free slots, and one of queued requests.
struct Lists {
    free: UnsafeCell<LIST_ENTRY>,
    slots: UnsafeCell<[LIST_ENTRY; SLOTS]>,
    queue: UnsafeCell<LIST_ENTRY>,
}

impl Lists {
    fn fill(&self, order: impl Iterator<Item = usize>) {
        nt!(list::InitializeListHead(self.free.get()));
        for slot in order {
            let slot = self.slots.get().cast::<LIST_ENTRY>().wrapping_add(slot);
            nt!(list::InsertTailList(self.free.get(), slot));
        }
    }
}

struct Refills;

impl Steps for Refills {
    type Own = Lists;

    fn add(_: *mut DEVICE_OBJECT, own: &Lists) {
        nt!(list::InitializeListHead(own.queue.get()));
        own.fill(0..SLOTS);
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Lists, irp: *mut IRP, code: u32) -> NTSTATUS {
        if code == FIRST {
            own.fill(0..SLOTS);
            own.fill((0..SLOTS).rev());
            own.fill([2, 0, 3, 1].into_iter());
            return complete(irp, STATUS_SUCCESS);
        }
        mark(irp);
        nt!(list::InsertTailList(own.queue.get(), io::list_entry(irp)));
        STATUS_PENDING
    }

    /// Completes the requests of the queue, which it takes over with their links.
    fn cleanup(own: &Lists, _: *mut FILE_OBJECT) {
        let head = own.queue.get();
        // SAFETY: the list is the driver's, whose one thread this is; so below.
        let mut entry = unsafe { (*head).Flink };
        while entry != head {
            // SAFETY: as above.
            let next = unsafe { (*entry).Flink };
            complete(nt!(irp::from_list_entry(entry)), STATUS_CANCELLED);
            entry = next;
        }
        nt!(list::InitializeListHead(head));
    }
}

/// A head is initialised again, and its entries are inserted again, when a device starts again.
#[test]
fn a_list_is_initialised_again() {
    holds(one_request::<Refills>);
}

#[test]
fn requests_are_completed_with_the_links_of_the_queue_that_they_were_on() {
    holds(|kernel| {
        let stage = Stage::set::<Refills>(kernel);
        let sent = [(); 3].map(|()| stage.send(SECOND));
        stage.tear_down();
        assert!(
            sent.iter()
                .all(|sent| sent.status() == Some(STATUS_CANCELLED))
        );
    });
}

/// <https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioreleaseremovelockandwait>: a control device gets no
/// `IRP_MN_REMOVE_DEVICE`.
#[test]
fn a_remove_lock_of_a_control_device_is_waited_for_before_the_device_is_deleted() {
    common::passes(|device| {
        const SIZE: u32 = 32;
        let lock = common::extension(device).cast::<IO_REMOVE_LOCK>();
        nt!(IoInitializeRemoveLockEx(lock, 1, 0, 0, SIZE));
        let tag = null_mut();
        let status = nt!(IoAcquireRemoveLockEx(lock, tag, c"".as_ptr(), 1, SIZE));
        assert_eq!(status, STATUS_SUCCESS);
        nt!(IoReleaseRemoveLockAndWaitEx(lock, tag, SIZE));
        common::delete(device);
    });
}
