//! A virtio-iommu as a unit of the registry: requesters have endpoint ids by VIOT, and domains are numbered by the device's
//! range.
#![expect(
    unsafe_code,
    reason = "promises isolation to the registry, which memory safety rests on"
)]

use super::{Channel, Error, VirtioIommu};
use crate::acpi::{EndpointId, Viot};
use crate::iommu::{FaultRecord, Taken, Unit};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use vfio_core::domain::{IovaRange, ReservedRegion, UnitLimits};
use vfio_core::{DomainId, Fault, Mapping, Requester};

/// The device's part of a domain.
#[derive(Debug)]
struct Part {
    /// What the device calls it.
    own: DomainId,
    /// Who may be in it.
    endpoints: BTreeSet<EndpointId>,
}

/// A virtio-iommu, and what VIOT says of it.
#[derive(Debug)]
pub struct VirtioUnit<C> {
    iommu: VirtioIommu<C>,
    viot: Viot,
    /// Which of the table's IOMMUs it is.
    index: usize,
    parts: BTreeMap<DomainId, Part>,
}

impl<C: Channel> VirtioUnit<C> {
    /// `iommu` is number `index` of `viot`.
    pub const fn new(iommu: VirtioIommu<C>, viot: Viot, index: usize) -> Self {
        Self {
            iommu,
            viot,
            index,
            parts: BTreeMap::new(),
        }
    }

    fn endpoint(&self, requester: Requester) -> Result<EndpointId, Fault> {
        let found = requester.pci().and_then(|bdf| self.viot.endpoint(bdf));
        found
            .filter(|(index, _)| *index == self.index)
            .map(|(_, endpoint)| endpoint)
            .ok_or(Fault::Unknown)
    }

    fn own(&self, domain: DomainId) -> Result<DomainId, Fault> {
        self.parts.get(&domain).map(|part| part.own).ok_or(Fault::Unknown)
    }
}

/// What `vfio-core` can say of it, after the log has all of it.
fn logged<R>(result: Result<R, Error>) -> Result<R, Fault> {
    result.map_err(|error| {
        log::warn!("{error}");
        error.into()
    })
}

// SAFETY: the device is told every change, and has answered before a change is `Ok`. The driver attaches endpoints to no
// domain but the quarantine, which maps nothing, and the one asked for; it tells the device exactly the mappings that it was
// given; it leaves a domain by DETACH, which destroys the domain with its last endpoint; `bypass` is off.
unsafe impl<C: Channel> Unit for VirtioUnit<C> {
    fn name(&self) -> String {
        match self.viot.iommus.get(self.index) {
            Some(crate::acpi::IommuLocation::Pci(bdf)) => alloc::format!("the virtio-iommu {bdf}"),
            _ => String::from("the virtio-iommu"),
        }
    }

    fn covers(&self, requester: Requester) -> bool {
        self.endpoint(requester).is_ok()
    }

    fn limits(&self) -> UnitLimits {
        self.iommu.limits()
    }

    fn reserved(&self, requester: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        let properties = self.iommu.properties(self.endpoint(requester)?);
        properties
            .map(|properties| properties.reserved.clone())
            .ok_or(Fault::Unknown)
    }

    fn attach(&mut self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        let endpoint = self.endpoint(requester)?;
        let part = match self.parts.entry(domain) {
            alloc::collections::btree_map::Entry::Occupied(part) => part.into_mut(),
            alloc::collections::btree_map::Entry::Vacant(place) => place.insert(Part {
                own: logged(self.iommu.create_domain())?,
                endpoints: BTreeSet::new(),
            }),
        };
        part.endpoints.insert(endpoint);
        let own = part.own;
        logged(self.iommu.attach(own, endpoint))
    }

    fn quarantine(&mut self, requester: Requester) -> Result<(), Fault> {
        let endpoint = self.endpoint(requester)?;
        logged(self.iommu.quarantine(endpoint))?;
        let mut empty = Vec::new();
        for (domain, part) in &mut self.parts {
            if part.endpoints.remove(&endpoint) && part.endpoints.is_empty() {
                empty.push(*domain);
            }
        }
        for domain in empty {
            if let Some(part) = self.parts.remove(&domain) {
                logged(self.iommu.destroy_domain(part.own))?;
            }
        }
        Ok(())
    }

    fn map(&mut self, domain: DomainId, mapping: Mapping) -> Result<(), Fault> {
        let own = self.own(domain)?;
        logged(self.iommu.map(own, mapping))
    }

    fn unmap(&mut self, domain: DomainId, range: IovaRange) -> Result<(), Fault> {
        let own = self.own(domain)?;
        logged(self.iommu.unmap(own, range))
    }

    fn commands(&self) -> u64 {
        self.iommu.requests()
    }

    fn take_faults(&mut self, pass: &mut dyn FnMut(FaultRecord)) -> Result<Taken, Fault> {
        let Self {
            iommu, viot, index, ..
        } = self;
        let taken = iommu.take_faults(&mut |fault| {
            let requester = viot.function(*index, fault.endpoint).map(Requester::from);
            pass(FaultRecord {
                requester,
                address: fault.address,
                access: fault.access,
                reason: fault.reason,
            });
        });
        logged(taken)
    }
}
