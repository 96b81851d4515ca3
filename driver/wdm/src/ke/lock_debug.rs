//! The record of a spin lock: empty by default; its owner and its statistics with the feature `lock-debug`.

#[cfg(not(feature = "lock-debug"))]
pub use off::LockDebug;
#[cfg(feature = "lock-debug")]
pub use on::LockDebug;
#[cfg(feature = "lock-debug")]
pub use on::LockStatistics;

#[cfg(not(feature = "lock-debug"))]
mod off {
    /// Calls the kernel's routines and records nothing.
    pub struct LockDebug;

    impl LockDebug {
        pub(crate) const fn new() -> Self {
            Self
        }

        /// Raises the IRQL and acquires a lock (`KeAcquireSpinLock`). `N` is the type that owns the lock.
        ///
        /// # Safety
        /// The lock was initialised in place, and the IRQL is at most `DISPATCH_LEVEL`.
        #[expect(
            clippy::unused_self,
            clippy::extra_unused_type_parameters,
            reason = "the version with `lock-debug` uses them"
        )]
        pub(crate) unsafe fn acquire<N: ?Sized>(&self, lock: *mut nt::KSPIN_LOCK) -> u8 {
            // SAFETY: guaranteed by the caller. This is KeAcquireSpinLock, which is a macro.
            unsafe { nt::KeAcquireSpinLockRaiseToDpc(lock) }
        }

        /// Acquires a lock at `DISPATCH_LEVEL` (`KeAcquireSpinLockAtDpcLevel`).
        ///
        /// # Safety
        /// The lock was initialised in place, and the IRQL is `DISPATCH_LEVEL`.
        #[expect(
            clippy::unused_self,
            clippy::extra_unused_type_parameters,
            reason = "as above"
        )]
        pub(crate) unsafe fn acquire_at_dpc<N: ?Sized>(&self, lock: *mut nt::KSPIN_LOCK) {
            // SAFETY: guaranteed by the caller.
            unsafe { nt::KeAcquireSpinLockAtDpcLevel(lock) };
        }

        /// Acquires a lock at `DISPATCH_LEVEL` if it is not held (`KeTryToAcquireSpinLockAtDpcLevel`).
        ///
        /// # Safety
        /// As for [`LockDebug::acquire_at_dpc`].
        #[expect(
            clippy::unused_self,
            clippy::extra_unused_type_parameters,
            reason = "as above"
        )]
        pub(crate) unsafe fn try_acquire_at_dpc<N: ?Sized>(
            &self,
            lock: *mut nt::KSPIN_LOCK,
        ) -> bool {
            // SAFETY: guaranteed by the caller.
            unsafe { nt::KeTryToAcquireSpinLockAtDpcLevel(lock) != 0 }
        }

        /// Releases a lock and restores the IRQL (`KeReleaseSpinLock`).
        ///
        /// # Safety
        /// [`LockDebug::acquire`] acquired the lock and returned `old_irql`; the IRQL is `DISPATCH_LEVEL`.
        #[expect(clippy::unused_self, reason = "as above")]
        pub(crate) unsafe fn release(&self, lock: *mut nt::KSPIN_LOCK, old_irql: u8) {
            // SAFETY: guaranteed by the caller.
            unsafe { nt::KeReleaseSpinLock(lock, old_irql) };
        }

        /// Releases a lock at `DISPATCH_LEVEL` (`KeReleaseSpinLockFromDpcLevel`).
        ///
        /// # Safety
        /// [`LockDebug::acquire_at_dpc`] or [`LockDebug::try_acquire_at_dpc`] acquired the lock; the IRQL is
        /// `DISPATCH_LEVEL`.
        #[expect(clippy::unused_self, reason = "as above")]
        pub(crate) unsafe fn release_from_dpc(&self, lock: *mut nt::KSPIN_LOCK) {
            // SAFETY: guaranteed by the caller.
            unsafe { nt::KeReleaseSpinLockFromDpcLevel(lock) };
        }
    }
}

#[cfg(feature = "lock-debug")]
mod on {
    use core::{
        any::type_name,
        ptr::null_mut,
        sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed},
    };

    use crate::log;

    /// The statistics of a [`SpinLock`](crate::SpinLock) since it was initialised (feature `lock-debug`).
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::SpinLock;
    ///
    /// fn is_contended(lock: &SpinLock<u32>) -> bool {
    ///     let statistics = lock.statistics();
    ///     statistics.contended > statistics.acquires / 10
    /// }
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LockStatistics {
        /// The number of acquisitions.
        pub acquires: u64,
        /// The number of acquisitions that found the lock held by another processor.
        pub contended: u64,
        /// The longest time for which the lock was held, in ticks of `KeQueryPerformanceCounter`.
        pub longest_hold: i64,
    }

    /// The value of `owner` if no processor holds the lock.
    const NOBODY: u32 = u32::MAX;

    /// The processor of the owner, and the statistics of one lock.
    // # Invariants
    //
    // `owner` is a processor's number only while code on that processor holds the lock, at `DISPATCH_LEVEL`. So if
    // a processor at `DISPATCH_LEVEL` reads its own number there, it holds the lock. Other processors never write
    // that number, so no memory ordering is needed. All other fields except `contended` are written with the lock
    // held.
    pub struct LockDebug {
        owner: AtomicU32,
        since: AtomicI64,
        longest_hold: AtomicI64,
        acquires: AtomicU64,
        contended: AtomicU64,
    }

    impl LockDebug {
        pub(crate) const fn new() -> Self {
            Self {
                owner: AtomicU32::new(NOBODY),
                since: AtomicI64::new(0),
                longest_hold: AtomicI64::new(0),
                acquires: AtomicU64::new(0),
                contended: AtomicU64::new(0),
            }
        }

        pub(crate) fn statistics(&self) -> LockStatistics {
            LockStatistics {
                acquires: self.acquires.load(Relaxed),
                contended: self.contended.load(Relaxed),
                longest_hold: self.longest_hold.load(Relaxed),
            }
        }

        /// Raises the IRQL, then acquires a lock. These are two steps, since the owner can be checked only at
        /// `DISPATCH_LEVEL`. `N` is the type that owns the lock.
        ///
        /// # Safety
        /// The lock was initialised in place, and the IRQL is at most `DISPATCH_LEVEL`.
        pub(crate) unsafe fn acquire<N: ?Sized>(&self, lock: *mut nt::KSPIN_LOCK) -> u8 {
            // SAFETY: guaranteed by the caller.
            let old_irql = unsafe { nt::KeRaiseIrqlToDpcLevel() };
            // SAFETY: guaranteed by the caller, and the IRQL is DISPATCH_LEVEL now.
            unsafe { self.acquire_at_dpc::<N>(lock) };
            old_irql
        }

        /// Acquires a lock at `DISPATCH_LEVEL`, or stops the system if this processor already holds it.
        ///
        /// # Safety
        /// The lock was initialised in place, and the IRQL is `DISPATCH_LEVEL`.
        pub(crate) unsafe fn acquire_at_dpc<N: ?Sized>(&self, lock: *mut nt::KSPIN_LOCK) {
            // SAFETY: guaranteed by the caller.
            if unsafe { self.try_acquire_at_dpc::<N>(lock) } {
                return;
            }
            self.contended.fetch_add(1, Relaxed);
            // SAFETY: guaranteed by the caller.
            unsafe { nt::KeAcquireSpinLockAtDpcLevel(lock) };
            self.taken();
        }

        /// Acquires a lock at `DISPATCH_LEVEL` if it is not held, or stops the system if this processor already
        /// holds it.
        ///
        /// # Safety
        /// As for [`LockDebug::acquire_at_dpc`].
        pub(crate) unsafe fn try_acquire_at_dpc<N: ?Sized>(
            &self,
            lock: *mut nt::KSPIN_LOCK,
        ) -> bool {
            if self.owner.load(Relaxed) == processor() {
                already_owned::<N>(lock);
            }
            // SAFETY: guaranteed by the caller.
            let taken = unsafe { nt::KeTryToAcquireSpinLockAtDpcLevel(lock) } != 0;
            if taken {
                self.taken();
            }
            taken
        }

        fn taken(&self) {
            self.owner.store(processor(), Relaxed);
            self.since.store(now(), Relaxed);
            self.acquires.fetch_add(1, Relaxed);
        }

        /// Releases a lock and restores the IRQL.
        ///
        /// # Safety
        /// [`LockDebug::acquire`] acquired the lock and returned `old_irql`; the IRQL is `DISPATCH_LEVEL`.
        pub(crate) unsafe fn release(&self, lock: *mut nt::KSPIN_LOCK, old_irql: u8) {
            // SAFETY: guaranteed by the caller.
            unsafe { self.release_from_dpc(lock) };
            // SAFETY: `old_irql` is the IRQL at which the lock was acquired.
            unsafe { nt::KeLowerIrql(old_irql) };
        }

        /// Releases a lock at `DISPATCH_LEVEL`.
        ///
        /// # Safety
        /// [`LockDebug::acquire_at_dpc`] or [`LockDebug::try_acquire_at_dpc`] acquired the lock; the IRQL is
        /// `DISPATCH_LEVEL`.
        pub(crate) unsafe fn release_from_dpc(&self, lock: *mut nt::KSPIN_LOCK) {
            let held = now().wrapping_sub(self.since.load(Relaxed));
            self.longest_hold.fetch_max(held, Relaxed);
            self.owner.store(NOBODY, Relaxed);
            // SAFETY: guaranteed by the caller.
            unsafe { nt::KeReleaseSpinLockFromDpcLevel(lock) };
        }
    }

    fn processor() -> u32 {
        // SAFETY: the routine may be called at any IRQL; its optional output parameter is NULL.
        unsafe { nt::KeGetCurrentProcessorNumberEx(null_mut()) }
    }

    fn now() -> i64 {
        // SAFETY: the routine may be called at any IRQL; its optional output parameter is NULL.
        unsafe { nt::KeQueryPerformanceCounter(null_mut()) }
    }

    /// Reports the lock and stops the system: this processor would wait for itself forever.
    fn already_owned<N: ?Sized>(lock: *mut nt::KSPIN_LOCK) -> ! {
        log::spin_lock_already_owned(type_name::<N>());
        // SAFETY: KeBugCheckEx may be called at any IRQL, with any parameters.
        unsafe { nt::KeBugCheckEx(nt::SPIN_LOCK_ALREADY_OWNED, lock.addr() as u64, 0, 0, 0) }
    }
}
