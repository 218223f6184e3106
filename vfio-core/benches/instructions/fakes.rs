//! Devices that cost nothing themselves, and machines of any size.

#![expect(unsafe_code, reason = "DmaDomains promises isolation")]

use vfio_core::cohort::{Cohorts, ResetAction};
use vfio_core::domain::{IovaRange, ReservedRegion, UnitId, UnitLimits};
use vfio_core::lease::{DeviceOps, DmaDomains, Interrupts, Quiesce, Reset};
use vfio_core::pci::{Acs, AcsCapability, Bdf, BusRange, Function, PortKind, ResetMethods, Topology};
use vfio_core::{DeviceId, DomainId, Fault, Mapping, Owner, Requester, SetId};

/// A platform that does nothing.
pub(crate) struct Nothing;

// SAFETY: there is no memory that a device could reach.
unsafe impl DmaDomains for Nothing {
    fn unit_of(&self, _: Requester) -> Result<UnitId, Fault> {
        Ok(UnitId(0))
    }

    fn limits(&self, _: UnitId) -> Result<UnitLimits, Fault> {
        Ok(UnitLimits::any())
    }

    fn reserved(&self, _: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        Ok(Vec::new())
    }

    fn create_domain(&self, _: Owner) -> Result<DomainId, Fault> {
        Ok(DomainId(0))
    }

    fn destroy_domain(&self, _: DomainId) -> Result<(), Fault> {
        Ok(())
    }

    fn map(&self, _: UnitId, _: DomainId, _: Mapping) -> Result<(), Fault> {
        Ok(())
    }

    fn unmap(&self, _: UnitId, _: DomainId, _: IovaRange) -> Result<(), Fault> {
        Ok(())
    }

    fn attach(&self, _: DomainId, _: Requester) -> Result<(), Fault> {
        Ok(())
    }

    fn quarantine(&self, _: Requester) -> Result<(), Fault> {
        Ok(())
    }
}

impl Quiesce for Nothing {
    fn quiesce(&self, _: DeviceId) -> Result<(), Fault> {
        Ok(())
    }
}

impl Reset for Nothing {
    fn reset(&self, _: &ResetAction) -> Result<(), Fault> {
        Ok(())
    }

    fn check_alive(&self, _: DeviceId) -> Result<(), Fault> {
        Ok(())
    }
}

impl Interrupts for Nothing {
    fn interrupts_isolated(&self) -> bool {
        true
    }

    fn enable_interrupts(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        Ok(())
    }

    fn release_interrupts(&self, _: DeviceId) -> Result<(), Fault> {
        Ok(())
    }
}

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

/// A machine of functions that are each a cohort, with a reset of its own.
pub(crate) fn singles(count: u32) -> Cohorts {
    let functions = (0..count).map(|number| {
        let [devfn, low, high, _] = number.to_le_bytes();
        Function {
            acs: Some(AcsCapability::enabled(Acs::FUNCTION)),
            resets: ResetMethods::FLR,
            ..Function::new(
                Bdf::from_devfn(u16::from_le_bytes([low, high]), 0, devfn),
                PortKind::RootComplexEndpoint,
            )
        }
    });
    match Topology::new(functions.collect()) {
        Ok(topology) => Cohorts::new(&topology),
        Err(error) => panic!("{error:?}"),
    }
}
