//! Privileged instructions of an image. Those in the WDK's inline functions are emulated; others are reported.
//!
//! | instruction | inline function | outcome |
//! | --- | --- | --- |
//! | `mov r, cr8` | `KeGetCurrentIrql` | the thread's IRQL |
//! | `mov cr8, r` | `KeRaiseIrql`, `KeLowerIrql` of some headers | the routine of that name is called |
//! | `mov r, gs:[184h]` | `KeGetCurrentProcessorNumber` | the thread's processor |
//! | `mov r, gs:[188h]` | `KeGetCurrentThread` | an address that no other thread has, and where no memory is |
//! | `mov r, [0FFFFF78000000008h]` | `KeQueryInterruptTime` | the time |
//! | `mov r, [0FFFFF78000000014h]` | `KeQuerySystemTime` | the time |
//! | `mov r, [0FFFFF78000000320h]` | `KeQueryTickCount` | the time in ticks |
//! | `int 29h` | `__fastfail` | bug check `KERNEL_SECURITY_CHECK_FAILURE` |
//! | others | | a violation that names the instruction |
//!
//! Each of these instructions faults in user mode: it is privileged, or there is no memory at the address or at the offset
//! of GS, whose base is zero.

use std::{arch::naked_asm, ffi::c_void, mem::offset_of, ptr::with_exposed_provenance};

use crate::{
    host::{
        Call,
        clock::TICK,
        footprint::{self, Access},
        thread,
    },
    image,
    verifier::{BugCheck, Rule},
};

/// `KPCR.Prcb.Number` and `KPCR.Prcb.CurrentThread`
const NUMBER: usize = 0x184;
const CURRENT_THREAD: usize = 0x188;

/// `KUSER_SHARED_DATA.InterruptTime`, `SystemTime` and `TickCount`
const INTERRUPT_TIME: usize = 0xffff_f780_0000_0008;
const SYSTEM_TIME: usize = 0xffff_f780_0000_0014;
const TICK_COUNT: usize = 0xffff_f780_0000_0320;

/// `FAST_FAIL_CORRUPT_LIST_ENTRY`
const CORRUPT_LIST_ENTRY: u64 = 3;

/// The number of the exception, and the bit of its error code for a fault in the fetch of the instruction.
const PAGE_FAULT: i64 = 14;
const FETCH: i64 = 0x10;

/// An instruction, with the number of its register and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    ReadIrql(usize, u64),
    WriteIrql(usize, u64),
    /// A read of a doubleword or quadword behind GS.
    ReadPcr(usize, u64),
    /// A read of a quadword, as of any memory.
    Read(usize, u64),
    FastFail,
    /// Another instruction, which the model does not emulate, by its name.
    Other(&'static str),
}

/// The bytes of an instruction, which are read one by one, since the memory after it can be invalid.
struct Bytes {
    next: *const u8,
    length: u64,
}

impl Bytes {
    fn take(&mut self) -> u8 {
        // SAFETY: the processor has fetched the instruction, and only its bytes are read.
        let byte = unsafe { self.next.read() };
        self.next = self.next.wrapping_add(1);
        self.length += 1;
        byte
    }

    /// Skips the `ModRM` byte and the address that follows it; returns the register.
    fn register(&mut self, rex: u8) -> usize {
        let byte = self.take();
        let (mode, low) = (byte >> 6, byte & 7);
        let register = usize::from(byte >> 3 & 7 | (rex & 4) << 1);
        if mode == 3 {
            return register;
        }
        let base = if low == 4 { self.take() & 7 } else { low };
        let displacement = match mode {
            0 if base != 5 => 0,
            1 => 1,
            _ => 4,
        };
        for _ in 0..displacement {
            self.take();
        }
        register
    }
}

impl Instruction {
    /// Returns the instruction at an address; `None` if it is not privileged.
    ///
    /// # Safety
    /// The instruction has faulted.
    unsafe fn at(address: usize) -> Option<Self> {
        let next = with_exposed_provenance(address);
        let mut bytes = Bytes { next, length: 0 };
        let (mut gs, mut is_plain) = (false, true);
        let mut byte = bytes.take();
        while matches!(
            byte,
            0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3
        ) {
            gs |= byte == 0x65;
            is_plain &= byte == 0x65;
            byte = bytes.take();
        }
        let mut rex = 0;
        if byte & 0xf0 == 0x40 {
            rex = byte;
            byte = bytes.take();
        }
        let other = match byte {
            0x0f => match bytes.take() {
                kind @ (0x20 | 0x22) => {
                    // The numbers of the control register and of the general register.
                    let (control, register) = {
                        let byte = bytes.take();
                        (byte >> 3 & 7 | (rex & 4) << 1, byte & 7 | (rex & 1) << 3)
                    };
                    match (control, kind) {
                        (8, 0x20) => return Some(Self::ReadIrql(register.into(), bytes.length)),
                        (8, _) => return Some(Self::WriteIrql(register.into(), bytes.length)),
                        _ => "mov with a control register",
                    }
                }
                0x21 | 0x23 => "mov with a debug register",
                0x30 => "wrmsr",
                0x32 => "rdmsr",
                0x08 | 0x09 => "wbinvd or invd",
                0x00 | 0x01 => "an instruction that loads or stores a system register",
                _ if gs => "an access of the KPCR, behind GS",
                _ => return None,
            },
            0x8b if gs && is_plain => {
                let register = bytes.register(rex);
                return Some(Self::ReadPcr(register, bytes.length));
            }
            0x8b if is_plain && rex & 8 != 0 => {
                let register = bytes.register(rex);
                return Some(Self::Read(register, bytes.length));
            }
            0xa1 if !gs && is_plain && rex & 8 != 0 => {
                return Some(Self::Read(0, bytes.length + 8));
            }
            // The accumulator, from an address that the instruction has whole.
            0xa1 if gs && is_plain => return Some(Self::ReadPcr(0, bytes.length + 8)),
            0xcd => match bytes.take() {
                0x29 => return Some(Self::FastFail),
                _ => "int",
            },
            0xe4..=0xe7 | 0xec..=0xef | 0x6c..=0x6f => "in or out",
            0xf4 => "hlt",
            0xfa => "cli",
            0xfb => "sti",
            _ if gs => "an access of the KPCR, behind GS",
            _ => return None,
        };
        Some(Self::Other(other))
    }
}

/// The places of the general registers in the context, by number.
const REGISTERS: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// The registers of a thread in a signal handler.
struct Registers<'a>(&'a mut [libc::greg_t; 23]);

impl Registers<'_> {
    fn get(&mut self, register: libc::c_int) -> &mut libc::greg_t {
        &mut self.0[usize::try_from(register).unwrap_or_default()]
    }

    fn set(&mut self, number: usize, value: u64) {
        *self.get(REGISTERS[number]) = value.cast_signed();
    }

    fn instruction(&mut self) -> Option<Instruction> {
        let is_page_fault = *self.get(libc::REG_TRAPNO) == PAGE_FAULT;
        if is_page_fault && *self.get(libc::REG_ERR) & FETCH != 0 {
            return None;
        }
        let address = usize::try_from(*self.get(libc::REG_RIP)).ok()?;
        // SAFETY: the thread has faulted there.
        let instruction = || unsafe { Instruction::at(address) };
        image::contains(address).then(instruction).flatten()
    }

    fn pass(&mut self, length: u64) {
        *self.get(libc::REG_RIP) += length.cast_signed();
    }
}

/// # Safety
/// The context was passed to a signal handler.
unsafe fn registers<'a>(context: *mut c_void) -> Registers<'a> {
    // SAFETY: guaranteed by the caller.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    Registers(&mut context.uc_mcontext.gregs)
}

/// Emulates the instruction of an image that has faulted, and lets the thread continue after it; returns whether the
/// model emulates the instruction. `address` is the address that the processor could not access.
///
/// # Safety
/// The context was passed to a signal handler.
pub(super) unsafe fn serve(context: *mut c_void, address: Option<usize>) -> bool {
    // SAFETY: guaranteed by the caller.
    let mut registers = unsafe { registers(context) };
    let (Some(instruction), Some(thread)) = (registers.instruction(), thread::try_current()) else {
        return false;
    };
    match (instruction, address) {
        (Instruction::ReadIrql(register, length), _) => {
            registers.set(register, thread.irql().into());
            registers.pass(length);
        }
        (Instruction::ReadPcr(register, length), Some(NUMBER)) => {
            registers.set(register, thread.processor().into());
            registers.pass(length);
        }
        (Instruction::ReadPcr(register, length), Some(CURRENT_THREAD)) => {
            registers.set(register, thread.object() as u64);
            registers.pass(length);
        }
        (
            Instruction::Read(register, length),
            Some(at @ (INTERRUPT_TIME | SYSTEM_TIME | TICK_COUNT)),
        ) => {
            let clock = &thread.kernel.clock;
            // As `KeQueryPerformanceCounter` does. The fault is in the driver's code, so no data of the model is borrowed.
            footprint::touch(clock.key(), Access::Exclusive);
            let now = clock.read();
            let tick = if at == TICK_COUNT { TICK } else { 1 };
            registers.set(register, now / tick);
            registers.pass(length);
        }
        (Instruction::WriteIrql(register, length), _) => {
            let value = *registers.get(REGISTERS[register]);
            registers.pass(length);
            let after = *registers.get(libc::REG_RIP);
            // In the convention of an image there is no data below the stack pointer.
            for word in [after, value] {
                let stack = registers.get(libc::REG_RSP);
                *stack -= 8;
                let place = usize::try_from(*stack).unwrap_or_default();
                let place = std::ptr::with_exposed_provenance_mut::<i64>(place);
                // SAFETY: the thread's stack has room, as for any call.
                unsafe { place.write(word) };
            }
            *registers.get(libc::REG_RIP) = (write_irql as *const () as u64).cast_signed();
        }
        _ => return false,
    }
    true
}

/// Stops the system if the instruction that has faulted is a privileged one of an image that the model does not
/// emulate.
///
/// # Safety
/// The context was passed to a signal handler.
pub(super) unsafe fn refuse(call: &Call, context: *mut c_void, address: Option<usize>) {
    // SAFETY: guaranteed by the caller.
    let mut registers = unsafe { registers(context) };
    let place = (*registers.get(libc::REG_RIP)).cast_unsigned();
    match registers.instruction() {
        None => {}
        Some(Instruction::FastFail) => {
            let code = (*registers.get(libc::REG_RCX)).cast_unsigned() & 0xffff_ffff;
            let (rule, what) = if code == CORRUPT_LIST_ENTRY {
                (Rule::ListEntry, "the driver has found a corrupt list entry")
            } else {
                (Rule::BugCheck, "the driver has stopped the system")
            };
            let what = format!("{what}: int 29h at {place:#x}");
            call.stop(BugCheck(0x139, [code, 0, 0, 0]), rule, what);
        }
        Some(Instruction::ReadPcr(..)) => {
            let offset = address.unwrap_or_default();
            let what = format!(
                "the driver reads gs:[{offset:x}h], and of the KPCR the model has the processor's number, at 184h, and the \
                 thread, at 188h"
            );
            call.stop(BugCheck::NONE, Rule::Instruction, what);
        }
        Some(instruction) => {
            let Instruction::Other(name) = instruction else {
                return;
            };
            let what =
                format!("the driver has an instruction at {place:#x} that the model lacks: {name}");
            call.stop(BugCheck::NONE, Rule::Instruction, what);
        }
    }
}

/// The registers that `write_irql` saves, below the flags: RBX, and those that the host's convention does not preserve.
#[repr(C)]
struct SavedRegisters {
    rbx: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rax: u64,
    flags: u64,
    value: u64,
    after: u64,
}

/// Writes CR8 in place of an instruction that changes no register. Its argument and the address after the instruction are on
/// the stack.
#[unsafe(naked)]
extern "C" fn write_irql() {
    naked_asm!(
        ".cfi_startproc",
        "pushfq",
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push rbx",
        "mov rbx, rsp",
        // For stack walks: the image's frame has not moved.
        ".cfi_def_cfa rbx, {size}",
        "sub rsp, 512",
        "and rsp, -64",
        "cld",
        "fxsave64 [rsp]",
        "mov rdi, [rbx + {value}]",
        "call {set_irql}",
        "fxrstor64 [rsp]",
        "mov rsp, rbx",
        "pop rbx",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "popfq",
        "lea rsp, [rsp + 8]",
        "ret",
        ".cfi_endproc",
        size = const size_of::<SavedRegisters>(),
        value = const offset_of!(SavedRegisters, value),
        set_irql = sym set_irql,
    )
}

extern "C" fn set_irql(new: u64) {
    let new = u8::try_from(new).unwrap_or(u8::MAX);
    let now = thread::try_current().map_or(0, |thread| thread.irql());
    if new > now {
        // SAFETY: the routine checks the IRQL.
        unsafe { nt::KfRaiseIrql(new) };
    } else {
        // SAFETY: as above.
        unsafe { nt::KeLowerIrql(new) };
    }
}

#[cfg(test)]
mod tests {
    use super::Instruction;

    /// The last instructions are those that a page ends with.
    fn decoded(bytes: &[u8]) -> Option<Instruction> {
        // SAFETY: each test has a whole instruction.
        unsafe { Instruction::at(bytes.as_ptr().expose_provenance()) }
    }

    #[test]
    fn the_instructions_of_inline_functions_are_known() {
        for (bytes, expected) in [
            // mov rax, cr8; mov rdx, cr8; mov r9, cr8
            (&[0x44, 0x0f, 0x20, 0xc0][..], Instruction::ReadIrql(0, 4)),
            (&[0x44, 0x0f, 0x20, 0xc2], Instruction::ReadIrql(2, 4)),
            (&[0x45, 0x0f, 0x20, 0xc1], Instruction::ReadIrql(9, 4)),
            // mov cr8, rcx
            (&[0x44, 0x0f, 0x22, 0xc1], Instruction::WriteIrql(1, 4)),
            // mov eax, gs:[184h]; mov r8, gs:[188h]
            (
                &[0x65, 0x8b, 0x04, 0x25, 0x84, 1, 0, 0],
                Instruction::ReadPcr(0, 8),
            ),
            (
                &[0x65, 0x4c, 0x8b, 0x04, 0x25, 0x88, 1, 0, 0],
                Instruction::ReadPcr(8, 9),
            ),
            // mov rcx, gs:[rax]; mov ecx, gs:[rdx+8]; mov rax, gs:[188h] with a whole address
            (&[0x65, 0x48, 0x8b, 0x08], Instruction::ReadPcr(1, 4)),
            (&[0x65, 0x8b, 0x4a, 0x08], Instruction::ReadPcr(1, 4)),
            (
                &[0x65, 0x48, 0xa1, 0x88, 1, 0, 0, 0, 0, 0, 0],
                Instruction::ReadPcr(0, 11),
            ),
            // mov rax, [0FFFFF78000000014h]; mov rcx, [rdx]
            (
                &[0x48, 0xa1, 0x14, 0, 0, 0, 0x80, 0xf7, 0xff, 0xff],
                Instruction::Read(0, 10),
            ),
            (&[0x48, 0x8b, 0x0a], Instruction::Read(1, 3)),
            (&[0xcd, 0x29], Instruction::FastFail),
            (&[0xfa], Instruction::Other("cli")),
            (&[0x0f, 0x32], Instruction::Other("rdmsr")),
        ] {
            assert_eq!(decoded(bytes), Some(expected), "{bytes:x?}");
        }
    }

    #[test]
    fn other_instructions_are_not_emulated() {
        // mov eax, [rcx]; mov fs:[0], eax; movzx eax, byte ptr [rax]
        for bytes in [
            &[0x8b, 0x01][..],
            &[0x64, 0x89, 0x04, 0x25, 0, 0, 0, 0],
            &[0x0f, 0xb6, 0x00],
        ] {
            assert_eq!(decoded(bytes), None, "{bytes:x?}");
        }
    }
}
