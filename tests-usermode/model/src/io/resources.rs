//! The hardware resources with which a device is started.

use std::{mem::offset_of, sync::Mutex};

use nt::{
    CM_PARTIAL_RESOURCE_DESCRIPTOR, CM_RESOURCE_LIST, CmResourceTypeInterrupt,
    CmResourceTypeMemory, NTSTATUS,
};
use rustc_hash::FxHashMap;

use crate::{host::Kernel, io::Device, mutex::locked};

/// A hardware resource of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// An interrupt, which [`Kernel::interrupt`] raises.
    Interrupt {
        /// The vector.
        vector: u32,
        /// The IRQL, which is higher than `DISPATCH_LEVEL`.
        irql: u8,
    },
    /// Memory of the device, which the driver maps with `MmMapIoSpace`.
    Memory {
        /// The physical address.
        start: u64,
        /// The number of bytes.
        length: u32,
    },
}

/// The resources of the devices, by their physical device objects.
#[derive(Default)]
pub(in crate::io) struct Resources(Mutex<FxHashMap<usize, Vec<Resource>>>);

/// `CmResourceShareDeviceExclusive`
const EXCLUSIVE: u8 = 1;

impl Resource {
    fn descriptor(self) -> CM_PARTIAL_RESOURCE_DESCRIPTOR {
        let (kind, u) = match self {
            Self::Interrupt { vector, irql } => {
                let all = u32::MAX;
                (CmResourceTypeInterrupt, [irql.into(), vector, all, all])
            }
            Self::Memory { start, length } => {
                let [low, high] = [start & 0xffff_ffff, start >> 32];
                let [low, high] = [low, high].map(|part| u32::try_from(part).unwrap_or_default());
                (CmResourceTypeMemory, [low, high, length, 0])
            }
        };
        CM_PARTIAL_RESOURCE_DESCRIPTOR {
            Type: kind,
            ShareDisposition: EXCLUSIVE,
            Flags: 0,
            u,
        }
    }
}

/// Makes a list of resources, in memory that is aligned.
fn list(resources: &[Resource]) -> Box<[u32]> {
    const DESCRIPTOR: usize = size_of::<CM_PARTIAL_RESOURCE_DESCRIPTOR>() / size_of::<u32>();
    let count = u32::try_from(resources.len()).unwrap_or_default();
    const { assert!(offset_of!(CM_RESOURCE_LIST, Count) == 16) };
    // One list, of PNPBus (15), with version 1 and revision 1.
    let mut words = vec![1, 15, 0, 0x1_0001, count];
    for resource in resources {
        let CM_PARTIAL_RESOURCE_DESCRIPTOR {
            Type,
            ShareDisposition,
            u,
            ..
        } = resource.descriptor();
        words.push(u32::from_le_bytes([Type, ShareDisposition, 0, 0]));
        words.extend(u);
    }
    debug_assert_eq!(words.len(), 5 + DESCRIPTOR * resources.len());
    words.into()
}

impl Kernel {
    /// Returns the vector and the IRQL of the first interrupt of a device.
    pub(in crate::io) fn interrupt_of(&self, pdo: usize) -> Option<(u32, u8)> {
        let resources = locked(&self.io().resources.0);
        resources
            .get(&pdo)?
            .iter()
            .find_map(|resource| match resource {
                Resource::Interrupt { vector, irql } => Some((*vector, *irql)),
                Resource::Memory { .. } => None,
            })
    }
}

impl Device {
    /// Starts the device with hardware resources, which the drivers find in `Parameters.StartDevice`, raw and translated.
    ///
    /// # Errors
    /// As for [`Device::start`].
    pub fn start_with(&self, resources: &[Resource]) -> Result<(), NTSTATUS> {
        let of_devices = &self.kernel().io().resources;
        locked(&of_devices.0).insert(self.inner().pdo().addr(), resources.to_vec());
        // The list stays until the request has ended.
        let list = list(resources);
        self.start_with_list(list.as_ptr().expose_provenance())
    }
}
