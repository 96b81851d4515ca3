//! Messages to the debugger, and the interrupt time. Microsoft's pages:
//! [1](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-dbgprint),
//! [2](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-kequeryinterrupttime)

#[macro_use]
mod call;
mod body;

use std::hint::black_box;

use body::{run, stops};
use ntmodel::{Clock, Config, Kernel, Rule};

#[test]
fn arguments_are_formatted() {
    let kernel = Kernel::new(Config {
        print: false,
        ..Config::default()
    });
    run(&kernel, || {
        let (one, text) = (1_u32, c"text".as_ptr());
        nt!(DbgPrint(c"%u-%s\n".as_ptr(), one, text));
        let many = c"%d %d %d %d %d %d %x".as_ptr();
        nt!(DbgPrintEx(77, 0, many, 1, 2, 3, 4, 5, 6, 0xab_u64));
    });
    assert_eq!(kernel.messages(), ["1-text", "1 2 3 4 5 6 ab"]);
}

#[test]
fn utf_16_is_printed_at_passive_level() {
    let body = || {
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        nt!(DbgPrint(c"at any IRQL".as_ptr()));
        nt!(DbgPrint(c"%ws".as_ptr(), [b'a'.into(), 0_u16].as_ptr()));
        black_box(());
    };
    stops(body, Rule::Irql, 0, 0, "DbgPrint");
}

#[test]
fn interrupt_time_advances_with_the_time() {
    let kernel = Kernel::new(Config {
        clock: Clock::Virtual,
        ..Config::default()
    });
    run(&kernel, || {
        let before = nt::KeQueryInterruptTime();
        let mut interval = -10_000_i64;
        nt!(KeDelayExecutionThread(0, 0, &raw mut interval));
        let passed = nt::KeQueryInterruptTime() - before;
        assert!((10_000..10_100).contains(&passed), "{passed}");
    });
}
