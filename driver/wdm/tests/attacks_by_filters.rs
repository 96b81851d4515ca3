//! Attacks by a filter driver on the lower driver and on the I/O manager: it drops, keeps and fails the requests that open and close
//! a file. The function driver has as many open files as the I/O manager.

mod common;

use std::{
    ffi::c_void,
    ptr::{null_mut, with_exposed_provenance_mut},
    sync::{Arc, Mutex},
};

use common::{Stack, load, load_filter};
use ntmodel::{Access, Device as Dev, File, Kernel, explore};
use pinned_init::PinInit;
use wdm::{
    CompletionRoutine, Device, Dpc, DpcRoutine, Error, FileIrp, FileState, Filter, Handled,
    InterlockedLong, Irp, NewDevice, NewFilter, NtStatus, PassiveLevel, PendedIrp, Returned,
    Shared, WorkItem, WorkItemRoutine,
    irql::{CallerLevel, DispatchLevel},
};

/// How the filter handles the opens and closes that follow: the number of the mode is added.
const MODE: u32 = 0x22_2000;
/// The function driver returns how many files are open.
const COUNT: u32 = 0x22_3000;
/// The function driver completes the request in a DPC, and the filter drops it when it returns.
const IN_A_DPC: u32 = 0x22_3004;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Forward,
    /// Drops the request when it has returned to a completion routine.
    DropReturned,
    /// Keeps the request when it returns, and completes it in a work item.
    Keep,
    /// Fails the request, open or close.
    Fail,
}

use Mode::{DropReturned, Fail, Forward, Keep};

const MODES: [Mode; 4] = [Forward, DropReturned, Keep, Fail];

struct LowerDriver {
    files: Shared<InterlockedLong>,
    dpc: Shared<Dpc<Completes>>,
}

struct Open(Shared<InterlockedLong>);

impl FileState<LowerDriver> for Open {
    fn open(
        device: &LowerDriver,
        _: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        device.files.increment();
        Ok(Ok::<_, Error>(Self(device.files.clone())))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement();
    }
}

struct Completes(Mutex<Option<PendedIrp>>);

impl DpcRoutine for Completes {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        if let Some(irp) = dpc.0.lock().expect("no panic").take() {
            irp.complete(NtStatus::SUCCESS, irql);
        }
    }
}

impl Device for LowerDriver {
    type File = Open;

    fn add(
        device: &mut NewDevice,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let files = Shared::new(InterlockedLong::new(0), device, irql)?;
        let dpc = Dpc::new(Ok::<_, Error>(Completes(Mutex::new(None))));
        let dpc = Shared::<Dpc<_>>::new(dpc, device, irql)?;
        Ok(Ok::<_, Error>(Self { files, dpc }))
    }

    fn device_control<'irp>(
        &self,
        irp: Irp<'irp>,
        _: &Open,
        irql: &mut PassiveLevel,
    ) -> Handled<'irp> {
        if irp.code() == COUNT {
            return irp.complete_with(&self.files.read(), irql);
        }
        let (irp, handled) = irp.pend_not_cancelable(irql);
        *self.dpc.0.lock().expect("no panic") = Some(irp);
        self.dpc.queue();
        handled
    }
}

/// The work item of the filter.
struct Work {
    complete: Mutex<Vec<Returned<PendedIrp<Shared<Item>>>>>,
}

/// The record of a request that is kept.
struct Item(Shared<WorkItem<Work>>);

impl WorkItemRoutine for Work {
    fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
        while let Some(irp) = pop(&item.complete) {
            irp.complete(irql);
        }
    }
}

fn pop<T>(list: &Mutex<Vec<T>>) -> Option<T> {
    list.lock().expect("no panic").pop()
}

struct Dropping;

impl CompletionRoutine for Dropping {
    type Record = ();

    fn run(irp: Returned<PendedIrp>, _: &mut CallerLevel) {
        drop(irp);
    }
}

struct Keeping;

impl CompletionRoutine for Keeping {
    type Record = Shared<Item>;

    fn run(irp: Returned<PendedIrp<Self::Record>>, irql: &mut CallerLevel) {
        let Err(irp) = irp.into_irp() else {
            panic!("a request that opens a file can be taken out");
        };
        let item = irp.record().0.clone();
        item.complete.lock().expect("no panic").push(irp);
        WorkItem::queue(&item, irql);
    }
}

struct Attacker {
    mode: InterlockedLong,
    item: Shared<WorkItem<Work>>,
    record: Shared<Item>,
}

impl Filter for Attacker {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let work = Work {
            complete: Mutex::default(),
        };
        let item = WorkItem::new(Ok::<_, Error>(work), device, irql)?;
        let record = Shared::<Item>::new(Item(item.clone()), device, irql)?;
        let mode = InterlockedLong::new(0);
        Ok(Ok::<_, Error>(Self { mode, item, record }))
    }

    fn open_or_close<'irp>(&self, irp: FileIrp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
        match MODES[self.mode.read().cast_unsigned() as usize] {
            DropReturned => irp.forward_with_routine::<Dropping>(irql),
            Keep => {
                let irp = irp.with_record(self.record.clone());
                irp.forward_with_routine::<Keeping>(irql)
            }
            Fail => irp.fail_open(Error::SHARING_VIOLATION, irql),
            Forward => irp.forward(irql),
        }
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        match irp.code() {
            COUNT => irp.forward(irql),
            IN_A_DPC => irp.forward_with_routine::<Dropping>(irql),
            mode => {
                self.mode.exchange(((mode - MODE) / 4).cast_signed());
                irp.complete(NtStatus::SUCCESS, irql)
            }
        }
    }

    fn remove(&self, irql: &mut CallerLevel) {
        while let Some(irp) = pop(&self.item.complete) {
            irp.complete(irql);
        }
    }
}

fn with_stack(kernel: &Arc<Kernel>, scenario: impl FnOnce(&Dev, &File)) {
    let stack = Stack::new(load::<LowerDriver>(kernel)).filter(load_filter::<Attacker>(kernel));
    let stack = stack.started();
    let file = stack.device.open_anyway(Access::ReadWrite);
    let file = file.expect("it opens");
    scenario(&stack.device, &file);
    file.close();
    stack.unload();
}

/// The status, and the number of the function driver's files.
fn count(file: &File) -> (i32, u8) {
    let sent = file.device_control(COUNT, &[], vec![0; 4]);
    let end = common::end(&sent);
    (end.status, end.output[0])
}

fn set(file: &File, mode: Mode) {
    let sent = file.device_control(MODE + 4 * mode as u32, &[], Vec::new());
    assert_eq!(sent.status(), Some(0));
}

/// A dropped open is completed as the function driver has completed it: an open that failed would not be closed.
fn opens_and_closes(kernel: &Arc<Kernel>) {
    with_stack(kernel, |device, own| {
        for mode in MODES {
            set(own, mode);
            let opened = device.open_anyway(Access::ReadWrite);
            match (mode, &opened) {
                (Fail, Err(status)) => assert_eq!(*status, nt::STATUS_SHARING_VIOLATION),
                (_, Ok(file)) => assert_eq!(count(file), (0, 2), "{mode:?}"),
                _ => panic!("{mode:?} {opened:?}"),
            }
            drop(opened);
            assert_eq!(count(own), (0, 1), "{mode:?}");
            // A close that the filter fails is forwarded.
            set(own, Forward);
            let opened = device.open_anyway(Access::ReadWrite);
            set(own, mode);
            drop(opened);
            assert_eq!(count(own), (0, 1), "{mode:?}");
            set(own, Forward);
        }
    });
}

#[test]
fn a_filter_drops_keeps_and_fails_opens_and_closes() {
    opens_and_closes(&Kernel::new(ntmodel::Config::default()));
}

fn opened_and_removed(kernel: &Arc<Kernel>, mode: Mode) {
    with_stack(kernel, |device, own| {
        set(own, mode);
        let device_clone = device.clone();
        let remover = kernel.actor("remover", move || device_clone.surprise_remove());
        if let Ok(file) = device.open_anyway(Access::ReadWrite) {
            count(&file);
        }
        remover.join();
    });
}

#[test]
fn a_device_is_removed_while_its_filter_keeps_an_open() {
    for scenario in [
        (|kernel| opened_and_removed(kernel, DropReturned)) as explore::Scenario,
        |kernel| opened_and_removed(kernel, Keep),
        |kernel| opened_and_removed(kernel, Fail),
    ] {
        explore::check(60, scenario);
    }
}

/// The request returns to the filter at `DISPATCH_LEVEL`, where the filter drops it, while the device is removed.
#[test]
fn a_request_returned_in_a_dpc_is_dropped() {
    explore::check(200, |kernel| {
        with_stack(kernel, |device, own| {
            let device_clone = device.clone();
            let remover = kernel.actor("remover", move || device_clone.surprise_remove());
            let sent = own.device_control(IN_A_DPC, &[], Vec::new());
            let end = common::end(&sent);
            let possible = [nt::STATUS_INTERNAL_ERROR, nt::STATUS_DELETE_PENDING];
            assert!(possible.contains(&end.status), "{end:x?}");
            remover.join();
        });
    });
}

/// A program can create a named pipe or a mailslot on any device. If a filter completed that with success, the lower driver would
/// close a file that it has not opened.
#[test]
fn a_named_pipe_is_opened_by_the_lower_driver() {
    unsafe extern "C" fn stop(_: *mut nt::DEVICE_OBJECT, _: *mut nt::IRP, _: *mut c_void) -> i32 {
        nt::STATUS_MORE_PROCESSING_REQUIRED
    }

    fn create(top: usize, major: usize) -> i32 {
        let top: *mut nt::DEVICE_OBJECT = with_exposed_provenance_mut(top);
        // SAFETY: the device object is valid; so below.
        let stack_size = unsafe { (*top).StackSize };
        // SAFETY: as above.
        let irp = unsafe { nt::IoAllocateIrp(stack_size, 0) };
        // SAFETY: this thread owns the IRP; so below.
        let next = unsafe { nt::IoGetNextIrpStackLocation(irp) };
        // SAFETY: as above.
        unsafe { (*next).MajorFunction = u8::try_from(major).expect("a byte") };
        // SAFETY: as above.
        unsafe { nt::irp::IoSetCompletionRoutine(irp, Some(stop), null_mut(), true, true, true) };
        // SAFETY: as above.
        let status = unsafe { nt::IofCallDriver(top, irp) };
        // SAFETY: `stop` has stopped the completion.
        unsafe { nt::IoFreeIrp(irp) };
        status
    }

    let kernel = Kernel::new(ntmodel::Config::default());
    with_stack(&kernel, |device, own| {
        let function: *mut nt::DEVICE_OBJECT = with_exposed_provenance_mut(device.object());
        // SAFETY: the function driver's device object is valid.
        let top = unsafe { (*function).AttachedDevice }.expose_provenance();
        let create = |major| kernel.actor("creator", move || create(top, major)).join();
        for major in [nt::IRP_MJ_CREATE_NAMED_PIPE, nt::IRP_MJ_CREATE_MAILSLOT] {
            set(own, Forward);
            assert_eq!(create(major), nt::STATUS_INVALID_DEVICE_REQUEST);
            set(own, Fail);
            assert_eq!(create(major), nt::STATUS_SHARING_VIOLATION);
        }
        set(own, Forward);
    });
}
