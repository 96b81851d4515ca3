//! Stubs for the routines that an image imports and that the model lacks.

use std::{io, process::abort};

use region::Protection;

use super::memory::Memory;
use crate::image::UPCALLS;

/// The size of a stub's code, rounded up.
const SIZE: usize = 32;

/// The code of a stub for each name.
pub(super) struct Stubs {
    memory: Memory,
    names: Box<[String]>,
}

impl Stubs {
    /// Makes the stubs for these routines, of which there is at least one.
    pub(super) fn new(names: Vec<String>) -> io::Result<Self> {
        let size = SIZE * names.len();
        let mut stubs = Self {
            memory: Memory::new(size)?,
            names: names.into(),
        };
        let code = stubs.memory.bytes().chunks_exact_mut(SIZE);
        for (code, name) in code.zip(&stubs.names) {
            let name = (&raw const *name).expose_provenance() as u64;
            let handler = called as *const () as u64;
            // mov rcx, name
            code[..2].copy_from_slice(&[0x48, 0xb9]);
            code[2..10].copy_from_slice(&name.to_le_bytes());
            // mov rax, handler
            code[10..12].copy_from_slice(&[0x48, 0xb8]);
            code[12..20].copy_from_slice(&handler.to_le_bytes());
            // jmp rax
            code[20..22].copy_from_slice(&[0xff, 0xe0]);
        }
        stubs.memory.protect(&(0..size), Protection::READ_EXECUTE)?;
        Ok(stubs)
    }

    /// Returns the address of each stub.
    pub(super) fn addresses(&self) -> impl Iterator<Item = usize> + use<> {
        self.memory.range().step_by(SIZE)
    }
}

/// The image has called a stub.
extern "win64" fn called(name: *const String) -> ! {
    // SAFETY: the stub passes a name that lives as long as the stubs.
    let name = unsafe { &*name };
    match UPCALLS.get() {
        Some(upcalls) => (upcalls.lacks)(name),
        None => abort(),
    }
}
