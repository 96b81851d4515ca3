//! The mutexes of the model.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex of the model's. A thread that panicked with it has aborted the program, or is a test's that failed.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
