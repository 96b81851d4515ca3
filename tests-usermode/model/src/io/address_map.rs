//! A map by address, for objects that are used in the order in which their memory was allocated.

use rustc_hash::FxHashMap;

/// The number of bytes of memory for each slot of a block. Two IRPs never start in the same slot's memory.
const PLACE: usize = 256;

/// The number of slots of a block.
const PLACES: usize = 64;

/// The values of `PLACE * PLACES` bytes of memory, with the offset of the address in its slot's memory.
struct Block<T> {
    offsets: [u8; PLACES],
    values: [Option<T>; PLACES],
}

impl<T> Block<T> {
    fn has(&self, (index, offset): (usize, u8)) -> bool {
        self.values[index].is_some() && self.offsets[index] == offset
    }
}

/// Values by address. The values of adjacent addresses are adjacent in memory, so that they share cache lines. In a
/// hash map with 100,000 values, almost every access is a cache miss.
pub(in crate::io) struct AddressMap<T> {
    blocks: FxHashMap<usize, Box<Block<T>>>,
    /// The values whose slot already had a value.
    others: FxHashMap<usize, T>,
}

impl<T> Default for AddressMap<T> {
    fn default() -> Self {
        Self {
            blocks: FxHashMap::default(),
            others: FxHashMap::default(),
        }
    }
}

impl<T> AddressMap<T> {
    /// Returns the key of an address' block, and its slot there.
    const fn place(address: usize) -> (usize, (usize, u8)) {
        let [offset, ..] = address.to_le_bytes();
        let place = address / PLACE;
        (place / PLACES, (place % PLACES, offset))
    }

    pub(in crate::io) fn get(&self, address: usize) -> Option<&T> {
        let (key, slot) = Self::place(address);
        let block = self.blocks.get(&key)?;
        if block.has(slot) {
            block.values[slot.0].as_ref()
        } else {
            self.others.get(&address)
        }
    }

    pub(in crate::io) fn get_mut(&mut self, address: usize) -> Option<&mut T> {
        let (key, slot) = Self::place(address);
        let block = self.blocks.get_mut(&key)?;
        if block.has(slot) {
            block.values[slot.0].as_mut()
        } else {
            self.others.get_mut(&address)
        }
    }

    pub(in crate::io) fn insert(&mut self, address: usize, value: T) {
        let (key, slot) = Self::place(address);
        let block = self.blocks.entry(key).or_insert_with(|| {
            Box::new(Block {
                offsets: [0; PLACES],
                values: [const { None }; PLACES],
            })
        });
        if block.values[slot.0].is_some() && !block.has(slot) {
            self.others.insert(address, value);
        } else {
            block.offsets[slot.0] = slot.1;
            block.values[slot.0] = Some(value);
            self.others.remove(&address);
        }
    }

    pub(in crate::io) fn remove(&mut self, address: usize) -> Option<T> {
        let (key, slot) = Self::place(address);
        let block = self.blocks.get_mut(&key)?;
        if block.has(slot) {
            block.values[slot.0].take()
        } else {
            self.others.remove(&address)
        }
    }

    pub(in crate::io) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let near = self.blocks.iter().flat_map(|(key, block)| {
            let start = key * PLACES;
            let slots = block.values.iter().zip(block.offsets).enumerate();
            slots.filter_map(move |(index, (value, offset))| {
                let address = (start + index) * PLACE + usize::from(offset);
                Some((address, value.as_ref()?))
            })
        });
        near.chain(self.others.iter().map(|(address, value)| (*address, value)))
    }

    pub(in crate::io) fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::AddressMap;

    #[test]
    fn map_agrees_with_a_sorted_one() {
        let (mut map, mut expected) = (AddressMap::default(), BTreeMap::new());
        let mut random = 1_u32;
        for step in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Several addresses have the same slot.
            let address = 48 * ((random >> 16) as usize % 1024);
            if random >> 15 & 1 == 0 {
                map.insert(address, step);
                expected.insert(address, step);
            } else {
                assert_eq!(map.remove(address), expected.remove(&address));
            }
            assert_eq!(map.get(address), expected.get(&address));
        }
        let mut all: Vec<_> = map.iter().map(|(address, step)| (address, *step)).collect();
        all.sort_unstable();
        assert_eq!(all, expected.into_iter().collect::<Vec<_>>());
    }
}
