//! An image: its exports, its code, and the frames of its functions.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};
use object::{
    LittleEndian as LE, Object, ObjectSection,
    pe::IMAGE_DIRECTORY_ENTRY_EXCEPTION,
    read::pe::{ExportTarget, PeFile64},
};

/// An image for x64.
pub struct Image<'data> {
    file: PeFile64<'data>,
    base: u64,
    /// The addresses of the functions that the image exports, by name.
    exports: BTreeMap<String, u64>,
    /// The starts of all functions that have unwind information or are exported.
    starts: BTreeSet<u64>,
}

/// The instructions of a function.
#[derive(Clone, Copy, Default)]
pub struct Count {
    /// All instructions except those of checks.
    pub instructions: usize,
    /// Compares, jumps and calls that stop the system if something is corrupt.
    pub checks: usize,
}

impl<'data> Image<'data> {
    pub fn parse(data: &'data [u8]) -> Result<Self, String> {
        let file = PeFile64::parse(data).map_err(|error| error.to_string())?;
        let base = file.relative_address_base();
        let mut exports = BTreeMap::new();
        if let Some(table) = file.export_table().map_err(|error| error.to_string())? {
            for export in table.exports().map_err(|error| error.to_string())? {
                if let (Some(name), ExportTarget::Address(address)) = (export.name, export.target) {
                    let name = String::from_utf8_lossy(name).into_owned();
                    exports.insert(name, base + u64::from(address));
                }
            }
        }
        let mut image = Self {
            file,
            base,
            starts: exports.values().copied().collect(),
            exports,
        };
        let functions = image.functions();
        image
            .starts
            .extend(functions.iter().map(|[start, ..]| base + u64::from(*start)));
        Ok(image)
    }

    /// Returns the entries of the exception directory: where a function starts and ends, and where its unwind information is.
    fn functions(&self) -> Vec<[u32; 3]> {
        let directory = self.file.data_directory(IMAGE_DIRECTORY_ENTRY_EXCEPTION);
        let bytes = directory.map_or(&[][..], |directory| {
            self.at(
                self.base + u64::from(directory.virtual_address.get(LE)),
                directory.size.get(LE) as usize,
            )
        });
        let (entries, _) = bytes.as_chunks::<12>();
        let word = |entry: &[u8; 12], at: usize| {
            u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
        };
        let entries = entries.iter();
        entries
            .map(|entry| [word(entry, 0), word(entry, 4), word(entry, 8)])
            .collect()
    }

    /// Returns up to `length` bytes at an address.
    fn at(&self, address: u64, length: usize) -> &'data [u8] {
        let found = self.file.sections().find_map(|section| {
            let offset = usize::try_from(address.checked_sub(section.address())?).ok()?;
            section.data().ok()?.get(offset..)
        });
        let bytes = found.unwrap_or_default();
        bytes.get(..length).unwrap_or(bytes)
    }

    /// Returns the size of the section `.text`.
    pub fn text_size(&self) -> u64 {
        self.file
            .section_by_name(".text")
            .map_or(0, |text| text.size())
    }

    /// Returns the addresses and the sizes of the instructions in `.text`.
    pub fn instructions(&self) -> Vec<(u64, u64)> {
        let Some(text) = self.file.section_by_name(".text") else {
            return Vec::new();
        };
        let end = text.address() + text.size();
        let instructions = self.decode(text.address());
        instructions
            .take_while(|instruction| instruction.ip() < end)
            .map(|instruction| (instruction.ip(), instruction.len() as u64))
            .collect()
    }

    /// Returns the largest stack frame: what the prologue of a function pushes and allocates, with the return address.
    pub fn largest_frame(&self) -> u32 {
        let frames = self.functions().into_iter();
        frames
            .map(|[.., unwind]| self.frame(unwind))
            .max()
            .unwrap_or(0)
    }

    /// Returns the largest sum of the frames of functions that call each other. Calls through a pointer and calls of the
    /// kernel's routines are not followed. A function that calls itself counts once.
    pub fn deepest_chain(&self) -> u32 {
        let functions = self.functions();
        let frames: BTreeMap<u64, (u64, u32)> = functions
            .into_iter()
            .map(|[start, end, unwind]| {
                let (start, end) = (self.base + u64::from(start), self.base + u64::from(end));
                (start, (end, self.frame(unwind)))
            })
            .collect();
        let mut depths = BTreeMap::new();
        let starts = frames.keys();
        starts
            .map(|start| self.depth(*start, &frames, &mut depths))
            .max()
            .unwrap_or(0)
    }

    /// Returns the frame of a function with the deepest chain of those that it calls.
    fn depth(
        &self,
        start: u64,
        frames: &BTreeMap<u64, (u64, u32)>,
        depths: &mut BTreeMap<u64, u32>,
    ) -> u32 {
        if let Some(depth) = depths.get(&start) {
            return *depth;
        }
        // The frame of a function without unwind information is its return address, and it calls no function.
        let Some((end, frame)) = frames.get(&start).copied() else {
            return 8;
        };
        // One of the callees may call this function again.
        depths.insert(start, 0);
        let mut deepest = frame;
        for instruction in self.decode(start) {
            if instruction.ip() >= end {
                break;
            }
            let target = match instruction.flow_control() {
                FlowControl::Call | FlowControl::UnconditionalBranch => {
                    instruction.near_branch_target()
                }
                _ => continue,
            };
            if (start..end).contains(&target) || !self.starts.contains(&target) {
                continue;
            }
            let callee = self.depth(target, frames, depths);
            // A function that ends with a jump has released its frame.
            let is_call = instruction.flow_control() == FlowControl::Call;
            deepest = deepest.max(if is_call { frame + callee } else { callee });
        }
        depths.insert(start, deepest);
        deepest
    }

    fn frame(&self, unwind: u32) -> u32 {
        const UWOP_PUSH_NONVOL: u8 = 0;
        const UWOP_ALLOC_LARGE: u8 = 1;
        const UWOP_ALLOC_SMALL: u8 = 2;
        const UWOP_SAVE_NONVOL: u8 = 4;
        const UWOP_SAVE_XMM128: u8 = 8;
        let header = self.at(self.base + u64::from(unwind), 4 + 2 * 255);
        let count = header.get(2).copied().map_or(0, usize::from);
        let codes: Vec<_> = header
            .get(4..)
            .unwrap_or_default()
            .as_chunks::<2>()
            .0
            .to_vec();
        let word = |at: usize| {
            codes
                .get(at)
                .map_or(0, |code| u32::from(u16::from_le_bytes(*code)))
        };
        let (mut frame, mut at) = (8, 0);
        while at < count.min(codes.len()) {
            let (operation, info) = (codes[at][1] & 15, codes[at][1] >> 4);
            at += match operation {
                UWOP_PUSH_NONVOL => {
                    frame += 8;
                    1
                }
                UWOP_ALLOC_SMALL => {
                    frame += u32::from(info) * 8 + 8;
                    1
                }
                UWOP_ALLOC_LARGE if info == 0 => {
                    frame += word(at + 1) * 8;
                    2
                }
                UWOP_ALLOC_LARGE => {
                    frame += word(at + 1) | word(at + 2) << 16;
                    3
                }
                UWOP_SAVE_NONVOL | UWOP_SAVE_XMM128 => 2,
                _ => 1,
            };
        }
        frame
    }

    /// Counts the instructions that can be reached in an exported function. Calls of other functions of the image are not
    /// followed, nor are jumps to them.
    pub fn count(&self, name: &str) -> Option<Count> {
        let start = *self.exports.get(name)?;
        let end = self
            .starts
            .range(start + 1..)
            .next()
            .copied()
            .unwrap_or(u64::MAX);
        let mut blocks = vec![start];
        let mut seen = BTreeMap::new();
        while let Some(block) = blocks.pop() {
            for instruction in self.decode(block) {
                let address = instruction.ip();
                if !(start..end).contains(&address) || seen.contains_key(&address) {
                    break;
                }
                seen.insert(address, instruction);
                match instruction.flow_control() {
                    FlowControl::ConditionalBranch => blocks.push(instruction.near_branch_target()),
                    FlowControl::UnconditionalBranch => {
                        blocks.push(instruction.near_branch_target());
                        break;
                    }
                    FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {}
                    _ => break,
                }
            }
        }
        let mut checks = BTreeSet::new();
        for (address, instruction) in &seen {
            let is_jump = instruction.flow_control() == FlowControl::ConditionalBranch;
            if let Some(stop) = is_jump
                .then(|| self.stop(instruction.near_branch_target()))
                .flatten()
            {
                checks.insert(*address);
                // The compare or test before the jump.
                checks.extend(
                    seen.range(..address)
                        .next_back()
                        .map(|(address, _)| *address),
                );
                checks.extend(
                    stop.into_iter()
                        .filter(|address| seen.contains_key(address)),
                );
            }
        }
        let useful = |(address, instruction): &(&u64, &Instruction)| {
            !checks.contains(*address) && instruction.mnemonic() != Mnemonic::Nop
        };
        Some(Count {
            instructions: seen.iter().filter(useful).count(),
            checks: checks.len(),
        })
    }

    /// Returns the instructions at an address, if they end with one that stops the system: `ud2` or `int`.
    fn stop(&self, address: u64) -> Option<Vec<u64>> {
        let mut addresses = Vec::new();
        for instruction in self.decode(address) {
            addresses.push(instruction.ip());
            match instruction.flow_control() {
                FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {}
                FlowControl::Exception | FlowControl::Interrupt => return Some(addresses),
                _ => return None,
            }
        }
        None
    }

    fn decode(&self, address: u64) -> impl Iterator<Item = Instruction> + use<'data> {
        const MAX: usize = 1 << 16;
        Decoder::with_ip(64, self.at(address, MAX), address, DecoderOptions::NONE).into_iter()
    }
}
