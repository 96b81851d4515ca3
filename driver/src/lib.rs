//! `interlock.sys`: the driver's entry point, its pool allocator and its panic handler, around the logic
//! of the crate `interlock`.

#![no_std]

// Linked for its panic handler: a bug check that names the source line. No input reaches one.
extern crate wdk_panic as _;

use wdk_alloc::WdkAllocator;
use wdm::PoolAllocator;

/// The nonpaged pool, which refuses what it cannot align.
#[global_allocator]
static POOL: PoolAllocator<WdkAllocator> = PoolAllocator(WdkAllocator);

wdm::driver_entry!(interlock::Interlock);
