//! The driver against a unit that is made of the manual, and against a plain list of who may reach what.

mod isolation;
mod misbehaviour;
mod registry;
mod takeover;
pub(crate) mod unit;

use super::*;
use crate::acpi::{IvhdEntry, IvhdTarget, Ivrs, IvrsMemory, IvrsUnit};
use spec::amdvi::capability::Header;
use spec::ivrs::Settings;
use unit::Fake;

pub(crate) const FUNCTION: Bdf = Bdf::new(0, 0, 0, 2);

pub(crate) fn range(first: u16, last: u16, alias: Option<u16>, settings: Settings) -> IvhdEntry {
    let target = IvhdTarget::Range {
        first,
        last,
        alias,
        extended: None,
    };
    IvhdEntry {
        target,
        settings: settings.bits(),
    }
}

/// IVRS with one unit that has `entries`.
pub(crate) fn ivrs(entries: Vec<IvhdEntry>, memory: Vec<IvrsMemory>) -> Ivrs {
    let unit = IvrsUnit {
        kind: 0x11,
        function: FUNCTION,
        capability: 0x40,
        base: 0xfeb8_0000,
        flags: 0,
        info: 0,
        features: 0,
        extended: None,
        entries,
    };
    Ivrs {
        units: vec![unit],
        memory,
        ..Ivrs::default()
    }
}

pub(crate) fn firmware(entries: Vec<IvhdEntry>, memory: Vec<IvrsMemory>) -> Firmware {
    let ivrs = ivrs(entries, memory);
    Firmware::new(&ivrs, &ivrs.units[0])
}

/// Everything on bus 0 but the unit itself.
pub(crate) fn bus_0() -> Firmware {
    firmware(vec![range(3, 0xff, None, Settings::empty())], Vec::new())
}

pub(crate) const PLAIN: Header = Header::EXTENDED_FEATURES;

pub(crate) fn init(fake: &Fake, firmware: Firmware, header: Header) -> Result<AmdVi<Fake>, InitError> {
    fake.0.borrow_mut().caches_not_present = header.contains(Header::CACHES_NOT_PRESENT);
    AmdVi::init(fake.clone(), firmware, Capability::of(header), 0)
}

/// A unit with bus 0.
pub(crate) fn ready() -> (Fake, AmdVi<Fake>) {
    let fake = Fake::new(4000);
    let unit = init(&fake, bus_0(), PLAIN).unwrap();
    (fake, unit)
}

pub(crate) const fn device(number: u8) -> Bdf {
    Bdf::new(0, 0, number, 0)
}
