//! A value that may not be shared between threads is read by several at a time.

use core::cell::Cell;

use wdm::RwSpinLock;

static LOCK: RwSpinLock<Cell<u32>> = RwSpinLock::new(Cell::new(0)); //~ E0277
