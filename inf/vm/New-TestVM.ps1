#Requires -Version 5.1
#Requires -Modules Hyper-V
#Requires -RunAsAdministrator

<#
.SYNOPSIS
    Makes a Hyper-V VM for testing a test-signed driver. Run it on the Hyper-V host.
.DESCRIPTION
    The VM is of generation 2, with Secure Boot off, COM1 on a named pipe for a debugger, fixed memory, and no automatic
    checkpoints. Its disk is a differencing disk of the VHDX, which is not changed, or an empty disk, with the
    installation ISO in the DVD drive.
.EXAMPLE
    ./New-TestVM.ps1 -Name interlock -Vhdx D:\images\windows11.vhdx
.EXAMPLE
    ./New-TestVM.ps1 -Name interlock -Iso D:\images\windows11.iso -SwitchName External
#>
[CmdletBinding(DefaultParameterSetName = 'Vhdx')]
param(
    [Parameter(Mandatory)] [string] $Name,
    # A disk that contains Windows.
    [Parameter(Mandatory, ParameterSetName = 'Vhdx')] [string] $Vhdx,
    # The image from which to install Windows.
    [Parameter(Mandatory, ParameterSetName = 'Iso')] [string] $Iso,
    # KDNET requires a switch on which the host has an address. Microsoft's guide uses an external switch.
    [string] $SwitchName = 'Default Switch',
    # Races between processors require more than one.
    [int] $Processors = 4,
    [long] $Memory = 4GB
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$disk = Join-Path (Get-VMHost).VirtualHardDiskPath "$Name.vhdx"
if ($PSCmdlet.ParameterSetName -eq 'Vhdx') {
    New-VHD -Path $disk -ParentPath (Resolve-Path $Vhdx).Path -Differencing | Out-Null
} else {
    New-VHD -Path $disk -SizeBytes 64GB -Dynamic | Out-Null
}
New-VM -Name $Name -Generation 2 -MemoryStartupBytes $Memory -VHDPath $disk -SwitchName $SwitchName | Out-Null
Set-VMMemory -VMName $Name -DynamicMemoryEnabled $false
Set-VMProcessor -VMName $Name -Count $Processors
Set-VM -Name $Name -AutomaticCheckpointsEnabled $false

# Secure Boot prevents both test signing and debugging.
Set-VMFirmware -VMName $Name -EnableSecureBoot Off
Set-VMComPort -VMName $Name -Number 1 -Path "\\.\pipe\$Name"

if ($PSCmdlet.ParameterSetName -eq 'Iso') {
    # Windows 11 requires a TPM.
    Set-VMKeyProtector -VMName $Name -NewLocalKeyProtector
    Enable-VMTPM -VMName $Name
    Add-VMDvdDrive -VMName $Name -Path (Resolve-Path $Iso).Path
    Set-VMFirmware -VMName $Name -FirstBootDevice (Get-VMDvdDrive -VMName $Name)
}

Start-VM -Name $Name
Write-Output "The VM $Name is started. When Windows is installed and has an administrator with a password, run Invoke-TestRun.ps1"
