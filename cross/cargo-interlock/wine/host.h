/*
 * What the routines need of the user-mode process that they run in. Plain C types alone, since
 * windows.h and the DDK's headers do not go together in one file and this goes with either.
 */

#ifndef HOST_H
#define HOST_H

/* The address that a routine returns to, by which a driver's mistake is placed. */
#define CALLER __builtin_return_address(0)

/* What is known of a thread: it fits into its slot, so that nothing is allocated or freed for it. */
union thread {
    void *slot;
    struct {
        short irql;
        short locks; /* spin locks that it has acquired and not released */
        int processor; /* 1 more than the number that it was told at DISPATCH_LEVEL; 0 if none */
    };
};

/* FALSE if there is no slot. */
int host_start(void);

union thread thread_get(void);
void thread_set(union thread thread);

/* Never 0, and the lowest 4 bits are. */
unsigned long long thread_self(void);

/* Between two looks at a lock that is held. The holder may have been preempted, which at
 * DISPATCH_LEVEL it could not be, so a thread that has looked often gives its processor away. */
void thread_pause(unsigned looks);

/* Appends one line to the log. */
void report(const char *format, ...) __attribute__((format(gnu_printf, 1, 2)));

/* Reports a rule that a driver broke, and where. Of one rule at one place the first few alone. */
void violation(const void *where, const char *rule, ...) __attribute__((format(gnu_printf, 2, 3)));

/* Whether an image is loaded at that address. */
int image_is_loaded(const void *address);

/* The part of a path after its last backslash. */
const char *file_name(const char *path);

#endif
