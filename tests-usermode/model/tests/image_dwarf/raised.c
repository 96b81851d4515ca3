/* A driver that lowers the IRQL to a higher one, in a function of its own. */

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

/* An address in the data, so that the image has relocations, without which it is not loaded. */
int (*volatile Entry)(void *, void *) = DriverEntry;
