//! The filter on the model kernel, above a driver that the test defines. The model stops a test at the first broken rule of the
//! kernel, and at a leak.

use ntmodel::{Access, Config, Driver, Kernel};
use wdm::{Device, Error, Guid, Handled, Irp, NewDevice, NtStatus, PassiveLevel, PinInit};

use {{name}}_logic::{Gate, REFUSED};

/// A device that accepts writes, and has nothing to read.
struct Sink;

impl Device for Sink {
    const INTERFACE: Guid = {{Guid}};

    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self))
    }

    fn read<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete(NtStatus::SUCCESS, irql)
    }

    fn write<'irp>(&self, irp: Irp<'irp>, (): &(), irql: &mut PassiveLevel) -> Handled<'irp> {
        irp.complete_write(1, irql)
    }
}

#[test]
fn writes_are_refused_and_reads_go_on() {
    let kernel = Kernel::new(Config::default());
    // SAFETY: the entry points are those of drivers on wdm.
    let [sink, gate] = [wdm::entry::<Sink>, wdm::filter_entry::<Gate>]
        .map(|entry| unsafe { Driver::load(&kernel, entry) }.expect("DriverEntry succeeds"));
    let device = sink.add_device().expect("AddDevice succeeds");
    gate.add_filter(&device).expect("AddDevice succeeds");
    device.start().expect("the device starts");
    let file = device.open(Access::ReadWrite).expect("the device opens");

    let refused = Error::MEDIA_WRITE_PROTECTED.to_raw();
    assert_eq!(file.write(0, b"a").answer(), refused);
    assert_eq!(file.read(0, 1).answer(), NtStatus::SUCCESS.to_raw());
    let count = file.device_control(REFUSED, &[], vec![0; 8]);
    let end = count.ended().expect("the filter completes it");
    assert_eq!(end.output, 1_i64.to_ne_bytes());

    file.close();
    device.remove().expect("no file is open");
    gate.unload();
    sink.unload();
}
