//! `interlock.sys`: the entry point, pool allocator and panic handler for the driver logic in the crate
//! `interlock`.

#![no_std]

// Linked for its panic handler, a bug check that names the source line. No input makes the driver panic.
extern crate wdk_panic as _;

use wdk_alloc::WdkAllocator;
use wdm::PoolAllocator;

/// Allocates from the nonpaged pool; fails if it cannot align an allocation.
#[global_allocator]
static POOL: PoolAllocator<WdkAllocator> = PoolAllocator(WdkAllocator);

wdm::driver_entry!(interlock::Interlock);
