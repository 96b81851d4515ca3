//! The path of the registry key is used in a thread that outlives `DriverEntry`.

use wdm::RegistryKey;

fn send<T: Send>(_: T) {}

fn run(registry: &RegistryKey<'_>) {
    send(registry); //~ E0277
    //~^ E0277
}
