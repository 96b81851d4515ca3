//! For each request that a filter receives, it sends its own request, and completes the received one with the result of its own.

mod common;
#[path = "common/raw.rs"]
mod raw;

use std::sync::Arc;

use common::{Place, Quiet, Stack, end, kernel, load_filter, place};
use nt::{IRP, NTSTATUS, irp};
use ntmodel::{Access, File, Kernel, explore};
use pinned_init::PinInit;
use raw::Control;
use wdm::{
    ControlCode, Error, Filter, Handled, Irp, IrpQueue, LowerIrp, LowerIrpRoutine, NewFilter,
    PassiveLevel, Shared,
    irql::{CallerLevel, NoSpinLockHeld},
};

/// Returns the input, increased by one.
const NEXT: u32 = 0x22_2000;
/// The filter sends `NEXT` with the number 41.
const SEND_NEXT: u32 = 0x22_2004;

/// The function driver.
struct Counts;

impl Control for Counts {
    fn control(irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the dispatch routine owns the IRP.
        if unsafe { irp::major_function(irp) } != nt::IRP_MJ_DEVICE_CONTROL {
            return raw::complete(irp, nt::STATUS_SUCCESS);
        }
        // SAFETY: as above.
        let number = unsafe { irp::system_buffer(irp) }.cast::<[u8; 4]>();
        // SAFETY: the input has 4 bytes.
        let next = u32::from_ne_bytes(unsafe { number.read() }) + 1;
        // SAFETY: the output has 4 bytes.
        unsafe { number.write(next.to_ne_bytes()) };
        // SAFETY: as above.
        unsafe { irp::set_information(irp, 4) };
        raw::complete(irp, nt::STATUS_SUCCESS)
    }
}

/// The objects that the filter and the routine of its request use.
struct Parts {
    waiting: Shared<IrpQueue<Quiet>>,
    idle: Place<LowerIrp<SendsNext>>,
}

impl Parts {
    /// Completes the request that waits, if there is one, and keeps the filter's own.
    fn returned(&self, irp: LowerIrp<SendsNext>, irql: &mut impl NoSpinLockHeld) {
        let (result, output) = (irp.result(), irp.output().first_chunk::<4>().copied());
        drop(self.idle.with(irql, |idle, _| idle.replace(irp)));
        let Some(waiting) = self.waiting.remove_first(irql) else {
            return;
        };
        match (result, output) {
            (Ok(()), Some(number)) => {
                waiting.complete_with(&number, irql);
            }
            (Ok(()), None) => waiting.complete(Error::UNSUCCESSFUL, irql),
            (Err(error), _) => waiting.complete(error, irql),
        }
    }
}

struct SendsNext(Shared<Parts>);

impl LowerIrpRoutine for SendsNext {
    fn run(irp: LowerIrp<Self>, irql: &mut CallerLevel) {
        let parts = irp.0.clone();
        parts.returned(irp, irql);
    }
}

struct FilterDriver(Shared<Parts>);

impl Filter for FilterDriver {
    fn add(
        device: &mut NewFilter,
        irql: &mut PassiveLevel,
    ) -> Result<impl PinInit<Self, Error>, Error> {
        let parts = Parts {
            waiting: IrpQueue::new(Quiet, device, irql)?,
            idle: place(device, irql)?,
        };
        let parts: Shared<Parts> = Shared::new(Ok::<_, Error>(parts), device, irql)?;
        let irp = LowerIrp::new(Ok::<_, Error>(SendsNext(parts.clone())), 4, device, irql)?;
        parts.idle.with(irql, |idle, _| *idle = Some(irp));
        Ok(Ok::<_, Error>(Self(parts)))
    }

    fn request<'irp>(&self, irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
        if irp.code() != SEND_NEXT {
            return irp.forward(irql);
        }
        let handled = self.0.waiting.insert(irp, irql);
        if let Some(own) = self.0.idle.with(irql, |idle, _| idle.take()) {
            // SAFETY: the lower driver accesses no memory by the contents of the buffers.
            let code = unsafe { ControlCode::new(NEXT) };
            if let Err((own, _)) = own.device_control(code, &41_u32.to_ne_bytes(), 4, irql) {
                self.0.returned(own, irql);
            }
        }
        handled
    }

    /// The routine owns the parts, which own the request.
    fn remove(&self, irql: &mut CallerLevel) {
        drop(self.0.idle.with(irql, |idle, _| idle.take()));
    }
}

fn stack(kernel: &Arc<Kernel>) -> Stack {
    let stack = Stack::new(raw::load::<Counts>(kernel));
    stack.filter(load_filter::<FilterDriver>(kernel)).started()
}

fn open(stack: &Stack) -> File {
    let file = stack.device.open_anyway(Access::ReadWrite);
    file.expect("it opens")
}

#[test]
fn filter_completes_a_request_with_the_answer_to_its_own() {
    let stack = stack(&kernel());
    let file = open(&stack);
    for _ in 0..3 {
        let end = end(&file.device_control(SEND_NEXT, &[], vec![0; 4]));
        assert_eq!((end.status, end.output), (0, 42_u32.to_ne_bytes().to_vec()));
    }
    file.close();
    stack.unload();
}

fn removed_while_its_request_is_sent(kernel: &Arc<Kernel>) {
    let stack = stack(kernel);
    let file = Arc::new(open(&stack));
    let file_clone = Arc::clone(&file);
    let sender = kernel.actor("sender", move || {
        end(&file_clone.device_control(SEND_NEXT, &[], vec![0; 4])).status
    });
    stack.device.surprise_remove();
    let status = sender.join();
    let possible = [
        nt::STATUS_SUCCESS,
        nt::STATUS_CANCELLED,
        nt::STATUS_DELETE_PENDING,
        nt::STATUS_NO_SUCH_DEVICE,
        nt::STATUS_UNSUCCESSFUL,
    ];
    assert!(possible.contains(&status), "{status:x}");
    Arc::into_inner(file)
        .expect("no other thread has it")
        .close();
    stack.unload();
}

#[test]
fn request_of_a_filter_ends_once_during_the_removal_in_every_order() {
    explore::check(500, removed_while_its_request_is_sent);
}
