//! The model's mutexes.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex of the model. If it is poisoned, the thread that panicked belongs to a test that failed.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
