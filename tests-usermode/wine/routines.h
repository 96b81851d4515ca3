/*
 * The routines that our ntoskrnl.exe defines; every other export is forwarded to Wine's. This list
 * is the only place that says so: build.sh reads the names for the .def, ntoskrnl.c for the log.
 *
 *   SUPPLIED(routine, why)   ours runs in place of Wine's, or where Wine has none
 *   WRAPPED(routine, why)    ours does a little of its own and calls Wine's, which does the work
 *
 * A new routine is a line here and a function of that name in one of the C files.
 */
SUPPLIED(ExAllocatePool2, "Wine 8 has none; the memory is from Wine's ExAllocatePoolWithTag")
WRAPPED(ExFreePool, "counts what is freed")
WRAPPED(ExFreePoolWithTag, "counts what is freed")
WRAPPED(IoCreateDevice, "has IRP_MJ_CLEANUP sent to the driver before IRP_MJ_CLOSE: Wine never sends it")
WRAPPED(IofCompleteRequest, "keeps an IRP for a while, since Wine may cancel it late")
WRAPPED(ZwUnloadDriver, "reports the pool that is not freed")
