/*
 * The functions of the user-mode process that the routines need. Only plain C types are used, since
 * windows.h and the DDK's headers cannot be included together, and this header is used with either.
 */

#ifndef HOST_H
#define HOST_H

/* The return address of a routine, which identifies the place of a driver's mistake. */
#define CALLER __builtin_return_address(0)

/* The state of a thread. It fits into the thread's TLS slot, so it needs no allocation. */
union thread {
    void *slot;
    struct {
        short irql;
        short locks; /* spin locks that it has acquired and not released */
        int processor; /* 1 plus the number that was returned at DISPATCH_LEVEL; 0 if none */
    };
};

/* Returns FALSE if there is no slot. */
int host_start(void);

union thread thread_get(void);
void thread_set(union thread thread);

/* Returns a number that is not 0, whose lowest 4 bits are zero. */
unsigned long long thread_self(void);

/* Called between two tests of a lock that is held. In user mode the holder can be preempted; on
 * Windows, at DISPATCH_LEVEL, it cannot. So a thread that has tested the lock often yields its
 * processor. */
void thread_pause(unsigned tests);

/* Appends one line to the log. */
void report(const char *format, ...) __attribute__((format(gnu_printf, 1, 2)));

/* Reports a rule that a driver broke, and the place. For each rule at each place, only the first
 * few reports are written. */
void violation(const void *where, const char *rule, ...) __attribute__((format(gnu_printf, 2, 3)));

/* Returns whether an image is loaded at that address. */
int image_is_loaded(const void *address);

/* Returns the part of a path after its last backslash. */
const char *file_name(const char *path);

#endif
