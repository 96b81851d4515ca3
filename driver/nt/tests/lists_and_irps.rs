//! The inlines of this crate, on IRPs that nobody sent.

use std::{mem::MaybeUninit, ptr::null_mut};

use nt::{
    IO_STACK_LOCATION, IRP, LIST_ENTRY, SL_PENDING_RETURNED, irp,
    list::{InitializeListHead, InsertTailList, IsListEmpty, RemoveEntryList},
};

/// The kernel's, for `RemoveEntryList` on a list that does not hold together.
// SAFETY: no other function of this program has the name.
#[unsafe(no_mangle)]
extern "C" fn KeBugCheckEx(code: u32, first: u64, _: u64, _: u64, _: u64) -> ! {
    eprintln!("bug check {code:#x} ({first:#x})");
    std::process::abort()
}

/// A zeroed IRP with three stack locations, of which the last is the current one.
///
/// It holds pointers, not boxes: moving a box would end the pointers that were taken from it.
struct TestIrp {
    irp: *mut IRP,
    stack: *mut [IO_STACK_LOCATION; 3],
}

impl TestIrp {
    fn new() -> Self {
        let irp: *mut MaybeUninit<IRP> = Box::into_raw(Box::new(MaybeUninit::zeroed()));
        let stack: *mut MaybeUninit<[IO_STACK_LOCATION; 3]> =
            Box::into_raw(Box::new(MaybeUninit::zeroed()));
        // Zeroes are an IRP, and stack locations.
        let (irp, stack) = (irp.cast(), stack.cast());
        let this = Self { irp, stack };
        let overlay = std::mem::offset_of!(IRP, Tail) + 0x40;
        // SAFETY: 0x40 is where 64-bit Windows has CurrentStackLocation in Tail.Overlay.
        let current = unsafe { this.irp.byte_add(overlay) };
        // SAFETY: as above.
        unsafe {
            current
                .cast::<*mut IO_STACK_LOCATION>()
                .write(this.stack_location(2));
        };
        this
    }

    fn stack_location(&self, index: usize) -> *mut IO_STACK_LOCATION {
        self.stack.cast::<IO_STACK_LOCATION>().wrapping_add(index)
    }

    fn control(&self, index: usize) -> u8 {
        // SAFETY: the tests ask for the three that there are.
        unsafe { (*self.stack_location(index)).Control }
    }
}

impl Drop for TestIrp {
    fn drop(&mut self) {
        // SAFETY: it came from a box of what may be uninitialised, which it is not, and is given back once.
        drop(unsafe { Box::from_raw(self.irp) });
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(self.stack) });
    }
}

#[test]
fn a_list_is_first_in_first_out_and_a_removed_entry_links_to_itself() {
    let irps = [TestIrp::new(), TestIrp::new(), TestIrp::new()];
    let [a, b, c] = irps.each_ref().map(|test| test.irp);
    let mut head = MaybeUninit::<LIST_ENTRY>::uninit();
    let head = head.as_mut_ptr();
    // SAFETY: the head and the entries are valid, and this thread's alone; so for every call below.
    unsafe { InitializeListHead(head) };
    for irp in [a, b, c] {
        // SAFETY: as above.
        unsafe { InsertTailList(head, irp::list_entry(irp)) };
    }
    for _ in 0..2 {
        // The second time the entry is on no list, and taking it out again changes nothing.
        // SAFETY: as above.
        unsafe { RemoveEntryList(irp::list_entry(b)) };
        // SAFETY: as above.
        assert!(unsafe { IsListEmpty(irp::list_entry(b)) });
        // SAFETY: as above.
        let first = unsafe { (*head).Flink };
        // SAFETY: as above.
        assert_eq!(unsafe { irp::from_list_entry(first) }, a);
        // SAFETY: as above.
        let second = unsafe { (*first).Flink };
        // SAFETY: as above.
        assert_eq!(unsafe { irp::from_list_entry(second) }, c);
        // SAFETY: as above.
        assert_eq!(unsafe { (*second).Flink }, head);
    }
}

#[test]
fn an_irp_that_is_marked_pending_says_so_in_its_current_stack_location() {
    let test = TestIrp::new();
    let irp = test.irp;
    // SAFETY: the IRP is this test's.
    unsafe { irp::IoMarkIrpPending(irp) };
    assert_eq!(
        [0, 1, 2].map(|index| test.control(index)),
        [0, 0, SL_PENDING_RETURNED]
    );
}

#[test]
fn the_cancel_routine_is_exchanged_and_given_back_once() {
    unsafe extern "C" fn routine(_: *mut nt::DEVICE_OBJECT, _: *mut IRP) {}

    let test = TestIrp::new();
    let irp = test.irp;
    // Made a pointer once: a function may have several addresses.
    let routine: unsafe extern "C" fn(*mut nt::DEVICE_OBJECT, *mut IRP) = routine;
    // SAFETY: the IRP is this test's; so for every call below.
    assert!(unsafe { irp::IoSetCancelRoutine(irp, Some(routine)) }.is_none());
    // SAFETY: as above.
    let taken = unsafe { irp::IoSetCancelRoutine(irp, None) };
    assert_eq!(taken.map(|taken| taken as usize), Some(routine as usize));
    // SAFETY: as above.
    assert!(unsafe { irp::IoSetCancelRoutine(irp, None) }.is_none());
}

#[test]
fn a_skipped_stack_location_is_lent_and_a_copied_one_calls_back() {
    unsafe extern "C" fn routine(
        _: *mut nt::DEVICE_OBJECT,
        _: *mut IRP,
        _: *mut core::ffi::c_void,
    ) -> i32 {
        0
    }

    let test = TestIrp::new();
    let irp = test.irp;
    let last = test.stack_location(2);
    // SAFETY: the IRP is this test's, and two further stack locations are there; so for every call below.
    unsafe { irp::IoMarkIrpPending(irp) };
    // SAFETY: as above.
    unsafe { irp::copy_to_next_with_completion(irp, Some(routine), null_mut()) };
    // SAFETY: as above.
    let completion = unsafe { (*test.stack_location(1)).CompletionRoutine };
    // Called back on success, error and cancel, and not marked pending as the one it was copied from.
    assert_eq!((test.control(1), completion.is_some()), (0xe0, true));
    // SAFETY: as above.
    unsafe { irp::IoSkipCurrentIrpStackLocation(irp) };
    // SAFETY: as above.
    let current = unsafe { irp::current_stack_location(irp) };
    assert_eq!(current, last.wrapping_add(1));
}
