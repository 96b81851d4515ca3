/* DPCs and timers, which one thread handles. */

#ifndef DPC_H
#define DPC_H

#include <windows.h>

/* As in wdm.h, which cannot be included together with windows.h. */
typedef struct kdpc {
    UCHAR type, importance;
    USHORT number;
    LIST_ENTRY entry;
    void(WINAPI *routine)(struct kdpc *dpc, void *context, void *argument1, void *argument2);
    void *context, *argument1, *argument2, *data;
} KDPC;
_Static_assert(sizeof(KDPC) == 64, "wdm.h");

/* Guards the queue of DPCs and the timers. */
extern SRWLOCK dispatcher_lock;

/* With the lock held, makes the thread check the timers again. */
void dispatcher_wake(void);

/* With the lock held. */
BOOLEAN dpc_insert(KDPC *dpc, void *argument1, void *argument2);

/* With the lock held, queues the DPC of every timer that is due. Returns the number of milliseconds
 * until the next timer is due. */
DWORD timers_expire(void);

/* Reports and forgets the queued DPCs and set timers whose routine was in a driver that is no
 * longer loaded. */
void dpcs_close_unloaded_image(const char *driver);
void timers_close_unloaded_image(const char *driver);

#endif
