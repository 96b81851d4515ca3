//! The features of the processors: those that every processor for x64 has.
//!
//! [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-exisprocessorfeaturepresent)

use crate::host::Call;

/// `PF_COMPARE_EXCHANGE_DOUBLE`, `PF_MMX_INSTRUCTIONS_AVAILABLE`, `PF_XMMI_INSTRUCTIONS_AVAILABLE`, `PF_RDTSC_INSTRUCTION_AVAILABLE`,
/// `PF_PAE_ENABLED`, `PF_XMMI64_INSTRUCTIONS_AVAILABLE`, `PF_NX_ENABLED` and `PF_FASTFAIL_AVAILABLE`.
const PRESENT: [u32; 8] = [2, 3, 6, 8, 9, 10, 12, 23];

// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExIsProcessorFeaturePresent(feature: u32) -> u8 {
    let _call = Call::enter_noted("ExIsProcessorFeaturePresent");
    u8::from(PRESENT.contains(&feature))
}
