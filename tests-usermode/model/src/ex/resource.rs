//! Executive resources: reader/writer locks whose owners are threads, which can wait.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ffi::c_void,
    ops::Range,
    ptr::null_mut,
};

use nt::{DISPATCH_LEVEL, ERESOURCE, NTSTATUS, STATUS_SUCCESS};

use crate::{
    host::{
        Call, Kernel,
        footprint::{self, Access},
        wait::Wait,
    },
    mutex::locked,
    verifier::{BugCheck, Rule},
};

const APC_LEVEL: u8 = 1;

/// `RESOURCE_NOT_OWNED`
const RESOURCE_NOT_OWNED: u32 = 0xe3;

/// Who has acquired a resource, by the numbers of the threads.
#[derive(Default)]
pub(super) struct Resource {
    /// The owner of exclusive access, and how often it has acquired it.
    exclusive: Option<(u32, u32)>,
    shared: BTreeMap<u32, u32>,
    /// How many threads wait for exclusive access. They take precedence over threads that wait for shared access.
    waiting: u32,
}

impl Resource {
    /// The two objects that order the threads that had exclusive access, and those that had shared access, as for a reader/writer
    /// spin lock.
    fn orders(resource: *mut ERESOURCE) -> [usize; 2] {
        [resource.addr(), resource.addr() + 1]
    }

    /// Enters a routine that works on a resource, which alone does not order the threads.
    fn enter(routine: &'static str, resource: *mut ERESOURCE) -> Call {
        let call = Call::enter_noted(routine);
        call.switch_point(routine, resource.addr());
        footprint::touch(resource.addr(), Access::Exclusive);
        call
    }

    fn count_of(&self, thread: u32) -> u32 {
        let exclusive = self.exclusive.filter(|(owner, _)| *owner == thread);
        let shared = self.shared.get(&thread).copied();
        exclusive.map_or(0, |(_, count)| count) + shared.unwrap_or(0)
    }

    fn take_exclusive(&mut self, thread: u32) -> bool {
        match &mut self.exclusive {
            Some((owner, count)) if *owner == thread => *count += 1,
            None if self.shared.is_empty() => self.exclusive = Some((thread, 1)),
            _ => return false,
        }
        true
    }

    fn take_shared(&mut self, thread: u32) -> bool {
        match &mut self.exclusive {
            Some((owner, count)) if *owner == thread => *count += 1,
            Some(_) => return false,
            None if self.waiting != 0 && !self.shared.contains_key(&thread) => return false,
            None => *self.shared.entry(thread).or_default() += 1,
        }
        true
    }

    /// Returns whether the thread had acquired it.
    fn release(&mut self, thread: u32) -> bool {
        if let Some((owner, count)) = &mut self.exclusive {
            if *owner != thread {
                return false;
            }
            *count -= 1;
            if *count == 0 {
                self.exclusive = None;
            }
            return true;
        }
        let Entry::Occupied(mut holds) = self.shared.entry(thread) else {
            return false;
        };
        *holds.get_mut() -= 1;
        if *holds.get() == 0 {
            holds.remove();
        }
        true
    }
}

impl Call {
    /// Calls a function with a resource, which must be initialised.
    fn resource<R>(
        &self,
        resource: *mut ERESOURCE,
        work: impl FnOnce(&mut Resource, u32) -> R,
    ) -> R {
        let result = {
            let mut resources = locked(&self.kernel.ex().resources);
            let found = resources.get_mut(&resource.addr());
            found.map(|found| work(found, self.number))
        };
        let Some(result) = result else {
            let what = format!(
                "the resource {resource:?} was not initialised by ExInitializeResourceLite, or was deleted"
            );
            self.stop(BugCheck::NONE, Rule::LockInitialisation, what)
        };
        result
    }

    fn acquire_resource(
        &self,
        resource: *mut ERESOURCE,
        waits: bool,
        take: fn(&mut Resource, u32) -> bool,
        is_exclusive: bool,
    ) -> bool {
        self.require_at_most(APC_LEVEL, Rule::Irql, 0xe5);
        self.require_room(resource);
        self.require_no_apcs(Rule::Resource, resource.addr());
        let (before, has_shared) = self.resource(resource, |resource, thread| {
            (
                resource.count_of(thread),
                resource.shared.contains_key(&thread),
            )
        });
        self.require(!(waits && is_exclusive && has_shared), Rule::Resource, || {
            format!(
                "the thread has shared access to the resource {resource:?} and waits for exclusive access, which is a deadlock: \
                 release it first"
            )
        });
        let is_taken = if waits {
            if before == 0 {
                let held = self.owned();
                self.check_order_under(&held, resource.addr(), "resource");
            }
            if is_exclusive {
                self.resource(resource, |resource, _| resource.waiting += 1);
            }
            self.wait_for(Wait::Resource(resource.addr()), || {
                self.resource(resource, take).then_some(())
            });
            if is_exclusive {
                self.resource(resource, |resource, _| resource.waiting -= 1);
            }
            true
        } else {
            self.resource(resource, take)
        };
        if is_taken {
            let [by_one, by_several] = Resource::orders(resource);
            self.acquire_from(by_one);
            if is_exclusive {
                self.acquire_from(by_several);
            }
        }
        if is_taken && before == 0 {
            self.own(resource.addr(), "resource");
        }
        is_taken
    }

    fn release_resource(&self, resource: *mut ERESOURCE) {
        self.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
        self.require_no_apcs(Rule::Resource, resource.addr());
        let (is_exclusive, was_owned, left) = self.resource(resource, |resource, thread| {
            let is_exclusive = resource.exclusive.is_some();
            let was_owned = resource.release(thread);
            (is_exclusive, was_owned, resource.count_of(thread))
        });
        self.require(was_owned, Rule::Resource, || {
            let parameters = [resource.addr() as u64, self.number.into(), 0, 3];
            let what = format!(
                "the resource {resource:?} is released by a thread that has not acquired it"
            );
            (BugCheck(RESOURCE_NOT_OWNED, parameters), what)
        });
        let [by_one, by_several] = Resource::orders(resource);
        self.release_to(if is_exclusive { by_one } else { by_several });
        if left == 0 {
            self.disown(resource.addr());
        }
        self.kernel.sleepers.wake(Wait::Resource(resource.addr()));
    }

    /// Stops the system if memory is freed that contains a resource, which Windows has on a list of all resources.
    pub(super) fn require_no_resource_in(&self, memory: &Range<usize>) {
        let inside = {
            let resources = locked(&self.kernel.ex().resources);
            let mut inside = resources.range(memory.clone());
            inside.next().map(|(resource, _)| *resource)
        };
        if let Some(resource) = inside {
            let parameters = [resource as u64, memory.start as u64, memory.len() as u64];
            let what = format!(
                "memory is freed that contains the resource {resource:#x}: call ExDeleteResourceLite before"
            );
            self.stop(BugCheck::verifier(0xd2, parameters), Rule::Resource, what);
        }
    }

    /// Stops the system if the driver is unloaded and has not deleted a resource.
    pub(crate) fn require_no_resource(&self) {
        let first = locked(&self.kernel.ex().resources).keys().next().copied();
        if let Some(resource) = first {
            let what = format!(
                "the driver is unloaded and has not deleted the resource {resource:#x} by ExDeleteResourceLite"
            );
            self.stop(BugCheck(0xce, [0; 4]), Rule::Resource, what);
        }
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinitializeresourcelite)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExInitializeResourceLite(resource: *mut ERESOURCE) -> NTSTATUS {
    let call = Call::enter("ExInitializeResourceLite").at_most(DISPATCH_LEVEL);
    call.require_room(resource);
    call.require_nonpaged(resource);
    let new = Resource::default();
    let before = locked(&call.kernel.ex().resources).insert(resource.addr(), new);
    call.require(before.is_none(), Rule::Resource, || {
        let bug_check = BugCheck::verifier(0xd0, [resource.addr() as u64, 0, 0]);
        let what = format!("the resource {resource:?} is initialised again and was not deleted");
        (bug_check, what)
    });
    call.forget_order(resource.addr());
    // SAFETY: the caller passes memory for a resource.
    unsafe { resource.write(ERESOURCE { Reserved: [0; 13] }) };
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exdeleteresourcelite)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExDeleteResourceLite(resource: *mut ERESOURCE) -> NTSTATUS {
    let call = Resource::enter("ExDeleteResourceLite", resource);
    call.require_at_most(APC_LEVEL, Rule::IrqlExApcLte3, 0xe5);
    let deleted = locked(&call.kernel.ex().resources).remove(&resource.addr());
    let Some(deleted) = deleted else {
        let what = format!("the resource {resource:?} is deleted, and was not initialised");
        let bug_check = BugCheck::verifier(0xd1, [resource.addr() as u64, 0, 0]);
        call.stop(bug_check, Rule::Resource, what)
    };
    let is_free = deleted.exclusive.is_none() && deleted.shared.is_empty();
    call.require(is_free && deleted.waiting == 0, Rule::Resource, || {
        format!("the resource {resource:?} is deleted while a thread owns it or waits for it")
    });
    STATUS_SUCCESS
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquireresourceexclusivelite)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAcquireResourceExclusiveLite(resource: *mut ERESOURCE, wait: u8) -> u8 {
    let call = Resource::enter("ExAcquireResourceExclusiveLite", resource);
    call.acquire_resource(resource, wait != 0, Resource::take_exclusive, true)
        .into()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exacquireresourcesharedlite)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExAcquireResourceSharedLite(resource: *mut ERESOURCE, wait: u8) -> u8 {
    let call = Resource::enter("ExAcquireResourceSharedLite", resource);
    call.acquire_resource(resource, wait != 0, Resource::take_shared, false)
        .into()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exreleaseresourcelite)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExReleaseResourceLite(resource: *mut ERESOURCE) {
    let call = Resource::enter("ExReleaseResourceLite", resource);
    call.release_resource(resource);
    call.switch_after(call.routine(), resource);
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exconvertexclusivetosharedlite)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExConvertExclusiveToSharedLite(resource: *mut ERESOURCE) {
    let call = Resource::enter("ExConvertExclusiveToSharedLite", resource);
    call.require_at_most(APC_LEVEL, Rule::Irql, 0xe5);
    let converted = call.resource(resource, |resource, thread| {
        let owned = resource.exclusive.filter(|(owner, _)| *owner == thread);
        if let Some((_, count)) = owned {
            resource.exclusive = None;
            resource.shared.insert(thread, count);
        }
        owned.is_some()
    });
    call.require(converted, Rule::Resource, || {
        format!("the thread has no exclusive access to the resource {resource:?} to convert")
    });
    call.release_to(Resource::orders(resource)[0]);
    call.kernel.sleepers.wake(Wait::Resource(resource.addr()));
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exisresourceacquiredexclusivelite)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExIsResourceAcquiredExclusiveLite(resource: *mut ERESOURCE) -> u8 {
    let call = Resource::enter("ExIsResourceAcquiredExclusiveLite", resource);
    call.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
    let is_owner = call.resource(resource, |resource, thread| {
        resource.exclusive.is_some_and(|(owner, _)| owner == thread)
    });
    is_owner.into()
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exisresourceacquiredsharedlite)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExIsResourceAcquiredSharedLite(resource: *mut ERESOURCE) -> u32 {
    let call = Resource::enter("ExIsResourceAcquiredSharedLite", resource);
    call.require_at_most(DISPATCH_LEVEL, Rule::Irql, 0xe5);
    call.resource(resource, |resource, thread| resource.count_of(thread))
}

/// [Microsoft's page](https://learn.microsoft.com/previous-versions/windows/hardware/drivers/dn308550(v=vs.85))
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExEnterCriticalRegionAndAcquireResourceExclusive(
    resource: *mut ERESOURCE,
) -> *mut c_void {
    // SAFETY: the routine checks its arguments; the same holds for those below.
    unsafe { nt::KeEnterCriticalRegion() };
    // SAFETY: as above.
    unsafe { nt::ExAcquireResourceExclusiveLite(resource, 1) };
    null_mut()
}

/// [Microsoft's page](https://learn.microsoft.com/previous-versions/windows/hardware/drivers/dn308551(v=vs.85))
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExEnterCriticalRegionAndAcquireResourceShared(
    resource: *mut ERESOURCE,
) -> *mut c_void {
    // SAFETY: as above.
    unsafe { nt::KeEnterCriticalRegion() };
    // SAFETY: as above.
    unsafe { nt::ExAcquireResourceSharedLite(resource, 1) };
    null_mut()
}

/// [Microsoft's page](https://learn.microsoft.com/previous-versions/windows/hardware/drivers/dn308553(v=vs.85))
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn ExReleaseResourceAndLeaveCriticalRegion(resource: *mut ERESOURCE) {
    // SAFETY: as above.
    unsafe { nt::ExReleaseResourceLite(resource) };
    // SAFETY: as above.
    unsafe { nt::KeLeaveCriticalRegion() };
}

impl Kernel {
    /// Describes the owners of the resource that a thread waits for.
    pub(crate) fn holders_of_resource(&self, wait: Wait) -> Option<String> {
        let Wait::Resource(address) = wait else {
            return None;
        };
        let resources = locked(&self.ex().resources);
        let resource = resources.get(&address)?;
        Some(match resource.exclusive {
            Some((owner, _)) => {
                format!("the resource {address:#x}, which thread {owner} owns exclusively")
            }
            None => format!(
                "the resource {address:#x}, to which the threads {:?} have shared access",
                resource.shared.keys().collect::<Vec<_>>()
            ),
        })
    }
}
