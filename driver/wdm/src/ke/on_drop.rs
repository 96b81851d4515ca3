//! A routine that undoes an acquisition when a scope ends.

/// Calls a closure when it is dropped: at the end of its scope, or while a closure that runs in the scope unwinds, which
/// happens in user mode only.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
