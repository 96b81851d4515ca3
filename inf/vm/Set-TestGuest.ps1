#Requires -Version 5.1
#Requires -RunAsAdministrator

<#
.SYNOPSIS
    Prepares a Windows machine for a test-signed driver. Run it in the VM, and then restart the VM.
.DESCRIPTION
    The script turns test signing on, adds the package's certificate to the machine's stores, turns kernel debugging on or
    off, turns Driver Verifier on for interlock.sys, and makes a bug check write a dump. `Invoke-TestRun.ps1` on the host
    runs it through PowerShell Direct. It can also be run by hand on any test machine.
.EXAMPLE
    ./Set-TestGuest.ps1 -Certificate C:\interlock\interlock.cer -Debugger Net -HostIP 192.168.1.2
#>
[CmdletBinding()]
param(
    # interlock.cer of the driver package.
    [Parameter(Mandatory)] [string] $Certificate,
    # The connection of the kernel debugger: KDNET, COM1, or none.
    [ValidateSet('None', 'Net', 'Serial')] [string] $Debugger = 'None',
    # Net: the address of the machine that the debugger runs on.
    [string] $HostIP,
    # Net: the port that it listens on.
    [ValidateRange(49152, 65535)] [int] $Port = 50000,
    # Net: the key, four groups of 0-9 and a-z separated by dots. Without it, a new key is made and printed.
    [string] $Key,
    # Net: bus.device.function of the network adapter, for a machine with several that KDNET can use. The synthetic adapter
    # of a Hyper-V VM is on no bus.
    [string] $BusParams,
    # The checks of Driver Verifier; README.md explains each set.
    [ValidateSet('Off', 'Standard', 'Interlock', 'Faults')] [string] $Verifier = 'Interlock',
    # Turns memory integrity off. Without this switch it is not changed.
    [switch] $NoMemoryIntegrity
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

# Runs a program, and throws an error unless its exit code is one of those expected.
function Invoke-Native {
    param([string] $Program, [string[]] $Arguments, [int[]] $Expected = @(0))
    Write-Output "> $Program $Arguments"
    & $Program $Arguments
    if ($Expected -notcontains $LASTEXITCODE) {
        throw "$Program ended with $LASTEXITCODE"
    }
}

# The numbers of verifier.exe for the rule classes.
$standard = 1, 2, 4, 5, 6, 8, 9, 12, 18
$interlock = $standard + @(11, 20, 26)
$faults = $interlock + @(3, 10)

if ($Debugger -eq 'Net' -and -not $HostIP) {
    throw '-Debugger Net needs -HostIP'
}

Invoke-Native 'bcdedit.exe' '/set', 'testsigning', 'on'

foreach ($store in 'Root', 'TrustedPublisher') {
    Invoke-Native 'certutil.exe' '-f', '-addstore', $store, $Certificate
}

switch ($Debugger) {
    'Net' {
        $keyArgument = if ($Key) { "key:$Key" } else { 'newkey' }
        # With `newkey` this prints the key, which the debugger on the host needs.
        Invoke-Native 'bcdedit.exe' '/dbgsettings', 'net', "hostip:$HostIP", "port:$Port", $keyArgument
        if ($BusParams) {
            Invoke-Native 'bcdedit.exe' '/set', '{dbgsettings}', 'busparams', $BusParams
        }
        Invoke-Native 'bcdedit.exe' '/debug', 'on'
    }
    'Serial' {
        Invoke-Native 'bcdedit.exe' '/dbgsettings', 'serial', 'debugport:1', 'baudrate:115200'
        Invoke-Native 'bcdedit.exe' '/debug', 'on'
    }
    'None' {
        Invoke-Native 'bcdedit.exe' '/debug', 'off'
    }
}

# verifier.exe returns 2 if a restart is required.
$classes = switch ($Verifier) {
    'Standard' { $standard }
    'Interlock' { $interlock }
    'Faults' { $faults }
    'Off' { @() }
}
if ($Verifier -eq 'Off') {
    Invoke-Native 'verifier.exe' '/reset' -Expected 0, 2
} else {
    $arguments = @('/ruleclasses') + $classes + @('/driver', 'interlock.sys')
    Invoke-Native 'verifier.exe' $arguments -Expected 0, 2
    Invoke-Native 'verifier.exe' '/querysettings'
}

if ($NoMemoryIntegrity) {
    $scenario = 'HKLM:\SYSTEM\CurrentControlSet\Control\DeviceGuard\Scenarios\HypervisorEnforcedCodeIntegrity'
    if (-not (Test-Path $scenario)) {
        New-Item -Path $scenario -Force | Out-Null
    }
    Set-ItemProperty -Path $scenario -Name 'Enabled' -Value 0 -Type DWord
}

# A bug check writes the kernel's memory to C:\Windows\MEMORY.DMP, and the machine restarts.
$crash = 'HKLM:\SYSTEM\CurrentControlSet\Control\CrashControl'
Set-ItemProperty -Path $crash -Name 'CrashDumpEnabled' -Value 2 -Type DWord
Set-ItemProperty -Path $crash -Name 'AlwaysKeepMemoryDump' -Value 1 -Type DWord
Set-ItemProperty -Path $crash -Name 'AutoReboot' -Value 1 -Type DWord

Write-Output 'Restart the machine to finish this.'
