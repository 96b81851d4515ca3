//! The order numbers that completed requests come back with: each number once, and none left out.

/// The numbers that were seen, as bits.
#[derive(Debug)]
pub struct Orders {
    /// How many requests were completed before.
    base: u64,
    seen: Vec<u64>,
}

impl Orders {
    /// None seen yet; the next request to be completed is number `base + 1`.
    pub const fn after(base: u64) -> Self {
        Self {
            base,
            seen: Vec::new(),
        }
    }

    /// Records a number; fails if it cannot be or was seen before.
    pub fn record(&mut self, order: u64) -> Result<(), String> {
        let impossible = || format!("a request was completed as number {order}, which cannot be");
        let index = order.checked_sub(self.base + 1).ok_or_else(impossible)?;
        // A billion completions is more than a run has; a wild number must not cost the memory.
        let word = usize::try_from(index / 64).map_err(|_| impossible())?;
        if word > 1 << 24 {
            return Err(impossible());
        }
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let bit = 1 << (index % 64);
        if self.seen[word] & bit != 0 {
            return Err(format!("two requests were completed as number {order}"));
        }
        self.seen[word] |= bit;
        Ok(())
    }

    /// Checks that the numbers seen are the first `count`.
    pub fn check(&self, count: u64) -> Result<(), String> {
        let full = self.seen.iter().take_while(|word| **word == u64::MAX);
        let full = full.count();
        let partial = self.seen.get(full).map_or(0, |word| word.trailing_ones());
        let run = full as u64 * 64 + u64::from(partial);
        let seen: u64 = self
            .seen
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        if run == count && seen == count {
            return Ok(());
        }
        Err(format!(
            "{count} requests were completed, but nobody was number {}",
            self.base + run + 1
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::Orders;

    #[test]
    fn numbers_may_come_in_any_order() {
        let mut orders = Orders::after(100);
        for order in (101..=300).rev() {
            assert_eq!(orders.record(order), Ok(()));
        }
        assert_eq!(orders.check(200), Ok(()));
    }

    #[test]
    fn a_number_twice_or_from_before_is_found() {
        let mut orders = Orders::after(100);
        assert_eq!(orders.record(101), Ok(()));
        assert!(orders.record(101).is_err());
        assert!(orders.record(100).is_err());
        assert!(orders.record(u64::MAX).is_err());
    }

    #[test]
    fn a_number_left_out_is_found() {
        let mut orders = Orders::after(0);
        for order in [1, 3] {
            assert_eq!(orders.record(order), Ok(()));
        }
        let message = orders.check(2).expect_err("number 2 is missing");
        assert!(message.ends_with("nobody was number 2"), "{message}");
    }
}
