#Requires -Version 5.1
#Requires -Modules Hyper-V
#Requires -RunAsAdministrator

<#
.SYNOPSIS
    Tests the driver package in a VM and copies the results to the host. Run it on the Hyper-V host.
.DESCRIPTION
    The script uses PowerShell Direct, which needs no network in the VM. It copies the package, prepares the guest with
    Set-TestGuest.ps1, restarts it, runs `harness doctor`, installs the driver, runs every scenario, removes the driver so
    that Driver Verifier checks its unload, and copies the results into a folder.

    It returns the harness's exit code: 0 if all passed, 1 if something failed, 2 if it could not run. A bug check is a
    failure; its dump is copied to the host.
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
    # The program that installs the driver: the harness, devcon.exe, or pnputil.exe for a device that devgen.exe makes.
    [ValidateSet('Harness', 'DevCon', 'PnPUtil')] [string] $Installer = 'Harness',
    # The path of devcon.exe for DevCon, or of devgen.exe for PnPUtil. Both are in the WDK; the architecture must be the guest's.
    [string] $Tool,
    # Arguments for `harness run`, such as a filter.
    [string] $Arguments = '',
    # The results are copied into a new folder in this one, which is named after the time.
    [string] $Results = (Join-Path $PSScriptRoot '..\..\target\vm-results'),
    # The following are parameters of Set-TestGuest.ps1, which describes them.
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
$dump = 'C:\Windows\MEMORY.DMP'
$files = 'interlock.sys', 'interlock.inf', 'interlock.cat', 'interlock.pdb', 'interlock.cer', 'harness.exe'

# Returns a session with the guest. Waits until the guest has started and accepts the credential.
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

# Marks this start of the guest by a registry key that Windows keeps only in memory. The time of the start cannot be
# used, since Windows computes it from the clock, which Hyper-V sets.
function Set-StartMark {
    param($Session)
    Invoke-Command -Session $Session -ScriptBlock {
        $volatile = [Microsoft.Win32.RegistryOptions]::Volatile
        [Microsoft.Win32.Registry]::LocalMachine.CreateSubKey('SOFTWARE\InterlockTestRun', $true, $volatile).Close()
    }
}

# Returns whether the guest has restarted since it was marked.
function Test-Restarted {
    param($Session)
    Invoke-Command -Session $Session -ScriptBlock {
        -not (Test-Path 'HKLM:\SOFTWARE\InterlockTestRun')
    }
}

# Restarts the guest, waits until it has restarted, and marks the new start.
function Restart-Guest {
    param($Session)
    Set-StartMark $Session
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
            $restarted = Test-Restarted $new
        } catch {
            # The guest was still shutting down.
            $restarted = $false
        }
        if ($restarted) {
            Set-StartMark $new
            return $new
        }
        Remove-PSSession -Session $new
        Start-Sleep -Seconds 5
    }
    throw "The guest $Name did not restart within 10 minutes"
}

# Waits until the dump of a bug check is written. Windows makes the file from the page file after the restart, which takes
# minutes. Until then the file cannot be opened for exclusive access.
function Wait-Dump {
    param($Session)
    $deadline = (Get-Date).AddMinutes(10)
    while ((Get-Date) -lt $deadline) {
        $written = Invoke-Command -Session $Session -ArgumentList $dump -ScriptBlock {
            param($dump)
            try {
                [System.IO.File]::Open($dump, 'Open', 'Read', 'None').Close()
                $true
            } catch {
                $false
            }
        }
        if ($written) {
            return
        }
        Start-Sleep -Seconds 5
    }
    Write-Warning "The guest restarted by itself, and did not write $dump within 10 minutes"
}

# Runs a command line in the guest's folder, writes its output to files there, and returns its exit code.
function Invoke-Guest {
    param($Session, [string] $CommandLine, [string] $Output)
    Write-Host "> $CommandLine"
    Invoke-Command -Session $Session -ArgumentList $folder, $CommandLine, $Output -ScriptBlock {
        param($folder, $commandLine, $output)
        Set-Location $folder
        # cmd.exe runs it, since PowerShell 5.1 treats output on a program's standard error as an error.
        & cmd.exe /d /c "$commandLine > $output.out 2> $output.err"
        $LASTEXITCODE
    }
}

# Throws an error that contains the output of a command in the guest.
function Stop-Run {
    param($Session, [string] $What, [string] $Output)
    $printed = Invoke-Command -Session $Session -ArgumentList $folder, $Output -ScriptBlock {
        param($folder, $output)
        Get-Content "$folder\$output.out", "$folder\$output.err"
    }
    throw ("$What`n" + ($printed -join "`n"))
}

# Returns the command lines that install the driver, each with the exit codes that mean success, and those that require
# a restart.
function Get-InstallCommand {
    switch ($Installer) {
        'Harness' { @{ Line = 'harness.exe install'; Success = @(0); Restart = @() } }
        'DevCon' { @{ Line = 'devcon.exe install interlock.inf root\interlock'; Success = @(0, 1); Restart = @(1) } }
        'PnPUtil' {
            @{ Line = 'devgen.exe /add /bus ROOT /hardwareid root\interlock'; Success = @(0); Restart = @() }
            # 259: the device has this driver already, or a better one.
            @{ Line = 'pnputil.exe /add-driver interlock.inf /install'; Success = @(0, 259, 3010); Restart = @(3010) }
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

Invoke-Command -Session $session -ArgumentList $folder, $dump -ScriptBlock {
    param($folder, $dump)
    New-Item -ItemType Directory -Path $folder -Force | Out-Null
    # Files of an earlier run must not appear in these results.
    Remove-Item -Path "$folder\*.out", "$folder\*.err", $dump -Force -ErrorAction SilentlyContinue
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
        $code = Invoke-Guest $session $command.Line 'install'
        if ($command.Success -notcontains $code) {
            Stop-Run $session "$($command.Line) ended with ${code}:" 'install'
        }
        if ($command.Restart -contains $code) {
            $session = Restart-Guest $session
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
    Remove-PSSession -Session $session
    $session = Connect-Guest
    # The guest restarts by itself only after a bug check.
    if (Test-Restarted $session) {
        Wait-Dump $session
    }
}

$left = Invoke-Command -Session $session -ArgumentList $folder, $dump -ScriptBlock {
    param($folder, $dump)
    Get-ChildItem -Path "$folder\*.out", "$folder\*.err", $dump -ErrorAction SilentlyContinue |
        ForEach-Object { $_.FullName }
}
foreach ($path in $left) {
    Copy-Item -FromSession $session -Path $path -Destination $Results -Force
}
Remove-PSSession -Session $session

if ($left -contains $dump) {
    $exitCode = 1
    Write-Warning "The guest had a bug check: $Results\MEMORY.DMP"
}
$run = Join-Path $Results 'run.out'
if (Test-Path $run) {
    # After a bug check the last line may be cut.
    $lines = Get-Content $run | Where-Object { $_ -match '^\{.*\}$' } | ForEach-Object { ConvertFrom-Json $_ }
    $lines | Where-Object { $_.type -eq 'test' -and $_.event -eq 'failed' } |
        ForEach-Object { Write-Output "FAILED $($_.name): $($_.message)" }
    $lines | Where-Object { $_.type -eq 'suite' -and $_.event -ne 'started' } |
        ForEach-Object { Write-Output "$($_.passed) passed; $($_.failed) failed; $($_.ignored) ignored" }
}
Write-Output "Results are in $Results"
exit $exitCode
