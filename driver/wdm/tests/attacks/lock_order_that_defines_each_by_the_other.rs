//! Two classes are declared after each other.

use wdm::lock_order;

struct One;
struct Other;
lock_order!(One => Other); //~ E0391
lock_order!(Other => One);
