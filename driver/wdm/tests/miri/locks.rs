//! Every kind of spin lock, and interlocked variables.

use pinned_init::stack_pin_init;
use wdm::{
    CancelSpinLock, ExInterlockedLargeInteger, ExInterlockedUlong, InterlockedLong, QueuedSpinLock,
    SpinLock, irql::raise_to_dispatch, lock_order, lock_order::Unlocked, thread,
};

use crate::{
    THREADS, TIMES,
    kernel::{Kernel, io::at_passive},
};

struct Outer;
struct Inner;
lock_order!(Unlocked => Outer);
lock_order!(Unlocked, Outer => Inner);
lock_order!(Inner => existing CancelSpinLock);

/// The final count of the threads of a test.
const TOTAL: u32 = THREADS * TIMES;

#[test]
fn one_thread_at_a_time_accesses_the_value_of_a_spin_lock() {
    let _kernel = Kernel::start();
    at_passive(|irql| {
        stack_pin_init!(let lock = SpinLock::<_, Outer>::new(Box::new(0)));
        let count = |_, irql: &mut wdm::PassiveLevel| {
            for time in 0..TIMES {
                match time % 4 {
                    0 => lock.with(irql, |count, _| **count += 1),
                    1 => **lock.lock(irql) += 1,
                    2 => raise_to_dispatch(irql, |irql| **lock.lock_at_dpc(irql) += 1),
                    _ => raise_to_dispatch(irql, |irql| {
                        loop {
                            if let Some(mut count) = lock.try_lock_at_dpc(irql) {
                                **count += 1;
                                break;
                            }
                            std::thread::yield_now();
                        }
                    }),
                }
            }
        };
        thread::run(THREADS, irql, &count).expect("threads");
        assert_eq!(**lock.lock(irql), TOTAL);
    });
}

#[test]
fn locks_are_taken_under_others_and_in_pairs() {
    let _kernel = Kernel::start();
    at_passive(|irql| {
        stack_pin_init!(let outer = SpinLock::<_, Outer>::new(0));
        stack_pin_init!(let one = SpinLock::<_, Inner>::new(TOTAL));
        stack_pin_init!(let other = SpinLock::<_, Inner>::new(TOTAL));
        stack_pin_init!(let queued = QueuedSpinLock::<_, Inner>::new(0));
        let (first, second): (&SpinLock<_, _>, &SpinLock<_, _>) = (&one, &other);
        let count = |number: u32, irql: &mut wdm::PassiveLevel| {
            for _ in 0..TIMES {
                let (from, to) = if number.is_multiple_of(2) {
                    (first, second)
                } else {
                    (second, first)
                };
                outer.with(irql, |count, held| {
                    *count += 1;
                    queued.with_at_dpc(held, |count, _| *count += 1);
                });
                let moved = SpinLock::with_both(from, to, irql, |from, to, held| {
                    *from -= 1;
                    *to += 1;
                    CancelSpinLock::lock(held).old_irql()
                });
                assert_eq!(moved, Some(nt::DISPATCH_LEVEL));
                assert_eq!(SpinLock::with_both(from, from, irql, |_, _, _| ()), None);
            }
        };
        thread::run(THREADS, irql, &count).expect("threads");
        assert_eq!(queued.with(irql, |count, _| *count), TOTAL);
        assert_eq!(*outer.lock(irql), TOTAL);
        let one = *one.lock(irql);
        assert_eq!(one + *other.lock(irql), 2 * TOTAL);
    });
}

#[test]
fn interlocked_numbers_lose_nothing() {
    let _kernel = Kernel::start();
    at_passive(|irql| {
        stack_pin_init!(let ulong = ExInterlockedUlong::new(0));
        stack_pin_init!(let large = ExInterlockedLargeInteger::new(0));
        let long = InterlockedLong::new(0);
        let count = |_, _: &mut wdm::PassiveLevel| {
            for _ in 0..TIMES {
                ulong.add(1);
                large.add(1);
                long.increment();
            }
        };
        thread::run(THREADS, irql, &count).expect("threads");
        assert_eq!((ulong.add(0), large.add(0)), (TOTAL, TOTAL.into()));
        assert_eq!(u32::try_from(long.read()), Ok(TOTAL));
    });
}
