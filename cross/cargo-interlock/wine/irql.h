/* The IRQL, which Wine does not implement: here each thread has one. */

#ifndef IRQL_H
#define IRQL_H

/* wdm.h also declares these, but as inline functions, which conflict with the ones here. */
#ifndef DISPATCH_LEVEL
#define PASSIVE_LEVEL 0
#define APC_LEVEL 1
#define DISPATCH_LEVEL 2
typedef unsigned char KIRQL;
#endif

/* For `routine`, which a driver called at `caller`. */
KIRQL irql_raise(KIRQL irql, const char *routine, const void *caller);
void irql_lower(KIRQL irql, const char *routine, const void *caller);

/* Reports a violation if the IRQL is above `highest`. */
void irql_check(KIRQL highest, const char *routine, const void *caller);

#endif
