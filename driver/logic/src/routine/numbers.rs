//! Interlocked variables, and the processor number.

use interlock_abi::{Call, CallResult, Routine};
use pinned_init::stack_pin_init;
use wdm::{
    Error, ExInterlockedLargeInteger, ExInterlockedUlong, InterlockedLong, PassiveLevel,
    irql::raise_to_dispatch, processor,
};

use super::{narrow, nodes, push_remaining, threads::Run};

/// Runs a routine of a variable once, for a checked call.
pub fn run(
    routine: Routine,
    call: &Call,
    result: &mut CallResult,
    irql: &mut PassiveLevel,
) -> Result<(), Error> {
    match (routine, nodes(call)) {
        (Routine::ExInterlockedAddUlong, &[number]) => add_ulong(number, call.argument, result),
        (Routine::ExInterlockedAddLargeInteger, &[number]) => {
            add_large_integer(number, call.argument, result)
        }
        (Routine::InterlockedIncrement, &[number]) => {
            long(number, result, InterlockedLong::increment)
        }
        (Routine::InterlockedDecrement, &[number]) => {
            long(number, result, InterlockedLong::decrement)
        }
        (Routine::InterlockedExchange, &[number]) => {
            let argument = narrow(call.argument)?.cast_signed();
            long(number, result, |number| number.exchange(argument))
        }
        (Routine::KeGetCurrentProcessorNumber, &[]) => current_processor(result, irql),
        _ => Err(Error::INVALID_DEVICE_REQUEST),
    }
}

fn add_ulong(number: u64, argument: u64, result: &mut CallResult) -> Result<(), Error> {
    stack_pin_init!(let number = ExInterlockedUlong::new(narrow(number)?));
    result.value = number.add(narrow(argument)?).into();
    push_remaining(result, number.add(0).into())
}

fn add_large_integer(number: u64, argument: u64, result: &mut CallResult) -> Result<(), Error> {
    stack_pin_init!(let number = ExInterlockedLargeInteger::new(number.cast_signed()));
    result.value = number.add(argument.cast_signed()).cast_unsigned();
    push_remaining(result, number.add(0).cast_unsigned())
}

fn long(
    number: u64,
    result: &mut CallResult,
    routine: impl FnOnce(&InterlockedLong) -> i32,
) -> Result<(), Error> {
    let number = InterlockedLong::new(narrow(number)?.cast_signed());
    result.value = routine(&number).cast_unsigned().into();
    push_remaining(result, number.read().cast_unsigned().into())
}

fn current_processor(result: &mut CallResult, irql: &mut PassiveLevel) -> Result<(), Error> {
    let (first, second) = current_processor_twice(irql);
    result.value = first.into();
    result.found = (first == second).into();
    push_remaining(result, processor::maximum_count().into())
}

/// Reads the processor number twice at `DISPATCH_LEVEL`, where the thread cannot move to another processor.
fn current_processor_twice(irql: &mut PassiveLevel) -> (u32, u32) {
    raise_to_dispatch(irql, |irql| {
        (processor::current(irql), processor::current(irql))
    })
}

/// Runs a routine on one shared variable, in every round of every thread. Returns the expected result.
pub fn in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<u64, Error> {
    match run.routine {
        Routine::ExInterlockedAddUlong => add_ulong_in_threads(run, irql),
        Routine::ExInterlockedAddLargeInteger => add_large_integer_in_threads(run, irql),
        Routine::InterlockedIncrement => {
            let number = InterlockedLong::new(0);
            check_increasing(run, irql, &|| number.increment().into())?;
            run.add_actual(number.read().unsigned_abs().into());
            Ok(run.total())
        }
        Routine::InterlockedDecrement => {
            let number = InterlockedLong::new(0);
            // The negated values increase.
            check_increasing(run, irql, &|| i64::from(number.decrement()).wrapping_neg())?;
            run.add_actual(number.read().unsigned_abs().into());
            Ok(run.total())
        }
        Routine::InterlockedExchange => exchange_in_threads(run, irql),
        _ => processors_in_threads(run, irql),
    }
}

fn add_ulong_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<u64, Error> {
    stack_pin_init!(let sum = ExInterlockedUlong::new(0));
    let sum = sum.as_ref();
    check_increasing(run, irql, &|| sum.add(1).into())?;
    run.add_actual(sum.add(0).into());
    Ok(run.total())
}

fn add_large_integer_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<u64, Error> {
    stack_pin_init!(let sum = ExInterlockedLargeInteger::new(0));
    let sum = sum.as_ref();
    check_increasing(run, irql, &|| sum.add(1))?;
    run.add_actual(sum.add(0).cast_unsigned());
    Ok(run.total())
}

/// Takes the next number in every round, and checks that it is larger than the thread's last one.
fn check_increasing(
    run: &Run,
    irql: &mut PassiveLevel,
    next: &(dyn Fn() -> i64 + Sync),
) -> Result<(), Error> {
    run.each_thread(irql, &|_, _: &mut PassiveLevel| {
        let mut last = None;
        for _ in 0..run.rounds {
            let number = Some(next());
            run.check(last < number);
            last = number;
        }
    })
}

/// Exchanges distinct numbers into one variable. The sum of all old values and the last value must be the sum of
/// all numbers.
fn exchange_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<u64, Error> {
    let place = InterlockedLong::new(0);
    run.each_thread(irql, &|thread, _: &mut PassiveLevel| {
        let first = thread.wrapping_mul(run.rounds);
        let mut sum = 0;
        for round in 1..=run.rounds {
            let number = first.wrapping_add(round).cast_signed();
            sum += u64::from(place.exchange(number).cast_unsigned());
        }
        run.add_actual(sum);
    })?;
    run.add_actual(place.exchange(0).cast_unsigned().into());
    Ok(run.total() * (run.total() + 1) / 2)
}

fn processors_in_threads(run: &Run, irql: &mut PassiveLevel) -> Result<u64, Error> {
    let processors = processor::maximum_count();
    run.each_round(irql, &|_, irql: &mut PassiveLevel| {
        let (first, second) = current_processor_twice(irql);
        run.check(first < processors && first == second);
        run.add_actual(1);
    })?;
    Ok(run.total())
}
