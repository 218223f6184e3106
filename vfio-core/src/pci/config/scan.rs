//! Finding every function: from each window's first bus down through the bridges.
//!
//! Bus numbers in bridges are what firmware, or a guest before us, left there. A bridge is followed only to buses
//! that are above its own, inside those of the bridge above it, inside the window, and not already taken, so the walk
//! ends after at most 256 buses for a segment, whatever the bridges say.

use super::function::{Function, TableLocation};
use super::rom::find_rom;
use super::{BarFault, ConfigAccess, Registers, SrIovFault, acs, bar, capability, sriov, virtio};
use crate::pci::spec::{MULTI_FUNCTION, capability as id, express, extended, header};
use crate::pci::{Bdf, BusRange, NotAssignable, PortKind, ResetMethods};
use alloc::vec::Vec;

/// What there is, and what is wrong with some of it. A problem never hides the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Functions, in the order of the walk.
    pub functions: Vec<Function>,
    /// What made no sense.
    pub problems: Vec<Problem>,
}

/// Something that a function says and that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{function}: {kind}")]
pub struct Problem {
    /// Who says it.
    pub function: Bdf,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// A header layout that is neither endpoint nor PCI-to-PCI bridge.
    #[error("header layout {0:#x} is not known")]
    Header(u8),
    /// The header and the PCI Express capability disagree.
    #[error("the header layout does not fit PCI Express port type {port_type:#x}")]
    PortType {
        /// Device/port type as encoded.
        port_type: u8,
    },
    /// A bridge that cannot be followed. What is behind it is not found, and must not be: it stays without a guest.
    #[error("the bridge's buses {secondary:#x} to {subordinate:#x} are not followed: {fault}")]
    Bridge {
        /// The bus that the bridge claims right behind it.
        secondary: u8,
        /// The last bus that it claims.
        subordinate: u8,
        /// Why not.
        fault: BridgeFault,
    },
    /// A capability list that comes back to itself.
    #[error("the capability list loops at {offset:#x}")]
    CapabilityLoop {
        /// Where it comes back to.
        offset: u16,
    },
    /// A capability that is not wholly in the space that its list belongs to.
    #[error("a capability at {offset:#x} is outside the space of its list")]
    CapabilityOutside {
        /// Where it is said to be.
        offset: u16,
    },
    /// A number of MSI vectors that the specification reserves.
    #[error("MSI claims 2^{exponent} vectors")]
    MsiVectors {
        /// As encoded.
        exponent: u8,
    },
    /// An MSI-X table or its pending bits outside every memory BAR.
    #[error("MSI-X claims {} bytes at {:#x} of BAR {}, which is not there", .0.length, .0.offset, .0.bar)]
    TableOutsideBar(TableLocation),
    /// A base address register that does not decode.
    #[error(transparent)]
    Bar(BarFault),
    /// A physical function whose virtual functions are on and cannot be where it says. They are not listed.
    #[error("its virtual functions are not listed: {0}")]
    VirtualFunctions(SrIovFault),
    /// A virtual function that its physical function says is on, and that is not there or is no endpoint.
    #[error("it is no virtual function, though {physical} says that it is")]
    NotVirtual {
        /// The physical function.
        physical: Bdf,
    },
}

/// Why a bridge is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BridgeFault {
    /// Nobody has given it a bus.
    #[error("nobody has given it a bus")]
    Unconfigured,
    /// Its secondary bus is not above its own, or the range runs backwards.
    #[error("they do not lie above its own bus")]
    Backwards,
    /// They go beyond those of the bridge above, or beyond the window.
    #[error("they go beyond the bridge above it, or beyond the window of configuration space")]
    Outside,
    /// Another bridge leads there.
    #[error("another bridge leads there")]
    Taken,
}

/// Buses of a segment whose configuration space can be reached: an entry of ACPI's MCFG table, for instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentWindow {
    /// PCI segment group.
    pub segment: u16,
    /// The first bus, a root bus.
    pub bus_start: u8,
    /// The last bus, inclusive.
    pub bus_end: u8,
}

/// A bus to visit.
struct Bus {
    segment: u16,
    number: u8,
    last: u8,
    parent: Option<(Bdf, PortKind)>,
}

/// Finds all functions behind `windows`.
///
/// Each window's first bus is a root bus. Further root buses of the same window can only be found in AML, which
/// Cohort does not read.
pub fn scan(config: &impl ConfigAccess, windows: &[SegmentWindow]) -> Scan {
    let mut scan = Scan::default();
    let mut claimed: Vec<(u16, u8, u8)> = Vec::new();
    let mut buses: Vec<Bus> = windows
        .iter()
        .map(|window| Bus {
            segment: window.segment,
            number: window.bus_start,
            last: window.bus_end,
            parent: None,
        })
        .collect();
    while let Some(bus) = buses.pop() {
        for device in 0..32 {
            let bdf = Bdf::new(bus.segment, bus.number, device, 0);
            let Some(multi_function) = present(config, bdf) else {
                continue;
            };
            for number in 0..if multi_function { 8 } else { 1 } {
                let bdf = Bdf::new(bus.segment, bus.number, device, number);
                if number != 0 && present(config, bdf).is_none() {
                    continue;
                }
                let mut function = describe(config, bdf, bus.parent, None, &mut scan.problems);
                function.buses = follow(config, &function, &bus, &mut claimed, &mut scan.problems);
                if let Some(range) = function.buses {
                    buses.push(Bus {
                        segment: bus.segment,
                        number: range.secondary,
                        last: range.subordinate,
                        parent: Some((bdf, function.kind)),
                    });
                }
                scan.functions.push(function);
            }
        }
    }
    let virtual_functions = sriov::find(config, windows, &mut scan);
    scan.functions.extend(virtual_functions);
    scan
}

/// Whether a function is at `bdf`; if so, whether its slot has more.
fn present(config: &impl ConfigAccess, bdf: Bdf) -> Option<bool> {
    let registers = Registers::new(config, bdf);
    let vendor = registers.u16(header::VENDOR_ID);
    // Zero and one are not vendors: a function that is not ready, or a broken bus.
    (vendor != 0xffff && vendor > 1).then(|| registers.u8(header::HEADER_TYPE) & MULTI_FUNCTION != 0)
}

/// The buses behind a bridge, if they can be followed.
fn follow(
    config: &impl ConfigAccess,
    function: &Function,
    bus: &Bus,
    claimed: &mut Vec<(u16, u8, u8)>,
    problems: &mut Vec<Problem>,
) -> Option<BusRange> {
    if !function.kind.is_bridge() {
        return None;
    }
    let registers = Registers::new(config, function.bdf);
    let secondary = registers.u8(header::SECONDARY_BUS);
    let subordinate = registers.u8(header::SUBORDINATE_BUS);
    let overlaps = |&(segment, first, last): &(u16, u8, u8)| {
        // A bridge lies inside the range of the one above it, which is no conflict.
        let above = first <= function.bdf.bus() && subordinate <= last;
        segment == bus.segment && first <= subordinate && secondary <= last && !above
    };
    let fault = if secondary == 0 {
        BridgeFault::Unconfigured
    } else if secondary <= function.bdf.bus() || subordinate < secondary {
        BridgeFault::Backwards
    } else if subordinate > bus.last {
        BridgeFault::Outside
    } else if claimed.iter().any(overlaps) {
        BridgeFault::Taken
    } else {
        claimed.push((bus.segment, secondary, subordinate));
        return Some(BusRange {
            secondary,
            subordinate,
        });
    };
    problems.push(Problem {
        function: function.bdf,
        kind: ProblemKind::Bridge {
            secondary,
            subordinate,
            fault,
        },
    });
    None
}

/// Decodes the function at `bdf`; what a virtual function does not say of itself is in `given`.
pub(super) fn describe(
    config: &impl ConfigAccess,
    bdf: Bdf,
    parent: Option<(Bdf, PortKind)>,
    given: Option<sriov::VirtualFunction>,
    problems: &mut Vec<Problem>,
) -> Function {
    let registers = Registers::new(config, bdf);
    let mut malformed = false;
    let mut problem = |kind| {
        malformed = true;
        problems.push(Problem { function: bdf, kind });
    };
    let layout = registers.u8(header::HEADER_TYPE) & !MULTI_FUNCTION;
    let class_revision = registers.u32(header::CLASS_REVISION);
    let id = given.as_ref().map_or_else(
        || (registers.u16(header::VENDOR_ID), registers.u16(header::DEVICE_ID)),
        |given| given.id,
    );
    let capabilities = capability::standard(&registers, &mut problem);
    let at = |wanted| {
        capabilities
            .iter()
            .find(|entry| entry.id == wanted)
            .map(|entry| entry.offset)
    };
    let express = at(id::EXPRESS).map(|offset| capability::decode_express(&registers, offset));
    let extended = match express {
        Some(_) => capability::extended(&registers, &mut problem),
        None => Vec::new(),
    };
    let extended_at = |wanted| {
        extended
            .iter()
            .find(|entry| entry.id == wanted)
            .map(|entry| entry.offset)
    };
    let port_type = express.map(|express| express.port_type);
    let kind = kind(layout, class_revision >> 8, port_type, &mut problem);
    let bar_count = match layout {
        0 => 6,
        1 => 2,
        _ => 0,
    };
    let physical_function = given.as_ref().map(|given| given.physical);
    let (bars, bar_faults) = match given {
        Some(given) => (given.bars, Vec::new()),
        None => bar::size(config, bdf, bar_count),
    };
    let rom = match (layout, physical_function) {
        (0, None) => find_rom(config, bdf),
        _ => None,
    };
    // A register that does not decode hides a region from the guest; it does not make the function unusable.
    let (pm, af) = (
        at(id::PM).map(|offset| capability::decode_pm(&registers, offset)),
        at(id::AF).map(|offset| capability::decode_af(&registers, offset)),
    );
    let msi = at(id::MSI).and_then(|offset| noted(capability::decode_msi(&registers, offset), &mut problem));
    let msix = at(id::MSIX)
        .and_then(|offset| noted(capability::decode_msix(&registers, offset, &bars), &mut problem));
    let virtio = virtio::decode(&registers, id, &capabilities, &bars);
    // A virtual function has none of its own.
    let claims = extended_at(extended::SRIOV)
        .filter(|_| physical_function.is_none())
        .map(|offset| sriov::decode(&registers, offset));
    let not_assignable = if malformed {
        Some(NotAssignable::Malformed)
    } else if virtio.is_some_and(|virtio| !virtio.is_modern()) {
        Some(NotAssignable::BypassesIommu)
    } else {
        None
    };
    // A bus reset would take the physical function along.
    let port = parent.filter(|_| physical_function.is_none());
    let resets = resets(&registers, express.map(|express| express.offset), pm, af, port);
    problems.extend(bar_faults.iter().map(|&fault| Problem {
        function: bdf,
        kind: ProblemKind::Bar(fault),
    }));
    Function {
        bdf,
        vendor: id.0,
        device: id.1,
        class: class_revision >> 8,
        revision: class_revision as u8,
        subsystem: if layout == 0 {
            registers.u32(header::SUBSYSTEM)
        } else {
            0
        },
        // Virtual functions have no INTx; some say that they do.
        interrupt_pin: match physical_function {
            None => registers.u8(header::INTERRUPT_PIN).min(4),
            Some(_) => 0,
        },
        kind,
        parent: parent.map(|(bridge, _)| bridge),
        buses: None,
        acs: extended_at(extended::ACS).map(|offset| (offset, acs::read(config, bdf, offset))),
        bars: bar::keep_restored(bars, &bar_faults),
        bar_faults,
        rom,
        capabilities,
        extended,
        express,
        pm,
        af,
        msi,
        msix,
        sriov: claims,
        physical_function,
        virtio,
        resets,
        not_assignable,
    }
}

fn noted<T>(result: Result<T, ProblemKind>, problem: &mut impl FnMut(ProblemKind)) -> Option<T> {
    result.map_err(problem).ok()
}

/// Class code of a host bridge.
const CLASS_HOST_BRIDGE: u32 = 0x0600;

/// What a function is. Where header and capability disagree, the header decides whether anything is behind it.
fn kind(layout: u8, class: u32, port_type: Option<u8>, problem: &mut impl FnMut(ProblemKind)) -> PortKind {
    match (layout, port_type) {
        (0, None) if class >> 8 == CLASS_HOST_BRIDGE => PortKind::HostBridge,
        (0, None) => PortKind::ConventionalEndpoint,
        (0, Some(0 | 1)) => PortKind::Endpoint,
        (0, Some(9 | 0xa)) => PortKind::RootComplexEndpoint,
        (1, None) => PortKind::ConventionalBridge,
        (1, Some(4)) => PortKind::RootPort,
        (1, Some(5)) => PortKind::UpstreamPort,
        (1, Some(6)) => PortKind::DownstreamPort,
        (1, Some(7)) => PortKind::PcieToPciBridge,
        (1, Some(8)) => PortKind::PciToPcieBridge,
        (0 | 1, Some(port_type)) => {
            problem(ProblemKind::PortType { port_type });
            if layout == 0 {
                PortKind::Endpoint
            } else {
                PortKind::ConventionalBridge
            }
        }
        _ => {
            problem(ProblemKind::Header(layout));
            PortKind::ConventionalEndpoint
        }
    }
}

fn resets<C: ConfigAccess>(
    registers: &Registers<'_, C>,
    express: Option<u16>,
    pm: Option<super::PowerManagement>,
    af: Option<super::AdvancedFeatures>,
    parent: Option<(Bdf, PortKind)>,
) -> ResetMethods {
    let mut resets = ResetMethods::empty();
    let flr = express.is_some_and(|offset| {
        registers.u32(offset + express::DEVICE_CAPABILITIES) & express::DEVICE_CAPABILITIES_FLR != 0
    });
    resets.set(ResetMethods::FLR, flr);
    resets.set(ResetMethods::AF_FLR, af.is_some_and(|af| af.flr));
    resets.set(ResetMethods::PM, pm.is_some_and(|pm| !pm.no_soft_reset));
    // An upstream port's secondary bus is inside the switch: a reset there takes all its downstream ports along.
    resets.set(
        ResetMethods::BUS,
        parent.is_some_and(|(_, kind)| kind != PortKind::UpstreamPort),
    );
    resets
}
