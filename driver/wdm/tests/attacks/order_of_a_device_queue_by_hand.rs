//! A device queue has an order that the driver defines.

struct Mine;
impl wdm::Keyed for Mine {} //~ E0277
