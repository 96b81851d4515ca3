//! Cancel-safe IRP queues (`IoCsq`).

use core::{ffi::c_void, ptr::null_mut};

use crate::{IRP, NTSTATUS};

/// A cancel-safe queue: the driver's routines for it. Its contents are opaque.
#[repr(C)]
pub struct IO_CSQ {
    pub Type: u32,
    pub CsqInsertIrp: *mut c_void,
    pub CsqRemoveIrp: PIO_CSQ_REMOVE_IRP,
    pub CsqPeekNextIrp: PIO_CSQ_PEEK_NEXT_IRP,
    pub CsqAcquireLock: PIO_CSQ_ACQUIRE_LOCK,
    pub CsqReleaseLock: PIO_CSQ_RELEASE_LOCK,
    pub CsqCompleteCanceledIrp: PIO_CSQ_COMPLETE_CANCELED_IRP,
    pub ReservePointer: *mut c_void,
}

impl IO_CSQ {
    /// A queue that was not initialised.
    pub const ZERO: Self = Self {
        Type: 0,
        CsqInsertIrp: null_mut(),
        CsqRemoveIrp: None,
        CsqPeekNextIrp: None,
        CsqAcquireLock: None,
        CsqReleaseLock: None,
        CsqCompleteCanceledIrp: None,
        ReservePointer: null_mut(),
    };
}

/// Identifies an IRP on a cancel-safe queue. Its contents are opaque.
#[repr(C)]
pub struct IO_CSQ_IRP_CONTEXT {
    pub Type: u32,
    pub Irp: *mut IRP,
    pub Csq: *mut IO_CSQ,
}

impl IO_CSQ_IRP_CONTEXT {
    /// A context of no IRP.
    pub const ZERO: Self = Self {
        Type: 0,
        Irp: null_mut(),
        Csq: null_mut(),
    };
}

pub type PIO_CSQ_INSERT_IRP = Option<unsafe extern "C" fn(Csq: *mut IO_CSQ, Irp: *mut IRP)>;
pub type PIO_CSQ_INSERT_IRP_EX = Option<
    unsafe extern "C" fn(Csq: *mut IO_CSQ, Irp: *mut IRP, InsertContext: *mut c_void) -> NTSTATUS,
>;
pub type PIO_CSQ_REMOVE_IRP = Option<unsafe extern "C" fn(Csq: *mut IO_CSQ, Irp: *mut IRP)>;
pub type PIO_CSQ_PEEK_NEXT_IRP = Option<
    unsafe extern "C" fn(Csq: *mut IO_CSQ, Irp: *mut IRP, PeekContext: *mut c_void) -> *mut IRP,
>;
pub type PIO_CSQ_ACQUIRE_LOCK = Option<unsafe extern "C" fn(Csq: *mut IO_CSQ, Irql: *mut u8)>;
pub type PIO_CSQ_RELEASE_LOCK = Option<unsafe extern "C" fn(Csq: *mut IO_CSQ, Irql: u8)>;
pub type PIO_CSQ_COMPLETE_CANCELED_IRP =
    Option<unsafe extern "C" fn(Csq: *mut IO_CSQ, Irp: *mut IRP)>;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn IoCsqInitialize(
        Csq: *mut IO_CSQ,
        CsqInsertIrp: PIO_CSQ_INSERT_IRP,
        CsqRemoveIrp: PIO_CSQ_REMOVE_IRP,
        CsqPeekNextIrp: PIO_CSQ_PEEK_NEXT_IRP,
        CsqAcquireLock: PIO_CSQ_ACQUIRE_LOCK,
        CsqReleaseLock: PIO_CSQ_RELEASE_LOCK,
        CsqCompleteCanceledIrp: PIO_CSQ_COMPLETE_CANCELED_IRP,
    ) -> NTSTATUS;
    pub fn IoCsqInitializeEx(
        Csq: *mut IO_CSQ,
        CsqInsertIrp: PIO_CSQ_INSERT_IRP_EX,
        CsqRemoveIrp: PIO_CSQ_REMOVE_IRP,
        CsqPeekNextIrp: PIO_CSQ_PEEK_NEXT_IRP,
        CsqAcquireLock: PIO_CSQ_ACQUIRE_LOCK,
        CsqReleaseLock: PIO_CSQ_RELEASE_LOCK,
        CsqCompleteCanceledIrp: PIO_CSQ_COMPLETE_CANCELED_IRP,
    ) -> NTSTATUS;
    /// `Context` may be NULL.
    pub fn IoCsqInsertIrp(Csq: *mut IO_CSQ, Irp: *mut IRP, Context: *mut IO_CSQ_IRP_CONTEXT);
    /// `Context` may be NULL.
    pub fn IoCsqInsertIrpEx(
        Csq: *mut IO_CSQ,
        Irp: *mut IRP,
        Context: *mut IO_CSQ_IRP_CONTEXT,
        InsertContext: *mut c_void,
    ) -> NTSTATUS;
    pub fn IoCsqRemoveNextIrp(Csq: *mut IO_CSQ, PeekContext: *mut c_void) -> *mut IRP;
    pub fn IoCsqRemoveIrp(Csq: *mut IO_CSQ, Context: *mut IO_CSQ_IRP_CONTEXT) -> *mut IRP;
}
