#Requires -Version 5.1
#Requires -Modules Hyper-V
#Requires -RunAsAdministrator

<#
.SYNOPSIS
    Tries the driver package in a VM and brings the results back. Run it on the Hyper-V host.
.DESCRIPTION
    Through PowerShell Direct, which needs no network in the VM: copies the package, makes the guest ready with
    Set-TestGuest.ps1, restarts it, diagnoses it, installs the driver, runs every scenario, removes the driver so that
    Driver Verifier sees it unload, and copies what came of it into a folder.

    It ends with the harness's exit code: 0 all passed, 1 something failed, 2 it could not run. A bug check is a failure,
    whose dump is brought back.
.EXAMPLE
    ./Invoke-TestRun.ps1 -Name interlock -Credential (Get-Credential) -Debugger Net -HostIP 192.168.1.2
.EXAMPLE
    ./Invoke-TestRun.ps1 -Name interlock -Credential $me -Installer PnPUtil -Tool D:\wdk\tools\devgen.exe
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory)] [string] $Name,
    # An administrator of the guest.
    [Parameter(Mandatory)] [pscredential] $Credential,
    # The driver package.
    [string] $Package = (Join-Path $PSScriptRoot '..\..\target\package'),
    # What installs the driver: the harness, devcon.exe, or pnputil.exe on a device that devgen.exe made.
    [ValidateSet('Harness', 'DevCon', 'PnPUtil')] [string] $Installer = 'Harness',
    # DevCon: devcon.exe. PnPUtil: devgen.exe. Both are the WDK's, and must be of the guest's architecture.
    [string] $Tool,
    # Arguments for `harness run`, such as a filter.
    [string] $Arguments = '',
    # A folder in this one, named by the time, gets the results.
    [string] $Results = (Join-Path $PSScriptRoot '..\..\target\vm-results'),
    # These go to Set-TestGuest.ps1, which says what they are.
    [ValidateSet('None', 'Net', 'Serial')] [string] $Debugger = 'None',
    [string] $HostIP,
    [int] $Port = 50000,
    [string] $Key,
    [string] $BusParams,
    [ValidateSet('Off', 'Standard', 'Interlock', 'Faults')] [string] $Verifier = 'Interlock',
    [switch] $NoMemoryIntegrity
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$folder = 'C:\interlock'
$files = 'interlock.sys', 'interlock.inf', 'interlock.cat', 'interlock.pdb', 'interlock.cer', 'harness.exe'

# A session with the guest, once it has started and takes the credential.
function Connect-Guest {
    $deadline = (Get-Date).AddMinutes(10)
    while ($true) {
        try {
            return New-PSSession -VMName $Name -Credential $Credential
        } catch {
            if ((Get-Date) -gt $deadline) {
                throw
            }
            Start-Sleep -Seconds 5
        }
    }
}

# Restarts the guest, and waits until it has another start behind it.
function Restart-Guest {
    param($Session)
    $startedAt = { (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime }
    $before = Invoke-Command -Session $Session -ScriptBlock $startedAt
    Invoke-Command -Session $Session -ScriptBlock {
        & shutdown.exe /r /t 0
        if ($LASTEXITCODE -ne 0) {
            throw "shutdown.exe ended with $LASTEXITCODE"
        }
    }
    Remove-PSSession -Session $Session
    $deadline = (Get-Date).AddMinutes(10)
    while ((Get-Date) -lt $deadline) {
        $new = Connect-Guest
        try {
            $now = Invoke-Command -Session $new -ScriptBlock $startedAt
        } catch {
            # It was still going down.
            $now = $before
        }
        if ($now -ne $before) {
            return $new
        }
        Remove-PSSession -Session $new
        Start-Sleep -Seconds 5
    }
    throw 'The guest does not restart'
}

# Runs a command line in the guest's folder, what it prints in files there; gives its exit code.
function Invoke-Guest {
    param($Session, [string] $CommandLine, [string] $Output)
    Write-Host "> $CommandLine"
    Invoke-Command -Session $Session -ArgumentList $folder, $CommandLine, $Output -ScriptBlock {
        param($folder, $commandLine, $output)
        Set-Location $folder
        # Through cmd.exe, since PowerShell 5.1 takes what a program writes to its standard error for an error.
        & cmd.exe /d /c "$commandLine > $output.out 2> $output.err"
        $LASTEXITCODE
    }
}

# Fails with what a command printed in the guest.
function Stop-Run {
    param($Session, [string] $What, [string] $Output)
    $printed = Invoke-Command -Session $Session -ArgumentList $folder, $Output -ScriptBlock {
        param($folder, $output)
        Get-Content "$folder\$output.out", "$folder\$output.err"
    }
    throw ("$What`n" + ($printed -join "`n"))
}

# The command lines that install the driver.
function Get-InstallCommand {
    switch ($Installer) {
        'Harness' { 'harness.exe install' }
        'DevCon' { 'devcon.exe install interlock.inf root\interlock' }
        'PnPUtil' {
            'devgen.exe /add /bus ROOT /hardwareid root\interlock'
            'pnputil.exe /add-driver interlock.inf /install'
        }
    }
}

$Package = (Resolve-Path $Package).Path
foreach ($file in $files) {
    if (-not (Test-Path (Join-Path $Package $file))) {
        throw "$file is not in $Package"
    }
}
if ($Installer -ne 'Harness' -and -not $Tool) {
    throw "-Installer $Installer needs -Tool"
}
$Results = Join-Path $Results (Get-Date -Format 'yyyyMMdd-HHmmss')
New-Item -ItemType Directory -Path $Results | Out-Null

if ((Get-VM -Name $Name).State -ne 'Running') {
    Start-VM -Name $Name
}
$session = Connect-Guest

Invoke-Command -Session $session -ArgumentList $folder -ScriptBlock {
    param($folder)
    New-Item -ItemType Directory -Path $folder -Force | Out-Null
    # What an earlier run left would be taken for this one's.
    Remove-Item -Path "$folder\*.out", "$folder\*.err", 'C:\Windows\MEMORY.DMP' -Force -ErrorAction SilentlyContinue
}
foreach ($file in $files) {
    Copy-Item -ToSession $session -Path (Join-Path $Package $file) -Destination $folder -Force
}
Copy-Item -ToSession $session -Path (Join-Path $PSScriptRoot 'Set-TestGuest.ps1') -Destination $folder -Force
if ($Tool) {
    Copy-Item -ToSession $session -Path $Tool -Destination $folder -Force
}

$settings = @{
    Certificate       = "$folder\interlock.cer"
    Debugger          = $Debugger
    Port              = $Port
    Verifier          = $Verifier
    NoMemoryIntegrity = [bool] $NoMemoryIntegrity
}
foreach ($setting in 'HostIP', 'Key', 'BusParams') {
    $value = Get-Variable -Name $setting -ValueOnly
    if ($value) {
        $settings[$setting] = $value
    }
}
Invoke-Command -Session $session -ArgumentList $folder, $settings -ScriptBlock {
    param($folder, $settings)
    Set-ExecutionPolicy -Scope Process -ExecutionPolicy Bypass -Force
    & "$folder\Set-TestGuest.ps1" @settings
} | Tee-Object -FilePath (Join-Path $Results 'guest.txt')
$session = Restart-Guest $session

$exitCode = 1
try {
    if ((Invoke-Guest $session 'harness.exe doctor --format json' 'doctor') -ne 0) {
        Stop-Run $session 'The guest is not ready for the driver:' 'doctor'
    }
    foreach ($command in Get-InstallCommand) {
        if ((Invoke-Guest $session $command 'install') -ne 0) {
            Stop-Run $session "$command failed:" 'install'
        }
    }
    $exitCode = Invoke-Guest $session "harness.exe run --format json $Arguments" 'run'
    Invoke-Guest $session 'verifier.exe /query' 'verifier' | Out-Null
    if ((Invoke-Guest $session 'harness.exe remove --delete-driver' 'remove') -ne 0) {
        Stop-Run $session 'The driver was not removed:' 'remove'
    }
} catch {
    $exitCode = 1
    Write-Warning $_.Exception.Message
    # If it was a bug check, the guest comes back with a dump.
    Remove-PSSession -Session $session
    $session = Connect-Guest
}

$left = Invoke-Command -Session $session -ArgumentList $folder -ScriptBlock {
    param($folder)
    Get-ChildItem -Path "$folder\*.out", "$folder\*.err", 'C:\Windows\MEMORY.DMP' -ErrorAction SilentlyContinue |
        ForEach-Object { $_.FullName }
}
foreach ($path in $left) {
    Copy-Item -FromSession $session -Path $path -Destination $Results -Force
}
Remove-PSSession -Session $session

if ($left -contains 'C:\Windows\MEMORY.DMP') {
    $exitCode = 1
    Write-Warning "The guest had a bug check: $Results\MEMORY.DMP"
}
$run = Join-Path $Results 'run.out'
if (Test-Path $run) {
    $lines = Get-Content $run | ForEach-Object { ConvertFrom-Json $_ }
    $lines | Where-Object { $_.type -eq 'test' -and $_.event -eq 'failed' } |
        ForEach-Object { Write-Output "FAILED $($_.name): $($_.message)" }
    $lines | Where-Object { $_.type -eq 'suite' -and $_.event -ne 'started' } |
        ForEach-Object { Write-Output "$($_.passed) passed; $($_.failed) failed; $($_.ignored) ignored" }
}
Write-Output "Results are in $Results"
exit $exitCode
