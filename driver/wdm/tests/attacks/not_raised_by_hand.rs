//! A type of the driver says that it is a token at which a request can be forwarded.

use wdm::irql::NotRaised;

struct Mine;
impl NotRaised for Mine {} //~ E0277
