//! Random numbers, which are the same for the same seed.

use crate::{host::Call, verifier::Rule};

/// `MAXLONG`
const MAXLONG: u32 = 0x7fff_ffff;

impl Call {
    /// Replaces a seed by the next number of its sequence, which is below `MAXLONG`.
    fn next_random(&self, seed: *mut u32) -> u32 {
        self.require_at_most(1, Rule::Irql, 0xe5);
        self.require_room(seed);
        // SAFETY: the caller of the routine passes its seed.
        let before = unsafe { seed.read() };
        // The generator of Lehmer with the multiplier of Park and Miller.
        let next = u64::from(before % MAXLONG).max(1) * 48_271 % u64::from(MAXLONG);
        let next = u32::try_from(next).unwrap_or_default();
        // SAFETY: as above.
        unsafe { seed.write(next) };
        next
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtlrandom)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlRandom(seed: *mut u32) -> u32 {
    Call::enter_noted("RtlRandom").next_random(seed)
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-rtlrandomex)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlRandomEx(seed: *mut u32) -> u32 {
    Call::enter_noted("RtlRandomEx").next_random(seed)
}
