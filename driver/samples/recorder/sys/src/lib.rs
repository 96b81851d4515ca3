//! `sample_recorder.sys`: the entry point, pool allocator and panic handler for the logic in `interlock-sample-recorder`.

#![no_std]

// Linked for its panic handler, which is a bug check.
extern crate wdk_panic as _;

use wdk_alloc::WdkAllocator;
use wdm::PoolAllocator;

/// Allocates from the nonpaged pool.
#[global_allocator]
static POOL: PoolAllocator<WdkAllocator> = PoolAllocator(WdkAllocator);

wdm::driver_entry!(control: interlock_sample_recorder::Recorder);
