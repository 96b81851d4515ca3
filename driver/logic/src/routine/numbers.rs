//! Interlocked numbers, and the number of the processor.

use interlock_abi::{Call, Returned, Routine, ThreadsRan};
use pinned_init::stack_pin_init;
use wdm::{
    Error, ExInterlockedLargeInteger, ExInterlockedUlong, InterlockedLong, PassiveLevel,
    irql::raise_to_dispatch, processor,
};

use super::{leave, narrow, nodes, returned, threads::Run};

/// Runs a routine on a number once, for a call that has been checked.
pub fn run(routine: Routine, call: &Call, irql: &mut PassiveLevel) -> Result<Returned, Error> {
    match (routine, nodes(call)) {
        (Routine::ExInterlockedAddUlong, &[number]) => add_ulong(number, call.argument),
        (Routine::ExInterlockedAddLargeInteger, &[number]) => {
            add_large_integer(number, call.argument)
        }
        (Routine::InterlockedIncrement, &[number]) => long(number, InterlockedLong::increment),
        (Routine::InterlockedDecrement, &[number]) => long(number, InterlockedLong::decrement),
        (Routine::InterlockedExchange, &[number]) => {
            let argument = narrow(call.argument)?.cast_signed();
            long(number, |number| number.exchange(argument))
        }
        (Routine::KeGetCurrentProcessorNumber, &[]) => current_processor(irql),
        _ => Err(Error::INVALID_DEVICE_REQUEST),
    }
}

fn add_ulong(number: u64, argument: u64) -> Result<Returned, Error> {
    stack_pin_init!(let number = ExInterlockedUlong::new(narrow(number)?));
    let mut returned = returned(number.add(narrow(argument)?).into());
    leave(&mut returned, number.add(0).into())?;
    Ok(returned)
}

fn add_large_integer(number: u64, argument: u64) -> Result<Returned, Error> {
    stack_pin_init!(let number = ExInterlockedLargeInteger::new(number.cast_signed()));
    let mut returned = returned(number.add(argument.cast_signed()).cast_unsigned());
    leave(&mut returned, number.add(0).cast_unsigned())?;
    Ok(returned)
}

fn long(number: u64, routine: impl FnOnce(&InterlockedLong) -> i32) -> Result<Returned, Error> {
    let number = InterlockedLong::new(narrow(number)?.cast_signed());
    let mut returned = returned(routine(&number).cast_unsigned().into());
    leave(&mut returned, number.read().cast_unsigned().into())?;
    Ok(returned)
}

fn current_processor(irql: &mut PassiveLevel) -> Result<Returned, Error> {
    let (first, second) = twice(irql);
    let mut returned = Returned {
        found: (first == second).into(),
        ..returned(first.into())
    };
    leave(&mut returned, processor::maximum_count().into())?;
    Ok(returned)
}

/// Asks for the processor's number twice, while the thread cannot move.
fn twice(irql: &mut PassiveLevel) -> (u32, u32) {
    raise_to_dispatch(irql, |irql| {
        (processor::current(irql), processor::current(irql))
    })
}

/// Runs a routine on one number, in every round of every thread.
pub fn in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<ThreadsRan, Error> {
    match run.routine {
        Routine::ExInterlockedAddUlong => add_ulong_in_threads(run, irql),
        Routine::ExInterlockedAddLargeInteger => add_large_integer_in_threads(run, irql),
        Routine::InterlockedIncrement => {
            let number = InterlockedLong::new(0);
            rise(run, irql, || number.increment().into())?;
            run.came(number.read().unsigned_abs().into());
            Ok(run.ran(run.total()))
        }
        Routine::InterlockedDecrement => {
            let number = InterlockedLong::new(0);
            // What falls below zero rises with its sign turned.
            rise(run, irql, || i64::from(number.decrement()).wrapping_neg())?;
            run.came(number.read().unsigned_abs().into());
            Ok(run.ran(run.total()))
        }
        Routine::InterlockedExchange => exchange_in_threads(run, irql),
        _ => processors_in_threads(run, irql),
    }
}

fn add_ulong_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<ThreadsRan, Error> {
    stack_pin_init!(let sum = ExInterlockedUlong::new(0));
    let sum = sum.as_ref();
    rise(run, irql, || sum.add(1).into())?;
    run.came(sum.add(0).into());
    Ok(run.ran(run.total()))
}

fn add_large_integer_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<ThreadsRan, Error> {
    stack_pin_init!(let sum = ExInterlockedLargeInteger::new(0));
    let sum = sum.as_ref();
    rise(run, irql, || sum.add(1))?;
    run.came(sum.add(0).cast_unsigned());
    Ok(run.ran(run.total()))
}

/// Asks for the next number in every round, which must be larger than the thread's last one.
fn rise(run: &Run, irql: &mut PassiveLevel, next: impl Fn() -> i64 + Sync) -> Result<(), Error> {
    run.each_thread(irql, &|_, _: &mut PassiveLevel| {
        let mut last = None;
        for _ in 0..run.rounds {
            let number = Some(next());
            run.must(last < number);
            last = number;
        }
    })
}

/// Puts numbers in, no two the same, each for the one that was there: what comes out and what is left at the
/// end is what was put in.
fn exchange_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<ThreadsRan, Error> {
    let place = InterlockedLong::new(0);
    run.each_thread(irql, &|thread, _: &mut PassiveLevel| {
        let first = thread.wrapping_mul(run.rounds);
        let mut sum = 0;
        for round in 1..=run.rounds {
            let number = first.wrapping_add(round).cast_signed();
            sum += u64::from(place.exchange(number).cast_unsigned());
        }
        run.came(sum);
    })?;
    run.came(place.exchange(0).cast_unsigned().into());
    Ok(run.ran(run.total() * (run.total() + 1) / 2))
}

fn processors_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<ThreadsRan, Error> {
    let processors = processor::maximum_count();
    run.each_round(irql, &|_, irql: &mut PassiveLevel| {
        let (first, second) = twice(irql);
        run.must(first < processors && first == second);
        run.came(1);
    })?;
    Ok(run.ran(run.total()))
}
