//! Run-down protection.

use std::sync::{Condvar, Mutex, PoisonError};

use nt::EX_RUNDOWN_REF;

use super::{irql::assert_passive, lock, routines};

/// The lowest bit says that the object is being run down; above it is the count.
const ACTIVE: usize = 1;
const ONE: usize = 2;

static REFERENCES: Mutex<()> = Mutex::new(());
static RELEASED: Condvar = Condvar::new();

routines! {
    fn ExInitializeRundownProtection(reference: *mut EX_RUNDOWN_REF) {
        // SAFETY: the caller passes valid memory for the reference.
        unsafe { reference.write(EX_RUNDOWN_REF { Count: 0 }) };
    }

    fn ExAcquireRundownProtection(reference: *mut EX_RUNDOWN_REF) -> u8 {
        let _held = lock(&REFERENCES);
        // SAFETY: the caller passes an initialised reference; the mutex is locked. The same holds for all blocks below.
        let count = unsafe { &mut (*reference).Count };
        if *count & ACTIVE != 0 {
            return 0;
        }
        *count += ONE;
        1
    }

    fn ExReleaseRundownProtection(reference: *mut EX_RUNDOWN_REF) {
        let held = lock(&REFERENCES);
        // SAFETY: as above.
        let count = unsafe { &mut (*reference).Count };
        *count = count.checked_sub(ONE).expect("an access");
        drop(held);
        RELEASED.notify_all();
    }

    fn ExWaitForRundownProtectionRelease(reference: *mut EX_RUNDOWN_REF) {
        assert_passive("ExWaitForRundownProtectionRelease");
        let mut held = lock(&REFERENCES);
        // SAFETY: as above.
        unsafe { (*reference).Count |= ACTIVE };
        loop {
            // SAFETY: as above.
            let count = unsafe { (*reference).Count };
            if count == ACTIVE {
                break;
            }
            held = RELEASED.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
