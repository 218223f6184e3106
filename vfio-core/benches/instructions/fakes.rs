//! Devices that cost nothing themselves, and machines of any size.

use vfio_core::lease::DeviceOps;
use vfio_core::pci::{Acs, AcsCapability, Bdf, BusRange, Function, PortKind, ResetMethods};
use vfio_core::{DeviceId, Fault, Owner, SetId};

/// Callbacks that do nothing.
pub(crate) struct Nothing;

impl DeviceOps for Nothing {
    fn open_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        Ok(())
    }

    fn close_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        Ok(())
    }
}

/// The `number`th device of a table and its set: slots of eight functions, as many segments as it takes.
pub(crate) fn device(number: u32) -> (DeviceId, SetId) {
    let [devfn, bus, low, high] = number.to_le_bytes();
    let segment = u16::from_le_bytes([low, high]);
    let slot = SetId::PciSlot {
        segment,
        bus,
        slot: devfn >> 3,
    };
    (Bdf::from_devfn(segment, bus, devfn).into(), slot)
}

/// Functions below each port of [`machine`].
const BELOW: u32 = 16;

/// A machine of `functions` functions in the order in which discovery walks: root ports with 16 functions below
/// each, every other port without ACS, and the rest on the root bus.
pub(crate) fn machine(functions: u32) -> Vec<Function> {
    let ports = functions / (BELOW + 1);
    let mut all = Vec::new();
    for number in 0..functions - ports * (BELOW + 1) {
        let bdf = Bdf::from_devfn(0, 0, 0xff - number as u8);
        all.push(Function {
            resets: ResetMethods::FLR,
            ..Function::new(bdf, PortKind::RootComplexEndpoint)
        });
    }
    for number in 0..ports as u8 {
        let (port, bus) = (Bdf::from_devfn(0, 0, number), number + 1);
        all.push(Function {
            buses: Some(BusRange {
                secondary: bus,
                subordinate: bus,
            }),
            acs: number
                .is_multiple_of(2)
                .then(|| AcsCapability::enabled(Acs::PORT)),
            ..Function::new(port, PortKind::RootPort)
        });
        all.extend((0..BELOW as u8).map(|devfn| Function {
            parent: Some(port),
            acs: Some(AcsCapability::enabled(Acs::FUNCTION)),
            resets: ResetMethods::BUS,
            ..Function::new(Bdf::from_devfn(0, bus, devfn), PortKind::Endpoint)
        }));
    }
    all
}
