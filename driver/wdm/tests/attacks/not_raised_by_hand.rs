//! A type of the driver implements the trait of the tokens with which a request can be forwarded.

use wdm::irql::NotRaised;

struct Mine;
impl NotRaised for Mine {} //~ E0277
