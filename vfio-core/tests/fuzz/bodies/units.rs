//! Two IOMMU units that hold the library to what hardware relies on, and fail where they are told to.

#![expect(unsafe_code, reason = "DmaDomains promises isolation")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use vfio_core::addr::Iova;
use vfio_core::cohort::ResetAction;
use vfio_core::domain::{IovaRange, ReservedKind, ReservedRegion, SMALLEST, UnitId, UnitLimits};
use vfio_core::lease::{DeviceOps, DmaDomains, Interrupts, Quiesce, Reset};
use vfio_core::{DeviceId, DomainId, Fault, Mapping, Owner, Requester};

/// Bytes of a page of unit 1.
const LARGE: u64 = 0x1_0000;

#[derive(Default)]
pub(super) struct Units {
    /// How many calls are still well before one fails.
    countdown: Cell<Option<u8>>,
    /// Whether a failing call does its work nevertheless.
    late: Cell<bool>,
    failed: Cell<bool>,
    attached: RefCell<BTreeMap<Requester, DomainId>>,
    mapped: RefCell<BTreeMap<UnitId, BTreeMap<Iova, Mapping>>>,
}

/// The reserved region that a requester behind unit 0 with an odd device number has.
fn region(requester: Requester) -> Option<IovaRange> {
    let bdf = requester.pci()?;
    let page = |page: u64| Iova(page * SMALLEST);
    (bdf.device() == 1).then(|| IovaRange::inclusive(page(7), Iova(8 * SMALLEST - 1)))?
}

fn unit(requester: Requester) -> UnitId {
    UnitId(u32::from(requester.pci().is_some_and(|bdf| bdf.device() > 2)))
}

impl Units {
    /// The call after `countdown` others fails, once; `late` says that it does its work all the same.
    pub(super) fn fail(&self, countdown: Option<u8>, late: bool) {
        self.countdown.set(countdown);
        self.late.set(late);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// What devices reach, by unit.
    pub(super) fn reached(&self) -> Vec<(UnitId, Mapping)> {
        let mapped = self.mapped.borrow();
        let each = |(unit, mappings): (&UnitId, &BTreeMap<Iova, Mapping>)| -> Vec<(UnitId, Mapping)> {
            mappings.values().map(|mapping| (*unit, *mapping)).collect()
        };
        mapped.iter().flat_map(each).collect()
    }

    /// Units with a requester in a domain.
    pub(super) fn in_use(&self) -> Vec<UnitId> {
        let mut units: Vec<UnitId> = self
            .attached
            .borrow()
            .keys()
            .map(|requester| unit(*requester))
            .collect();
        units.sort_unstable();
        units.dedup();
        units
    }

    fn step(&self, work: impl FnOnce()) -> Result<(), Fault> {
        let fails = self.countdown.get() == Some(0);
        self.countdown
            .set(self.countdown.get().and_then(|left| left.checked_sub(1)));
        if !fails || self.late.get() {
            work();
        }
        if fails {
            self.failed.set(true);
            return Err(Fault::TimedOut);
        }
        Ok(())
    }
}

// SAFETY: there is no memory that a device could reach.
unsafe impl DmaDomains for Units {
    fn unit_of(&self, requester: Requester) -> Result<UnitId, Fault> {
        Ok(unit(requester))
    }

    fn limits(&self, unit: UnitId) -> Result<UnitLimits, Fault> {
        let mut limits = UnitLimits::any();
        if unit == UnitId(1) {
            limits.page_sizes = !(LARGE - 1);
        }
        Ok(limits)
    }

    fn reserved(&self, requester: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        let kind = ReservedKind::Reserved;
        let region = region(requester).map(|range| ReservedRegion { kind, range });
        Ok(region.into_iter().collect())
    }

    fn create_domain(&self, _: Owner) -> Result<DomainId, Fault> {
        Ok(DomainId(0))
    }

    fn destroy_domain(&self, _: DomainId) -> Result<(), Fault> {
        assert!(self.attached.borrow().is_empty(), "destroyed under a requester");
        Ok(())
    }

    fn map(&self, at: UnitId, _: DomainId, mapping: Mapping) -> Result<(), Fault> {
        let attached = self.attached.borrow();
        let behind = || attached.keys().filter(|requester| unit(**requester) == at);
        assert!(behind().next().is_some(), "{at} has nobody in the domain");
        if at == UnitId(1) {
            assert!((mapping.iova.0 | mapping.host.0 | mapping.size).is_multiple_of(LARGE));
        }
        let Ok(range) = mapping.range() else {
            panic!("{mapping:?}")
        };
        assert!(
            !behind()
                .filter_map(|requester| region(*requester))
                .any(|region| region.meets(range))
        );
        self.step(|| {
            self.mapped
                .borrow_mut()
                .entry(at)
                .or_default()
                .insert(mapping.iova, mapping);
        })
    }

    fn unmap(&self, at: UnitId, _: DomainId, range: IovaRange) -> Result<(), Fault> {
        self.step(|| {
            if let Some(mapped) = self.mapped.borrow_mut().get_mut(&at) {
                mapped.retain(|_, mapping| {
                    let inside = mapping.last().is_some_and(|last| range.contains(last));
                    assert_eq!(range.contains(mapping.iova), inside, "{mapping:?} is split");
                    !inside
                });
            }
        })
    }

    fn attach(&self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        self.step(|| {
            let before = self.attached.borrow_mut().insert(requester, domain);
            assert_eq!(before, None, "attached twice");
        })
    }

    fn quarantine(&self, requester: Requester) -> Result<(), Fault> {
        self.step(|| {
            self.attached.borrow_mut().remove(&requester);
            if !self.in_use().contains(&unit(requester)) {
                self.mapped.borrow_mut().remove(&unit(requester));
            }
        })
    }
}

impl Quiesce for Units {
    fn quiesce(&self, _: DeviceId) -> Result<(), Fault> {
        self.step(|| {})
    }
}

impl Reset for Units {
    fn reset(&self, _: &ResetAction) -> Result<(), Fault> {
        self.step(|| {})
    }

    fn check_alive(&self, _: DeviceId) -> Result<(), Fault> {
        self.step(|| {})
    }
}

impl Interrupts for Units {
    fn interrupts_isolated(&self) -> bool {
        true
    }

    fn enable_interrupts(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        self.step(|| {})
    }

    fn release_interrupts(&self, _: DeviceId) -> Result<(), Fault> {
        self.step(|| {})
    }
}

impl DeviceOps for Units {
    fn open_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        self.step(|| {})
    }

    fn close_device(&self, _: DeviceId, _: Owner) -> Result<(), Fault> {
        self.step(|| {})
    }
}
