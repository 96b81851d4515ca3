/*
 * Makes and removes a root-enumerated device, as devcon does, and opens its interface:
 *   devnode install INF HARDWARE-ID     makes the device and installs its driver
 *   devnode open {GUID}                 opens and closes every device with the interface; fails if there is none
 *   devnode remove HARDWARE-ID          removes every such device
 */

#include <windows.h>
#include <initguid.h>
#include <newdev.h>
#include <ole2.h>
#include <setupapi.h>
#include <stdio.h>
#include <wchar.h>

static int failed(const char *call)
{
    fprintf(stderr, "%s failed: error 0x%08lx\n", call, GetLastError());
    return 1;
}

static int install(const WCHAR *inf, const WCHAR *hardware_id)
{
    WCHAR class_name[64], ids[LINE_LEN] = {0};
    SP_DEVINFO_DATA device = {.cbSize = sizeof device};
    BOOL restart = FALSE;
    HDEVINFO set;
    GUID class;

    /* The list of IDs ends with two NULs. */
    wcsncpy(ids, hardware_id, LINE_LEN - 2);
    if (!SetupDiGetINFClassW(inf, &class, class_name, 64, NULL))
        return failed("SetupDiGetINFClass");
    set = SetupDiCreateDeviceInfoList(&class, NULL);
    if (set == INVALID_HANDLE_VALUE)
        return failed("SetupDiCreateDeviceInfoList");
    if (!SetupDiCreateDeviceInfoW(set, class_name, &class, NULL, NULL, DICD_GENERATE_ID, &device))
        return failed("SetupDiCreateDeviceInfo");
    if (!SetupDiSetDeviceRegistryPropertyW(set, &device, SPDRP_HARDWAREID, (const BYTE *)ids,
                                           (wcslen(ids) + 2) * sizeof *ids))
        return failed("SetupDiSetDeviceRegistryProperty");
    if (!SetupDiCallClassInstaller(DIF_REGISTERDEVICE, set, &device))
        return failed("DIF_REGISTERDEVICE");
    if (!UpdateDriverForPlugAndPlayDevicesW(NULL, hardware_id, inf, INSTALLFLAG_FORCE, &restart))
        return failed("UpdateDriverForPlugAndPlayDevices");
    printf("installed %ls\n", hardware_id);
    return 0;
}

static int open_all(const WCHAR *name)
{
    SP_DEVICE_INTERFACE_DATA opened = {.cbSize = sizeof opened};
    union {
        SP_DEVICE_INTERFACE_DETAIL_DATA_W data;
        BYTE bytes[4096];
    } detail;
    DWORD index = 0;
    HDEVINFO set;
    GUID guid;

    if (CLSIDFromString(name, &guid) != S_OK)
        return failed("CLSIDFromString");
    set = SetupDiGetClassDevsW(&guid, NULL, NULL, DIGCF_PRESENT | DIGCF_DEVICEINTERFACE);
    for (; SetupDiEnumDeviceInterfaces(set, NULL, &guid, index, &opened); index++) {
        HANDLE file;

        detail.data.cbSize = sizeof detail.data;
        if (!SetupDiGetDeviceInterfaceDetailW(set, &opened, &detail.data, sizeof detail, NULL, NULL))
            return failed("SetupDiGetDeviceInterfaceDetail");
        file = CreateFileW(detail.data.DevicePath, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
        if (file == INVALID_HANDLE_VALUE)
            return failed("CreateFile");
        CloseHandle(file);
        printf("opened %ls\n", detail.data.DevicePath);
    }
    if (!index)
        fprintf(stderr, "no device has the interface %ls: it was not started\n", name);
    return !index;
}

static int remove_all(const WCHAR *hardware_id)
{
    SP_DEVINFO_DATA device = {.cbSize = sizeof device};
    HDEVINFO set = SetupDiGetClassDevsW(NULL, L"ROOT", NULL, DIGCF_ALLCLASSES);
    WCHAR ids[1024];
    DWORD index;

    for (index = 0; SetupDiEnumDeviceInfo(set, index, &device); index++) {
        if (SetupDiGetDeviceRegistryPropertyW(set, &device, SPDRP_HARDWAREID, NULL, (BYTE *)ids, sizeof ids, NULL)
            && !_wcsicmp(ids, hardware_id)) {
            if (!SetupDiCallClassInstaller(DIF_REMOVE, set, &device))
                return failed("DIF_REMOVE");
            printf("removed %ls\n", hardware_id);
        }
    }
    return 0;
}

int wmain(int count, WCHAR **arguments)
{
    if (count == 4 && !wcscmp(arguments[1], L"install"))
        return install(arguments[2], arguments[3]);
    if (count == 3 && !wcscmp(arguments[1], L"open"))
        return open_all(arguments[2]);
    if (count == 3 && !wcscmp(arguments[1], L"remove"))
        return remove_all(arguments[2]);
    fprintf(stderr, "usage: devnode install INF HARDWARE-ID | open {GUID} | remove HARDWARE-ID\n");
    return 2;
}
