/* The IRQL, which Wine does not keep: here it is one of each thread. */

#ifndef IRQL_H
#define IRQL_H

/* wdm.h has these too, but as inline functions its IRQL routines would not go with ours. */
#ifndef DISPATCH_LEVEL
#define PASSIVE_LEVEL 0
#define APC_LEVEL 1
#define DISPATCH_LEVEL 2
typedef unsigned char KIRQL;
#endif

/* For `routine`, which a driver called at `caller`. */
KIRQL irql_raise(KIRQL irql, const char *routine, const void *caller);
void irql_lower(KIRQL irql, const char *routine, const void *caller);

#endif
