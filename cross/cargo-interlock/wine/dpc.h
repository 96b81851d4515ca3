/* DPCs and timers, which one thread looks after. */

#ifndef DPC_H
#define DPC_H

#include <windows.h>

/* As wdm.h declares it, which does not go with windows.h. */
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

/* With the lock held, has the thread look at the timers again. */
void dispatcher_wake(void);

/* With the lock held. */
BOOLEAN dpc_insert(KDPC *dpc, void *argument1, void *argument2);

/* With the lock held, queues the DPC of every timer that is due, and returns for how many
 * milliseconds no other will be. */
DWORD timers_expire(void);

/* Reports the DPCs that are queued and the timers that are set although their routine was in a driver
 * that is no longer loaded, and forgets them. */
void dpcs_close_unloaded_image(const char *driver);
void timers_close_unloaded_image(const char *driver);

#endif
