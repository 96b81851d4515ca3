//! A map by address, for objects that are used in the order in which their memory was allocated.

use rustc_hash::FxHashMap;

/// The number of bytes of memory for each slot of a block. Two IRPs never start in the same slot's memory.
const PLACE: usize = 256;

/// The number of slots of a block.
const PLACES: usize = 64;

type Block<T> = Box<[Option<(usize, T)>; PLACES]>;

/// Values by address. The values of adjacent addresses are adjacent in memory, so that they share cache lines. In a
/// hash map with 100,000 values, almost every access is a cache miss.
pub(in crate::io) struct AddressMap<T> {
    blocks: FxHashMap<usize, Block<T>>,
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
    const fn place(address: usize) -> (usize, usize) {
        let place = address / PLACE;
        (place / PLACES, place % PLACES)
    }

    pub(in crate::io) fn get(&self, address: usize) -> Option<&T> {
        let (key, index) = Self::place(address);
        match &self.blocks.get(&key)?[index] {
            Some((other, value)) if *other == address => Some(value),
            _ => self.others.get(&address),
        }
    }

    pub(in crate::io) fn insert(&mut self, address: usize, value: T) {
        let (key, index) = Self::place(address);
        let block = self.blocks.entry(key);
        let block = block.or_insert_with(|| Box::new([const { None }; PLACES]));
        let place = &mut block[index];
        if place.as_ref().is_some_and(|(other, _)| *other != address) {
            self.others.insert(address, value);
        } else {
            *place = Some((address, value));
            self.others.remove(&address);
        }
    }

    pub(in crate::io) fn remove(&mut self, address: usize) -> Option<T> {
        let (key, index) = Self::place(address);
        let place = &mut self.blocks.get_mut(&key)?[index];
        match place.take_if(|(other, _)| *other == address) {
            Some((_, value)) => Some(value),
            None => self.others.remove(&address),
        }
    }

    pub(in crate::io) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let places = self.blocks.values().flat_map(|block| block.iter());
        let near = places.flatten().map(|(address, value)| (*address, value));
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
