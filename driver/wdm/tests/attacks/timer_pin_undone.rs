//! A pinned timer is moved.

use core::pin::Pin;
use wdm::{Timer, TimerRoutine};

fn moved<R: TimerRoutine>(timer: Pin<Box<Timer<R>>>) -> Timer<R> {
    *Pin::into_inner(timer) //~ E0277
    //~^ E0277
}
