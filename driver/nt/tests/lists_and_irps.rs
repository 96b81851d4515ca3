//! The inline functions of this crate, on IRPs that the test allocates.

use std::{mem::MaybeUninit, ptr::null_mut};

use nt::{
    IO_STACK_LOCATION, IRP, IRP_ASSOCIATED_IRP, LIST_ENTRY, SL_PENDING_RETURNED, irp,
    list::{InitializeListHead, InsertTailList, RemoveEntryList},
};

/// Replaces the kernel's routine, which `RemoveEntryList` calls for a corrupt list.
// SAFETY: no other function of this program has the name.
#[unsafe(no_mangle)]
extern "C" fn KeBugCheckEx(code: u32, first: u64, _: u64, _: u64, _: u64) -> ! {
    eprintln!("bug check {code:#x} ({first:#x})");
    std::process::abort()
}

/// A zeroed IRP with three stack locations, of which the last is the current one.
///
/// It stores pointers, not boxes: moving a box would invalidate the pointers derived from it.
struct TestIrp {
    irp: *mut IRP,
    stack: *mut [IO_STACK_LOCATION; 3],
}

impl TestIrp {
    fn new() -> Self {
        let irp: *mut MaybeUninit<IRP> = Box::into_raw(Box::new(MaybeUninit::zeroed()));
        let stack: *mut MaybeUninit<[IO_STACK_LOCATION; 3]> =
            Box::into_raw(Box::new(MaybeUninit::zeroed()));
        // Zeroes are valid for an IRP and for stack locations.
        let (irp, stack) = (irp.cast(), stack.cast());
        let this = Self { irp, stack };
        let overlay = std::mem::offset_of!(IRP, Tail) + 0x40;
        // SAFETY: 0x40 is the offset of CurrentStackLocation in Tail.Overlay on 64-bit Windows.
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
        // SAFETY: the tests use only the three stack locations that exist.
        unsafe { (*self.stack_location(index)).Control }
    }
}

impl Drop for TestIrp {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box of initialised memory, and the box is made again once.
        drop(unsafe { Box::from_raw(self.irp) });
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(self.stack) });
    }
}

#[test]
fn list_is_first_in_first_out_and_a_removed_entry_keeps_its_links() {
    let irps = [TestIrp::new(), TestIrp::new(), TestIrp::new()];
    let [a, b, c] = irps.each_ref().map(|test| irp::list_entry(test.irp));
    let mut head = MaybeUninit::<LIST_ENTRY>::uninit();
    let head = head.as_mut_ptr();
    // SAFETY: the head and the entries are valid, and only this thread uses them; the same holds for every call
    // below.
    unsafe { InitializeListHead(head) };
    for entry in [a, b, c] {
        // SAFETY: as above.
        unsafe { InsertTailList(head, entry) };
    }
    // SAFETY: as above.
    unsafe { RemoveEntryList(b) };
    for (entry, next) in [(head, a), (a, c), (c, head), (b, c)] {
        // SAFETY: as above.
        assert_eq!(unsafe { (*entry).Flink }, next);
    }
    for (entry, previous) in [(head, c), (c, a), (a, head), (b, a)] {
        // SAFETY: as above.
        assert_eq!(unsafe { (*entry).Blink }, previous);
    }
}

#[test]
fn marking_an_irp_pending_sets_the_flag_in_its_current_stack_location() {
    let test = TestIrp::new();
    let irp = test.irp;
    // SAFETY: this test owns the IRP.
    unsafe { irp::IoMarkIrpPending(irp) };
    assert_eq!(
        [0, 1, 2].map(|index| test.control(index)),
        [0, 0, SL_PENDING_RETURNED]
    );
}

/// `AssociatedIrp.MasterIrp` and `AssociatedIrp.SystemBuffer` are in the same place.
#[test]
fn an_associated_irp_has_no_system_buffer() {
    let test = TestIrp::new();
    let mut other = 0_u8;
    let buffer: *mut u8 = &raw mut other;
    // SAFETY: the IRP is valid, and no other code uses it.
    let associated = unsafe { &mut (*test.irp).AssociatedIrp };
    associated.SystemBuffer = buffer.cast();
    // SAFETY: the test owns the IRP.
    assert_eq!(unsafe { irp::system_buffer(test.irp) }, buffer);
    // SAFETY: the IRP is valid, and no other code uses it.
    unsafe { (*test.irp).Flags |= IRP_ASSOCIATED_IRP };
    // SAFETY: the test owns the IRP.
    assert!(unsafe { irp::system_buffer(test.irp) }.is_null());
}

#[test]
fn the_cancel_routine_is_exchanged_and_returned_once() {
    unsafe extern "C" fn routine(_: *mut nt::DEVICE_OBJECT, _: *mut IRP) {}

    let test = TestIrp::new();
    let irp = test.irp;
    // Cast to a pointer once, since a function can have several addresses.
    let routine: unsafe extern "C" fn(*mut nt::DEVICE_OBJECT, *mut IRP) = routine;
    // SAFETY: this test owns the IRP; the same holds for every call below.
    assert!(unsafe { irp::IoSetCancelRoutine(irp, Some(routine)) }.is_none());
    // SAFETY: as above.
    let taken = unsafe { irp::IoSetCancelRoutine(irp, None) };
    assert_eq!(taken.map(|taken| taken as usize), Some(routine as usize));
    // SAFETY: as above.
    assert!(unsafe { irp::IoSetCancelRoutine(irp, None) }.is_none());
}

#[test]
fn a_skipped_stack_location_is_reused_and_a_copied_one_has_a_completion_routine() {
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
    // SAFETY: this test owns the IRP, which has two further stack locations; the same holds for every call below.
    unsafe { irp::IoMarkIrpPending(irp) };
    // SAFETY: as above.
    unsafe { irp::copy_to_next_with_completion(irp, Some(routine), null_mut()) };
    // SAFETY: as above.
    let completion = unsafe { (*test.stack_location(1)).CompletionRoutine };
    // Set for success, error and cancellation, and not marked pending, unlike the source of the copy.
    assert_eq!((test.control(1), completion.is_some()), (0xe0, true));
    // SAFETY: as above.
    unsafe { irp::IoSkipCurrentIrpStackLocation(irp) };
    // SAFETY: as above.
    let current = unsafe { irp::current_stack_location(irp) };
    assert_eq!(current, last.wrapping_add(1));
}
