//! The order numbers of completed requests: each number once, and none missing.

use crate::error::{Error, Result, ensure};

/// The set of order numbers, as bits.
#[derive(Debug)]
pub struct Orders {
    /// How many requests were completed before.
    base: u64,
    seen: Vec<u64>,
}

impl Orders {
    /// Returns an empty set; the next request to be completed is number `base + 1`.
    pub const fn after(base: u64) -> Self {
        Self {
            base,
            seen: Vec::new(),
        }
    }

    /// Adds a number; fails if it is impossible or in the set already.
    pub fn record(&mut self, order: u64) -> Result {
        // More than a run completes; an impossible number must not allocate memory for all numbers below it.
        const MAX: u64 = 1 << 30;
        let index = order.checked_sub(self.base + 1);
        let index = index.filter(|index| *index < MAX).ok_or_else(|| {
            Error::failed(format!(
                "{order} is impossible as the order number of a request"
            ))
        })?;
        let word = usize::try_from(index / 64).unwrap_or(usize::MAX);
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let bit = 1 << (index % 64);
        ensure(self.seen[word] & bit == 0, || {
            format!("two requests were completed as number {order}")
        })?;
        self.seen[word] |= bit;
        Ok(())
    }

    /// Checks that the set contains exactly the first `count` numbers.
    pub fn check(&self, count: u64) -> Result {
        let full = self.seen.iter().take_while(|word| **word == u64::MAX);
        let full = full.count();
        let partial = self.seen.get(full).map_or(0, |word| word.trailing_ones());
        let run = full as u64 * 64 + u64::from(partial);
        let ones = self.seen.iter().map(|word| u64::from(word.count_ones()));
        ensure(run == count && ones.sum::<u64>() == count, || {
            let missing = self.base + run + 1;
            format!("{count} requests were completed, but none as number {missing}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Orders;

    #[test]
    fn numbers_may_arrive_in_any_order() {
        let mut orders = Orders::after(100);
        for order in (101..=300).rev() {
            assert_eq!(orders.record(order), Ok(()));
        }
        assert_eq!(orders.check(200), Ok(()));
    }

    #[test]
    fn a_repeated_or_impossible_number_fails() {
        let mut orders = Orders::after(100);
        assert_eq!(orders.record(101), Ok(()));
        assert!(orders.record(101).is_err());
        assert!(orders.record(100).is_err());
        assert!(orders.record(u64::MAX).is_err());
    }

    #[test]
    fn a_missing_number_fails() {
        let mut orders = Orders::after(0);
        for order in [1, 3] {
            assert_eq!(orders.record(order), Ok(()));
        }
        let error = orders.check(2).expect_err("number 2 is missing");
        assert!(error.message().ends_with("none as number 2"), "{error}");
    }
}
