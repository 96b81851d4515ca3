//! The entries that a driver writes to the system's error log. An entry is a block of the pool, so that one that is neither written
//! nor freed is found at the unload.

use std::ffi::c_void;

use nt::{DEVICE_OBJECT, DISPATCH_LEVEL};

use crate::{
    host::{Call, Kernel, footprint},
    mutex::locked,
    verifier::{BugCheck, Rule},
};

/// The size of an `IO_ERROR_LOG_PACKET`, and `ERROR_LOG_MAXIMUM_SIZE`.
const PACKET: usize = 0x30;
const MAXIMUM: usize = 240;

/// The offset of `DumpData`.
const DUMP_DATA: usize = 0x28;

/// The tag of an entry.
const TAG: u32 = u32::from_le_bytes(*b"IoEr");

/// What precedes an entry in its block: its size, and a mark.
#[repr(C, align(16))]
struct Header {
    size: usize,
    mark: u64,
}

const MARK: u64 = u64::from_le_bytes(*b"ErrorLog");

impl Kernel {
    /// Returns the entries that the driver has written to the error log: each is an `IO_ERROR_LOG_PACKET` with its dump data and strings.
    #[must_use]
    pub fn error_log(&self) -> Vec<Vec<u8>> {
        footprint::touch_everything();
        locked(&self.io().error_log).clone()
    }
}

impl Call {
    /// Returns the header of an entry.
    fn entry(&self, entry: *mut c_void) -> *mut Header {
        let header = entry.cast::<Header>().wrapping_sub(1);
        // SAFETY: the caller passes an entry, before which there is its header.
        let is_entry =
            !entry.is_null() && unsafe { self.view_new::<Header, _>(header) }.mark == MARK;
        self.require(is_entry, Rule::Pool, || {
            let what = format!(
                "{entry:?} is not an entry of IoAllocateErrorLogEntry, or was written or freed before"
            );
            (BugCheck(0x50, [entry.addr() as u64, 0, 0, 0]), what)
        });
        header
    }

    /// Stops the system if the dump data or the strings of an entry are longer than the entry.
    /// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_io_error_log_packet)
    fn require_entry_fits(&self, entry: &[u8]) {
        let field =
            |place: usize| usize::from(u16::from_le_bytes([entry[place], entry[place + 1]]));
        let (dump_data, strings, offset) = (field(2), field(4), field(6));
        let ends = entry.get(offset..).map_or(0, |text| {
            let units = text.as_chunks::<2>().0;
            units.iter().filter(|unit| **unit == [0; 2]).count()
        });
        let fits = DUMP_DATA + dump_data <= entry.len() && strings <= ends;
        self.require(fits, Rule::Pool, || {
            let size = entry.len();
            let what = format!(
                "an entry of {size} bytes with {dump_data} bytes of dump data and {strings} strings at byte {offset} ends past the end of a block"
            );
            let end = entry.as_ptr_range().end.addr() as u64;
            (BugCheck(0xd6, [end, 0, 0, 0]), what)
        });
    }

    fn free_entry(&self, header: *mut Header) {
        // SAFETY: the caller has checked that it is the header of an entry.
        unsafe { (*header).mark = 0 };
        self.free_pool(header.cast(), TAG);
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioallocateerrorlogentry)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoAllocateErrorLogEntry(object: *mut c_void, size: u8) -> *mut c_void {
    let call = Call::enter("IoAllocateErrorLogEntry").at_most(DISPATCH_LEVEL);
    let device = object.cast::<DEVICE_OBJECT>();
    if call.kernel.io().devices.is_known(device) {
        call.require_live_device(device);
    }
    let size = usize::from(size);
    if !(PACKET..=MAXIMUM).contains(&size) {
        return std::ptr::null_mut();
    }
    let header = call
        .allocate_pool(size_of::<Header>() + size, TAG, false)
        .cast::<Header>();
    if header.is_null() {
        return header.cast();
    }
    // SAFETY: the block has room for it.
    unsafe { header.write(Header { size, mark: MARK }) };
    header.wrapping_add(1).cast()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iowriteerrorlogentry)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoWriteErrorLogEntry(entry: *mut c_void) {
    let call = Call::enter("IoWriteErrorLogEntry").at_most(DISPATCH_LEVEL);
    let header = call.entry(entry);
    // SAFETY: it is the header of an entry.
    let size = unsafe { (*header).size };
    // SAFETY: the entry has this size.
    let bytes = unsafe { call.elements(entry.cast::<u8>(), size) };
    call.require_entry_fits(bytes);
    locked(&call.kernel.io().error_log).push(bytes.to_vec());
    call.free_entry(header);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iofreeerrorlogentry)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn IoFreeErrorLogEntry(entry: *mut c_void) {
    let call = Call::enter("IoFreeErrorLogEntry").at_most(DISPATCH_LEVEL);
    let header = call.entry(entry);
    call.free_entry(header);
}
