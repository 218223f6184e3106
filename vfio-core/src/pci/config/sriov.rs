//! SR-IOV: what a physical function says of its virtual functions (PCI Express Base Specification 6.0, chapter 9).
//!
//! A virtual function does not say who it is: its ids and base address registers read as ones and zeros. Where it is,
//! what it is and where it decodes all comes from the physical function, and none of that is trusted: it could claim
//! the addresses of somebody else's functions. Virtual functions are listed where somebody has turned them on.

use super::bar::{self, Bar};
use super::scan::{Problem, ProblemKind, Scan, SegmentWindow, describe};
use super::{ConfigAccess, Function, Registers};
use crate::pci::spec::{MULTI_FUNCTION, header, sriov};
use crate::pci::{Bdf, BusRange, NotAssignable};
use alloc::vec::Vec;

/// Virtual functions that are listed in a machine: a function may claim 65535, each of which takes memory.
const MOST: usize = 512;

/// The SR-IOV capability of a physical function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrIov {
    /// Where it is.
    pub offset: u16,
    /// How many virtual functions there can be.
    pub total: u16,
    /// Whether somebody has turned them on.
    pub on: bool,
    /// How many there are while they are on.
    pub count: u16,
    /// From the physical function's routing id to that of the first one.
    pub first: u16,
    /// From the routing id of one to that of the next.
    pub stride: u16,
    /// Their device id; the vendor id is the physical function's.
    pub device: u16,
    /// Base address registers of the first virtual function; `size` is what one virtual function has.
    pub bars: Vec<Bar>,
}

/// Why the virtual functions of a physical function are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrIovFault {
    /// Only endpoints have virtual functions.
    #[error("it is no endpoint")]
    NoEndpoint,
    /// They are on, and none is there, or more than there can be.
    #[error("{enabled} of at most {total} virtual functions are on")]
    Count {
        /// How many are on.
        enabled: u16,
        /// How many there can be.
        total: u16,
    },
    /// More than this walk lists.
    #[error("{0} virtual functions are on; at most {MOST} are listed in a machine")]
    TooMany(u16),
    /// The first one would be the physical function itself, or several would have one address.
    #[error("offset {first:#x} and stride {stride:#x} give several functions one address")]
    Step {
        /// From the physical function to the first.
        first: u16,
        /// From one to the next.
        stride: u16,
    },
    /// An address beyond the buses that lead to the physical function.
    #[error("virtual function {number} would be beyond the buses of its segment or of the bridge above")]
    Beyond {
        /// Which, from 0.
        number: u16,
    },
    /// An address that is somebody else's.
    #[error("virtual function {number} would be {at}, which is taken")]
    Taken {
        /// Which, from 0.
        number: u16,
        /// Where.
        at: Bdf,
    },
    /// A base address register that runs over the end of the address space with all the virtual functions.
    #[error("BAR {index} of {enabled} virtual functions runs over the end of the address space")]
    Bar {
        /// Which.
        index: u8,
        /// How many virtual functions.
        enabled: u16,
    },
}

/// Decodes the capability at `offset`. The virtual functions do not answer while their registers are sized.
pub(super) fn decode<C: ConfigAccess>(registers: &Registers<'_, C>, offset: u16) -> SrIov {
    let control = registers.u16(offset + sriov::CONTROL);
    registers.set_u16(offset + sriov::CONTROL, control & !sriov::VF_MEMORY);
    let (bars, faults) = bar::size_at(registers, offset + sriov::BAR0, 6);
    registers.set_u16(offset + sriov::CONTROL, control);
    SrIov {
        offset,
        total: registers.u16(offset + sriov::TOTAL_VFS),
        on: control & sriov::VF_ENABLE != 0,
        count: registers.u16(offset + sriov::NUM_VFS),
        first: registers.u16(offset + sriov::FIRST_OFFSET),
        stride: registers.u16(offset + sriov::STRIDE),
        device: registers.u16(offset + sriov::DEVICE_ID),
        bars: bar::keep_restored(bars, &faults),
    }
}

/// The virtual functions that are on. A physical function whose claims cannot be true, or of whose virtual functions one
/// is not there, is given to nobody, and neither is what is not listed: no requester id but a listed one reaches memory.
pub(super) fn find(config: &impl ConfigAccess, windows: &[SegmentWindow], scan: &mut Scan) -> Vec<Function> {
    let mut listed: Vec<Function> = Vec::new();
    let (problems, functions) = (&mut scan.problems, &scan.functions);
    let mut unlisted: Vec<(Bdf, NotAssignable)> = Vec::new();
    for physical in functions {
        let above = functions.iter().find(|above| Some(above.bdf) == physical.parent);
        let parent = above.map(|above| (above.bdf, above.kind));
        let window = windows.iter().find(|window| {
            window.segment == physical.bdf.segment()
                && (window.bus_start..=window.bus_end).contains(&physical.bdf.bus())
        });
        let below_bridge = above.and_then(|above| above.buses).map(|buses| buses.subordinate);
        let last = below_bridge.or(window.map(|window| window.bus_end));
        let claimed = list(physical, last.unwrap_or(physical.bdf.bus()), functions, &listed);
        let claimed = claimed.unwrap_or_else(|fault| {
            let kind = ProblemKind::VirtualFunctions(fault);
            problems.push(Problem {
                function: physical.bdf,
                kind,
            });
            unlisted.push((physical.bdf, NotAssignable::Malformed));
            Vec::new()
        });
        for virtual_function in claimed {
            let bdf = virtual_function.bdf;
            let registers = Registers::new(config, bdf);
            let endpoint = registers.u8(header::HEADER_TYPE) & !MULTI_FUNCTION == 0;
            if endpoint && registers.u32(header::CLASS_REVISION) != u32::MAX {
                let mut function = describe(config, bdf, parent, Some(virtual_function), problems);
                if !function.kind.is_endpoint() {
                    function.kind = physical.kind;
                }
                listed.push(function);
            } else {
                let kind = ProblemKind::NotVirtual {
                    physical: physical.bdf,
                };
                problems.push(Problem { function: bdf, kind });
                unlisted.push((physical.bdf, NotAssignable::HasVirtualFunctions));
            }
        }
    }
    for (bdf, reason) in unlisted {
        for function in &mut scan.functions {
            if function.bdf == bdf {
                function.not_assignable.get_or_insert(reason);
            }
        }
    }
    listed
}

/// A virtual function as its physical function describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VirtualFunction {
    pub(super) bdf: Bdf,
    pub(super) physical: Bdf,
    pub(super) id: (u16, u16),
    pub(super) bars: Vec<Bar>,
}

/// The virtual functions of `physical` that are on, if they can all be where it says; `last` is the last bus that can be
/// reached where it is, and `others` are all functions that were found.
fn list(
    physical: &Function,
    last: u8,
    others: &[Function],
    listed: &[Function],
) -> Result<Vec<VirtualFunction>, SrIovFault> {
    let Some(claims) = physical.sriov.as_ref().filter(|claims| claims.on) else {
        return Ok(Vec::new());
    };
    let enabled = claims.count;
    if !physical.kind.is_endpoint() {
        return Err(SrIovFault::NoEndpoint);
    }
    if enabled == 0 || enabled > claims.total {
        return Err(SrIovFault::Count {
            enabled,
            total: claims.total,
        });
    }
    if claims.first == 0 || (claims.stride == 0 && enabled > 1) {
        return Err(SrIovFault::Step {
            first: claims.first,
            stride: claims.stride,
        });
    }
    if listed.len() + usize::from(enabled) > MOST {
        return Err(SrIovFault::TooMany(enabled));
    }
    (0..enabled)
        .map(|number| {
            let routing = u32::from(physical.bdf.requester_id())
                + u32::from(claims.first)
                + u32::from(number) * u32::from(claims.stride);
            let at = u16::try_from(routing)
                .map(|id| Bdf::from_requester_id(physical.bdf.segment(), id))
                .ok()
                .filter(|at| at.bus() <= last)
                .ok_or(SrIovFault::Beyond { number })?;
            if others.iter().any(|other| occupies(other, physical.bdf, at))
                || listed.iter().any(|other| other.bdf == at)
            {
                return Err(SrIovFault::Taken { number, at });
            }
            let bars = claims
                .bars
                .iter()
                .map(|bar| placed(bar, number, enabled))
                .collect::<Result<Vec<Bar>, SrIovFault>>()?;
            Ok(VirtualFunction {
                bdf: at,
                physical: physical.bdf,
                id: (physical.vendor, claims.device),
                bars,
            })
        })
        .collect()
}

/// Whether `other` is at `at`, or leads there and not to the physical function as well.
fn occupies(other: &Function, physical: Bdf, at: Bdf) -> bool {
    let leads = |range: BusRange, bus: u8| (range.secondary..=range.subordinate).contains(&bus);
    other.bdf.segment() == at.segment()
        && (other.bdf == at
            || other
                .buses
                .is_some_and(|range| leads(range, at.bus()) && !leads(range, physical.bus())))
}

/// The register of virtual function `number` of `enabled`: one after the other (section 9.3.3.14).
fn placed(bar: &Bar, number: u16, enabled: u16) -> Result<Bar, SrIovFault> {
    let limit = match bar.kind {
        super::BarKind::Memory { wide: false, .. } => 1 << 32,
        _ => u64::MAX,
    };
    let end = bar
        .size
        .checked_mul(enabled.into())
        .and_then(|all| bar.address.checked_add(all));
    if bar.address == 0 || end.is_some_and(|end| end <= limit) {
        let step = if bar.address == 0 {
            0
        } else {
            bar.size * u64::from(number)
        };
        Ok(Bar {
            address: bar.address + step,
            ..*bar
        })
    } else {
        Err(SrIovFault::Bar {
            index: bar.index,
            enabled,
        })
    }
}
