//! Kernel handles: of registry keys and system threads.

use std::{
    collections::HashMap,
    ptr::without_provenance_mut,
    sync::{Arc, Mutex},
};

use nt::{HANDLE, NTSTATUS, STATUS_SUCCESS};

use crate::{
    Rule, bug_check::BugCheck, call::Call, registry::Key, system_thread::SystemThread, wait::locked,
};

const STATUS_INVALID_HANDLE: NTSTATUS = 0xc000_0008_u32.cast_signed();

/// What a handle stands for.
#[derive(Clone)]
pub(crate) enum Object {
    Key(Key),
    Thread(Arc<SystemThread>),
}

/// The handles that are open.
#[derive(Default)]
pub(crate) struct Handles(Mutex<Table>);

#[derive(Default)]
struct Table {
    last: usize,
    objects: HashMap<usize, Object>,
}

impl Handles {
    pub(crate) fn open(&self, object: Object) -> HANDLE {
        let mut table = locked(&self.0);
        table.last += 4;
        let handle = table.last;
        table.objects.insert(handle, object);
        without_provenance_mut(handle)
    }

    pub(crate) fn get(&self, handle: HANDLE) -> Option<Object> {
        locked(&self.0).objects.get(&handle.addr()).cloned()
    }

    fn close(&self, handle: HANDLE) -> bool {
        locked(&self.0).objects.remove(&handle.addr()).is_some()
    }

    pub(crate) fn count(&self) -> usize {
        locked(&self.0).objects.len()
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwClose(handle: HANDLE) -> NTSTATUS {
    let call = Call::enter("ZwClose");
    call.require_at_most(0, Rule::IrqlZwPassive, 0x2_001f);
    if call.kernel.handles.close(handle) {
        STATUS_SUCCESS
    } else {
        STATUS_INVALID_HANDLE
    }
}

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ZwWaitForSingleObject(
    handle: HANDLE,
    _alertable: u8,
    _timeout: *mut i64,
) -> NTSTATUS {
    let call = Call::enter("ZwWaitForSingleObject");
    let irql = call.irql();
    call.require(irql == 0, Rule::Irql, || {
        let what = format!("the IRQL is {irql}, and must be PASSIVE_LEVEL");
        (BugCheck::verifier(0xe6, [0, irql.into(), 0]), what)
    });
    let Some(Object::Thread(thread)) = call.kernel.handles.get(handle) else {
        return STATUS_INVALID_HANDLE;
    };
    thread.wait_for_end(&call);
    STATUS_SUCCESS
}
