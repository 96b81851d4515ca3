//! The outer token is used while the IRQL is raised.

use wdm::{PassiveLevel, irql::raise_to_dispatch, thread};

fn wait(irql: &mut PassiveLevel) {
    raise_to_dispatch(irql, |_| thread::run(1, irql, &|_, _| ())).ok(); //~ E0501
    //~^ E0500
}
