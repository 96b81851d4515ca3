//! The instructions of inline functions that the model does not emulate on a Windows host.
//!
//! On Linux these instructions fault, and the model emulates them. On Windows GS is the base of the thread's own block,
//! which is read without a fault, so an image that contains one of them is refused.

use crate::image::ImageError;

/// `KPCR.Prcb.Number` and `KPCR.Prcb.CurrentThread`
const NUMBER: [u8; 4] = 0x184_u32.to_le_bytes();
const CURRENT_THREAD: [u8; 4] = 0x188_u32.to_le_bytes();

/// Returns an error if the code contains one of these instructions.
pub(super) fn refuse(code: &[u8]) -> Result<(), ImageError> {
    let found = (0..code.len()).find_map(|start| inline(&code[start..]));
    found.map_or(Ok(()), |name| Err(ImageError::Inline(name)))
}

/// Returns the inline function that an instruction is part of.
fn inline(code: &[u8]) -> Option<&'static str> {
    match *code {
        // mov r, gs:[disp32], with and without a REX prefix
        [0x65, 0x40..=0x4f, 0x8b, register, 0x25, a, b, c, d, ..]
        | [0x65, 0x8b, register, 0x25, a, b, c, d, ..]
            if register & 0xc7 == 4 =>
        {
            match [a, b, c, d] {
                NUMBER => Some("KeGetCurrentProcessorNumber"),
                CURRENT_THREAD => Some("KeGetCurrentThread"),
                _ => None,
            }
        }
        // mov r, cr8 and mov cr8, r: register 0 with the R bit of the REX prefix
        [rex, 0x0f, opcode @ (0x20 | 0x22), registers, ..]
            if rex & 0xf4 == 0x44 && registers & 0xf8 == 0xc0 =>
        {
            Some(if opcode == 0x20 {
                "KeGetCurrentIrql"
            } else {
                "KeRaiseIrql or KeLowerIrql"
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::inline;

    #[test]
    fn the_instructions_of_the_inline_functions_are_found() {
        // As compilers emit the inline functions of the WDK.
        let found: [(&[u8], _); 6] = [
            // mov eax, gs:[184h]
            (
                &[0x65, 0x8b, 0x04, 0x25, 0x84, 1, 0, 0],
                Some("KeGetCurrentProcessorNumber"),
            ),
            // mov r9, gs:[188h]
            (
                &[0x65, 0x4c, 0x8b, 0x0c, 0x25, 0x88, 1, 0, 0],
                Some("KeGetCurrentThread"),
            ),
            // mov rax, cr8
            (&[0x44, 0x0f, 0x20, 0xc0], Some("KeGetCurrentIrql")),
            // mov cr8, r10
            (
                &[0x45, 0x0f, 0x22, 0xc2],
                Some("KeRaiseIrql or KeLowerIrql"),
            ),
            // mov rax, cr0, and mov rax, gs:[30h]
            (&[0x0f, 0x20, 0xc0], None),
            (&[0x65, 0x48, 0x8b, 0x04, 0x25, 0x30, 0, 0, 0], None),
        ];
        for (code, name) in found {
            assert_eq!(inline(code), name, "{code:x?}");
        }
    }
}
