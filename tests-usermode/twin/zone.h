/* A zone, with the memory that it is made of. */
#pragma once

#include "ddk.h"

typedef struct {
    ZONE_HEADER Header;
    KSPIN_LOCK Lock;
    SINGLE_LIST_ENTRY Segments; /* the pool blocks, to be freed with the zone */
    KSPIN_LOCK SegmentsLock;
    LONG Blocks, InUse;
} ZONE;

/* Makes a zone of a first segment; zeroes it if that fails. */
NTSTATUS ZoneCreate(ZONE *Zone, ULONG BlockSize, ULONG Blocks);
/* Adds a segment, while other threads use the zone. */
NTSTATUS ZoneExtend(ZONE *Zone, ULONG Blocks);
VOID ZoneDelete(ZONE *Zone);
PVOID ZoneAllocate(ZONE *Zone);
VOID ZoneFree(ZONE *Zone, PVOID Block);
