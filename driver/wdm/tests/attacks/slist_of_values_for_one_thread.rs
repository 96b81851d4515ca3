//! A value moves to another thread through a list.

use std::rc::Rc;

use wdm::SList;

static LIST: SList<Rc<u32>> = SList::new(); //~ E0277
