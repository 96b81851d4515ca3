//! Files of small images: code at 0x1000, data at 0x2000, imports at 0x3000, relocations at 0x4000.

#![allow(dead_code, reason = "each test program uses a part of it")]

/// A further section, which is empty.
#[derive(Clone, Copy)]
pub struct Section {
    pub name: &'static str,
    pub characteristics: u32,
}

/// A file to be written.
#[derive(Clone)]
pub struct ImageFile {
    code: Vec<u8>,
    data: Vec<u8>,
    imports: Vec<String>,
    pub library: &'static str,
    relocation: Option<(u16, u32)>,
    pub machine: u16,
    pub subsystem: u16,
    pub characteristics: u16,
    pub text_characteristics: u32,
    pub alignment: u32,
    pub entry: u32,
    pub has_relocations: bool,
    pub more: Option<Section>,
}

const IMPORTS: u32 = 0x3000;
/// Where the import address table is, in the data of imports.
const SLOTS: u32 = 0x100;
const NAMES: u32 = 0x200;
const HEADERS: usize = 0x400;
const PE: usize = 0x80;
const OPTIONAL: usize = PE + 24;
const SECTIONS: usize = OPTIONAL + 240;

fn put(file: &mut [u8], place: usize, bytes: &[u8]) {
    file[place..place + bytes.len()].copy_from_slice(bytes);
}

impl ImageFile {
    pub const BASE: u64 = 0x1_4000_0000;

    pub fn new(code: &[u8]) -> Self {
        Self {
            code: code.to_vec(),
            data: Vec::new(),
            imports: Vec::new(),
            library: "ntoskrnl.exe",
            relocation: None,
            machine: 0x8664,
            subsystem: 1,
            characteristics: 0x22,
            text_characteristics: 0x6800_0020,
            alignment: 0x1000,
            entry: 0x1000,
            has_relocations: true,
            more: None,
        }
    }

    /// A call through the import address table, by an instruction at a place in the code.
    pub fn call(place: usize, import: u32) -> Vec<u8> {
        let next = 0x1000 + u32::try_from(place).expect("it is small") + 6;
        let offset = IMPORTS + SLOTS + 8 * import - next;
        let mut bytes = vec![0xff, 0x15];
        bytes.extend(offset.to_le_bytes());
        bytes
    }

    /// Changes fields of the file.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub fn imports(mut self, names: &[&str]) -> Self {
        self.imports = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    pub fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    pub fn relocation(mut self, kind: u16, address: u32) -> Self {
        self.relocation = Some((kind, address));
        self
    }

    /// The directory, the table of names, the import address table, the names.
    fn import_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        if self.imports.is_empty() {
            return bytes;
        }
        let names = 0x40;
        let mut end = NAMES;
        put(&mut bytes, 0, &(IMPORTS + names).to_le_bytes());
        put(&mut bytes, 12, &(IMPORTS + end).to_le_bytes());
        put(&mut bytes, 16, &(IMPORTS + SLOTS).to_le_bytes());
        put(&mut bytes, end as usize, self.library.as_bytes());
        end += 0x20;
        for (index, name) in self.imports.iter().enumerate() {
            let place = u64::from(IMPORTS + end).to_le_bytes();
            put(&mut bytes, names as usize + 8 * index, &place);
            put(&mut bytes, SLOTS as usize + 8 * index, &place);
            put(&mut bytes, end as usize + 2, name.as_bytes());
            end += 0x30;
        }
        bytes
    }

    fn relocation_bytes(&self) -> Vec<u8> {
        let (kind, address) = self.relocation.unwrap_or_default();
        let page = address & !0xfff;
        let [low, high] =
            (kind << 12 | u16::try_from(address & 0xfff).expect("12 bits")).to_le_bytes();
        let mut bytes = page.to_le_bytes().to_vec();
        bytes.extend(12_u32.to_le_bytes());
        bytes.extend([low, high, 0, 0]);
        bytes
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0; HEADERS];
        put(&mut file, 0, b"MZ");
        put(
            &mut file,
            0x3c,
            &u32::try_from(PE).expect("it is small").to_le_bytes(),
        );
        put(&mut file, PE, b"PE\0\0");
        put(&mut file, PE + 4, &self.machine.to_le_bytes());
        put(
            &mut file,
            PE + 6,
            &(4 + u16::from(self.more.is_some())).to_le_bytes(),
        );
        put(&mut file, PE + 20, &240_u16.to_le_bytes());
        put(&mut file, PE + 22, &self.characteristics.to_le_bytes());
        put(&mut file, OPTIONAL, &0x20b_u16.to_le_bytes());
        put(&mut file, OPTIONAL + 16, &self.entry.to_le_bytes());
        put(&mut file, OPTIONAL + 24, &Self::BASE.to_le_bytes());
        put(&mut file, OPTIONAL + 32, &self.alignment.to_le_bytes());
        put(&mut file, OPTIONAL + 36, &0x200_u32.to_le_bytes());
        put(&mut file, OPTIONAL + 56, &0x6000_u32.to_le_bytes());
        put(&mut file, OPTIONAL + 60, &0x400_u32.to_le_bytes());
        put(&mut file, OPTIONAL + 68, &self.subsystem.to_le_bytes());
        put(&mut file, OPTIONAL + 108, &16_u32.to_le_bytes());
        let relocations = self.relocation_bytes();
        let mut directory = |index: usize, address: u32, size: usize| {
            let place = OPTIONAL + 112 + 8 * index;
            put(&mut file, place, &address.to_le_bytes());
            put(
                &mut file,
                place + 4,
                &u32::try_from(size).expect("it is small").to_le_bytes(),
            );
        };
        if !self.imports.is_empty() {
            directory(1, IMPORTS, 40);
        }
        if self.has_relocations {
            directory(5, 0x4000, relocations.len());
        }
        let mut data = self.data.clone();
        data.resize(data.len().max(8), 0);
        let more = self
            .more
            .map(|section| (section.name, section.characteristics, vec![0; 8]));
        let sections = [
            (".text", self.text_characteristics, self.code.clone()),
            (".data", 0xc800_0040, data),
            (".idata", 0xc800_0040, self.import_bytes()),
            (".reloc", 0x4200_0040, relocations),
        ];
        for (index, (name, characteristics, bytes)) in sections.into_iter().chain(more).enumerate()
        {
            let size = u32::try_from(bytes.len())
                .expect("it is small")
                .to_le_bytes();
            let address = u32::try_from(0x1000 * (index + 1))
                .expect("it is small")
                .to_le_bytes();
            let start = u32::try_from(file.len())
                .expect("it is small")
                .to_le_bytes();
            let header = SECTIONS + 40 * index;
            put(&mut file, header, name.as_bytes());
            put(&mut file, header + 8, &size);
            put(&mut file, header + 12, &address);
            put(&mut file, header + 16, &size);
            put(&mut file, header + 20, &start);
            put(&mut file, header + 36, &characteristics.to_le_bytes());
            file.extend(bytes);
            file.resize(file.len().next_multiple_of(0x200), 0);
        }
        file
    }
}
