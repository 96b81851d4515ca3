//! Pool blocks and the buffers of requests.

use std::{cell::UnsafeCell, sync::Arc};

use nt::{
    DEVICE_OBJECT, IRP, KEVENT, KSPIN_LOCK, LIST_ENTRY, NTSTATUS, POOL_FLAG_PAGED, STATUS_SUCCESS,
};
use ntmodel::Kernel;

use crate::{
    frame::{CORRECT, Lock, TAG, allocate, free, initialise_event, put},
    steps::{FIRST, Stage, Steps, complete, end_of, one_request as one},
};

const FREES_INSIDE: u8 = 1;
const FREES_EXTENSION: u8 = 2;
const HAS_PAGED_LOCK: u8 = 3;
const HAS_PAGED_EVENT: u8 = 4;
const HAS_PAGED_ENTRY: u8 = 5;
const FREES_PAGED_AT_DISPATCH: u8 = 6;
const HAS_NO_TAG: u8 = 8;
const HAS_NO_BYTES: u8 = 9;
const OVERRUNS: u8 = 10;
const FREES_SYSTEM_BUFFER: u8 = 11;
const LEAKS: u8 = 12;
const FREES_WITH_LOCK: u8 = 13;
/// The correct driver that pages.
const PAGES: u8 = 20;

struct Blocks<const M: u8>;

struct Own {
    lock: Lock,
    list: UnsafeCell<LIST_ENTRY>,
}

fn paged<T>() -> *mut T {
    nt!(ExAllocatePool2(POOL_FLAG_PAGED, size_of::<T>(), TAG)).cast()
}

impl<const M: u8> Blocks<M> {
    fn use_blocks(own: &Own) {
        match M {
            FREES_INSIDE => free(allocate::<[u64; 4]>().wrapping_byte_add(16)),
            FREES_EXTENSION => free(own.lock.get()),
            HAS_PAGED_LOCK => {
                let lock = paged::<KSPIN_LOCK>();
                nt!(KeInitializeSpinLock(lock));
                let irql = nt!(KeAcquireSpinLockRaiseToDpc(lock));
                nt!(KeReleaseSpinLock(lock, irql));
                free(lock);
            }
            HAS_PAGED_EVENT => {
                let event = paged::<KEVENT>();
                initialise_event(event);
                free(event);
            }
            HAS_PAGED_ENTRY => {
                let (list, entry) = (own.list.get(), paged::<LIST_ENTRY>());
                nt!(ExInterlockedInsertTailList(list, entry, own.lock.get()));
                nt!(ExInterlockedRemoveHeadList(list, own.lock.get()));
                free(entry);
            }
            FREES_PAGED_AT_DISPATCH => {
                let block = paged::<u64>();
                own.lock.with(|| free(block));
            }
            HAS_NO_TAG => {
                let block = nt!(ExAllocatePool2(POOL_FLAG_PAGED, 8, 0));
                nt!(ExFreePoolWithTag(block, 0));
            }
            HAS_NO_BYTES => {
                let block = nt!(ExAllocatePool2(POOL_FLAG_PAGED, 0, TAG));
                free(block);
            }
            FREES_WITH_LOCK => {
                let lock = allocate::<KSPIN_LOCK>();
                nt!(KeInitializeSpinLock(lock));
                let irql = nt!(KeAcquireSpinLockRaiseToDpc(lock));
                free(lock);
                nt!(KeLowerIrql(irql));
            }
            _ => {
                let block = paged::<u64>();
                put(block, 1);
                free(block);
                free(allocate::<u64>());
            }
        }
    }
}

impl<const M: u8> Steps for Blocks<M> {
    type Own = Own;

    fn add(_: *mut DEVICE_OBJECT, own: &Own) {
        own.lock.initialise();
        nt!(list::InitializeListHead(own.list.get()));
    }

    fn control(_: *mut DEVICE_OBJECT, own: &Own, irp: *mut IRP, _: u32) -> NTSTATUS {
        let buffer = nt!(irp::system_buffer(irp));
        let length = nt!(irp::io_control(irp)).output_length;
        match M {
            OVERRUNS => put(buffer.cast::<[u8; 32]>(), [1; 32]),
            FREES_SYSTEM_BUFFER => nt!(ExFreePoolWithTag(buffer.cast(), TAG)),
            _ if length >= 4 => put(buffer.cast::<[u8; 4]>(), [1; 4]),
            _ => {}
        }
        Self::use_blocks(own);
        complete(irp, STATUS_SUCCESS)
    }

    /// Fails a create, for which it has allocated the data of the file.
    fn other(_: *mut DEVICE_OBJECT, _: &Own, irp: *mut IRP) -> NTSTATUS {
        if nt!(irp::major_function(irp)) != nt::IRP_MJ_CREATE {
            return complete(irp, STATUS_SUCCESS);
        }
        let context = allocate::<u64>();
        if M != LEAKS {
            free(context);
        }
        complete(irp, STATUS_SUCCESS)
    }
}

fn buffered<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Blocks<M>>(kernel);
    end_of(&stage.file.device_control(FIRST, &[], vec![0; 8]));
    stage.tear_down();
}

const MAPS_NOTHING: u8 = 1;

/// A driver that does direct I/O.
struct Direct<const M: u8>;

impl<const M: u8> Steps for Direct<M> {
    type Own = u64;

    const FLAGS: u32 = nt::DO_DIRECT_IO;

    fn other(_: *mut DEVICE_OBJECT, _: &u64, irp: *mut IRP) -> NTSTATUS {
        if nt!(irp::major_function(irp)) == nt::IRP_MJ_READ {
            let length = nt!(irp::transfer(irp)).length;
            if length > 0 || M == MAPS_NOTHING {
                let mdl = nt!(irp::mdl(irp));
                let _ = nt!(MmGetSystemAddressForMdlSafe(mdl, nt::NormalPagePriority));
            }
        }
        complete(irp, STATUS_SUCCESS)
    }
}

/// Reads no bytes.
fn reads<const M: u8>(kernel: &Arc<Kernel>) {
    let stage = Stage::set::<Direct<M>>(kernel);
    end_of(&stage.file.read(0, 0));
    stage.tear_down();
}

pairs! {
    address_inside_a_block_is_freed:
        one::<Blocks<FREES_INSIDE>>, one::<Blocks<CORRECT>>, Pool, "byte 16 of a block";
    part_of_the_device_extension_is_freed:
        one::<Blocks<FREES_EXTENSION>>, one::<Blocks<CORRECT>>, Pool, "extension";
    spin_lock_is_in_paged_pool:
        one::<Blocks<HAS_PAGED_LOCK>>, one::<Blocks<PAGES>>, PagedMemory, "paged pool";
    event_is_in_paged_pool:
        one::<Blocks<HAS_PAGED_EVENT>>, one::<Blocks<PAGES>>, PagedMemory, "paged pool";
    entry_of_an_interlocked_list_is_in_paged_pool:
        one::<Blocks<HAS_PAGED_ENTRY>>, one::<Blocks<PAGES>>, PagedMemory, "paged pool";
    paged_block_is_freed_at_dispatch_level:
        one::<Blocks<FREES_PAGED_AT_DISPATCH>>, one::<Blocks<PAGES>>, Pool, "IRQL 2";
    block_has_no_tag:
        one::<Blocks<HAS_NO_TAG>>, one::<Blocks<CORRECT>>, Pool, "0x0 is freed";
    block_has_no_bytes:
        one::<Blocks<HAS_NO_BYTES>>, one::<Blocks<CORRECT>>, Pool, "a block of zero bytes";
    block_is_freed_with_its_spin_lock_held:
        one::<Blocks<FREES_WITH_LOCK>>, one::<Blocks<CORRECT>>, SpinLock, "holds";
    more_is_written_than_the_output_buffer_holds:
        buffered::<OVERRUNS>, buffered::<CORRECT>, Pool, "system buffer";
    system_buffer_is_freed:
        buffered::<FREES_SYSTEM_BUFFER>, buffered::<CORRECT>, Pool, "system buffer";
    data_of_a_file_is_not_freed:
        one::<Blocks<LEAKS>>, one::<Blocks<CORRECT>>, Pool, "";
    mdl_of_an_empty_read_is_mapped:
        reads::<MAPS_NOTHING>, reads::<CORRECT>, Pointer, "MDL";
}
