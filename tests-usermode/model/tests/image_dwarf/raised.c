/* A driver with a function that calls KeLowerIrql with an IRQL above the current one. */

__declspec(dllimport) void KeLowerIrql(unsigned char);

static void __attribute__((noinline)) Lower(unsigned char Irql)
{
    KeLowerIrql(Irql);
}

int DriverEntry(void *Driver, void *RegistryPath)
{
    (void)Driver;
    (void)RegistryPath;
    Lower(2);
    return 0;
}

/* An address in the data, so that the image has relocations. An image without relocations is not loaded. */
int (*volatile Entry)(void *, void *) = DriverEntry;
