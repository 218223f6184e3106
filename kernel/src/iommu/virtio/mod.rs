//! Driver for the virtio IOMMU device (virtio 1.2, section 5.13).
//!
//! The driver's first act is to turn off `bypass`, so that an endpoint that nobody has spoken of reaches nothing. Every
//! endpoint then goes into one shared domain that maps nothing, the quarantine, and comes back there whenever its
//! cohort closes. Leaving a domain is always an explicit DETACH: the specification says that a domain vanishes with
//! its last endpoint, and QEMU 7.2 keeps it with its mappings if that endpoint merely attaches elsewhere.
//!
//! The device is trusted to translate, not to answer well. The first answer that breaks the specification puts the
//! driver out of service for good ([`Error::Broken`]): what is in quarantine stays there, and nothing new opens.

mod channel;
mod domain;
mod error;
mod faults;
mod init;
mod pci;
mod properties;
mod request;
#[cfg(test)]
pub(crate) mod tests;

pub use channel::{CONFIG_BYTES, Channel, ChannelError, FAULT_BYTES, MAX_MESSAGE};
pub use domain::Geometry;
pub use error::{Error, InitError, Misbehaviour, Request, Status};
pub use faults::FaultSummary;
pub use pci::{PciChannel, PciChannelError};
pub use properties::{EndpointProperties, ReservedKind, ReservedRegion};

use super::Storm;
use crate::acpi::EndpointId;
use crate::addr::Iova;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use domain::Domain;
use vfio_core::{DomainId, Mapping};

/// A virtio-iommu that denies everything but what is mapped.
#[derive(Debug)]
pub struct VirtioIommu<C> {
    channel: C,
    geometry: Geometry,
    /// First and last domain number, inclusive; the first is the quarantine.
    domains_range: (u32, u32),
    probe_size: Option<u32>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    domains: BTreeMap<DomainId, Domain>,
    next_domain: u32,
    broken: Option<Misbehaviour>,
    requests: u64,
    storm: Storm,
    malformed_faults: u64,
}

/// What the driver knows of an endpoint.
#[derive(Debug)]
struct Endpoint {
    properties: EndpointProperties,
    place: Place,
}

/// Where an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In no domain: its accesses fault, since `bypass` is off.
    Nowhere,
    Quarantine,
    Domain(DomainId),
}

impl<C: Channel> VirtioIommu<C> {
    /// Requests sent so far.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// What every region must keep to.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// How the device broke the specification, if it did.
    #[must_use]
    pub const fn broken(&self) -> Option<Misbehaviour> {
        self.broken
    }

    /// What the device says of an endpoint that was put into quarantine.
    #[must_use]
    pub fn properties(&self, endpoint: EndpointId) -> Option<&EndpointProperties> {
        self.endpoints.get(&endpoint).map(|endpoint| &endpoint.properties)
    }

    /// Asks the device for the properties of `endpoint`; none if the device cannot be asked.
    ///
    /// # Errors
    ///
    /// If the device refuses (an endpoint that does not exist) or misbehaves.
    pub fn probe(&mut self, endpoint: EndpointId) -> Result<EndpointProperties, Error> {
        let Some(size) = self.probe_size else {
            return Ok(EndpointProperties::default());
        };
        let bytes = self.send_probe(endpoint, size as usize)?;
        properties::parse(&bytes)
            .map_err(|offset| self.break_down(Misbehaviour::Properties { endpoint, offset }))
    }

    /// Puts `endpoint` where it reaches no memory at all, from wherever it is. The first time it is probed, too.
    ///
    /// When this is `Ok`, the device has finished with whatever the endpoint could reach before.
    ///
    /// # Errors
    ///
    /// If the device refuses or misbehaves. After the DETACH has succeeded the endpoint is denied in any case.
    pub fn quarantine(&mut self, endpoint: EndpointId) -> Result<(), Error> {
        self.check_service()?;
        let place = match self.endpoints.get(&endpoint) {
            Some(known) => known.place,
            None => {
                let properties = self.probe(endpoint)?;
                self.endpoints.insert(
                    endpoint,
                    Endpoint {
                        properties,
                        place: Place::Nowhere,
                    },
                );
                Place::Nowhere
            }
        };
        match place {
            Place::Quarantine => return Ok(()),
            Place::Nowhere => {}
            Place::Domain(domain) => {
                self.send_detach(domain, endpoint)?;
                if let Some(left) = self.domains.get_mut(&domain) {
                    left.endpoints.remove(&endpoint);
                }
                self.set_place(endpoint, Place::Nowhere);
            }
        }
        self.send_attach(self.quarantine_domain(), endpoint)?;
        self.set_place(endpoint, Place::Quarantine);
        Ok(())
    }

    /// A new domain that maps nothing. The device hears of it with the first endpoint.
    ///
    /// # Errors
    ///
    /// If no number is left, or the device is out of service.
    pub fn create_domain(&mut self) -> Result<DomainId, Error> {
        self.check_service()?;
        let (first, last) = self.domains_range;
        // The quarantine has the first number. Numbers are given in turn, so that one comes back as late as can be.
        let span = u64::from(last) - u64::from(first);
        if self.domains.len() as u64 >= span {
            return Err(Error::NoDomains);
        }
        let mut number = self.next_domain;
        // Fewer domains exist than numbers, so a free one comes within that many steps.
        for _ in 0..=self.domains.len() {
            if number <= first || number > last {
                number = first + 1;
            }
            if !self.domains.contains_key(&DomainId(number)) {
                break;
            }
            number = number.wrapping_add(1);
        }
        self.next_domain = number.wrapping_add(1);
        self.domains.insert(DomainId(number), Domain::default());
        Ok(DomainId(number))
    }

    /// Forgets a domain with all its mappings.
    ///
    /// # Errors
    ///
    /// If it does not exist or has endpoints.
    pub fn destroy_domain(&mut self, domain: DomainId) -> Result<(), Error> {
        match self.domains.get(&domain) {
            None => Err(Error::UnknownDomain(domain)),
            Some(found) if !found.endpoints.is_empty() => Err(Error::DomainInUse(domain)),
            Some(_) => {
                self.domains.remove(&domain);
                Ok(())
            }
        }
    }

    /// Maps one region, by one request whatever its size; none while the domain has no endpoint.
    ///
    /// # Errors
    ///
    /// If the region does not fit the device, an attached endpoint or the domain, or the device refuses or misbehaves.
    /// Nothing is mapped then.
    pub fn map(&mut self, domain: DomainId, region: Mapping) -> Result<(), Error> {
        self.check_service()?;
        let found = self.domains.get(&domain).ok_or(Error::UnknownDomain(domain))?;
        let end = self.geometry.check(&region)?;
        found.check_free(region.iova.0, end)?;
        for endpoint in &found.endpoints {
            self.check_reserved(*endpoint, region.iova, end)?;
        }
        if !found.endpoints.is_empty() {
            self.send_map(domain, &region, end)?;
        }
        if let Some(found) = self.domains.get_mut(&domain) {
            found.insert(region, end);
        }
        Ok(())
    }

    /// Unmaps everything inside a range, by one request. Holes are fine, a mapping that sticks out is not.
    ///
    /// # Errors
    ///
    /// If a mapping would be split (nothing is unmapped then), or the device refuses or misbehaves (the mappings
    /// count as still there then).
    pub fn unmap(&mut self, domain: DomainId, iova: Iova, size: u64) -> Result<(), Error> {
        self.check_service()?;
        let found = self.domains.get(&domain).ok_or(Error::UnknownDomain(domain))?;
        let end = self.geometry.check_range(iova, size)?;
        if !found.check_whole(iova.0, end)? {
            return Ok(());
        }
        if !found.endpoints.is_empty() {
            self.send_unmap(domain, iova.0, end)?;
        }
        if let Some(found) = self.domains.get_mut(&domain) {
            found.remove(iova.0, end);
        }
        Ok(())
    }

    /// Moves `endpoint` from quarantine to `domain`.
    ///
    /// # Errors
    ///
    /// If the endpoint is elsewhere, a mapping meets what is reserved for it, or the device refuses or misbehaves. The
    /// endpoint is then back in quarantine, or denied because it is in no domain; unless the device is out of
    /// service, when it reaches at most what `domain` maps.
    pub fn attach(&mut self, domain: DomainId, endpoint: EndpointId) -> Result<(), Error> {
        self.check_service()?;
        let found = self.domains.get(&domain).ok_or(Error::UnknownDomain(domain))?;
        let known = self
            .endpoints
            .get(&endpoint)
            .ok_or(Error::UnknownEndpoint(endpoint))?;
        match known.place {
            Place::Domain(same) if same == domain => return Ok(()),
            Place::Domain(other) => {
                return Err(Error::Attached {
                    endpoint,
                    domain: other,
                });
            }
            Place::Nowhere => return Err(Error::UnknownEndpoint(endpoint)),
            Place::Quarantine => {}
        }
        for (end, region) in found.mappings() {
            self.check_reserved(endpoint, region.iova, end)?;
        }
        let first = found.endpoints.is_empty();
        let mappings: Vec<(u64, Mapping)> = if first {
            found.mappings().map(|(end, region)| (end, *region)).collect()
        } else {
            Vec::new()
        };
        self.send_attach(domain, endpoint)?;
        self.set_place(endpoint, Place::Domain(domain));
        if let Some(found) = self.domains.get_mut(&domain) {
            found.endpoints.insert(endpoint);
        }
        for (end, region) in mappings {
            if let Err(error) = self.send_map(domain, &region, end) {
                // Whether this works or not, the first error is the one to tell.
                let _ = self.quarantine(endpoint);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes `endpoint` out of `domain` and back into quarantine.
    ///
    /// # Errors
    ///
    /// As [`quarantine`](Self::quarantine); also if the endpoint is in another domain.
    pub fn detach(&mut self, domain: DomainId, endpoint: EndpointId) -> Result<(), Error> {
        match self.endpoints.get(&endpoint).map(|known| known.place) {
            Some(Place::Domain(found)) if found == domain => self.quarantine(endpoint),
            Some(Place::Domain(other)) => Err(Error::Attached {
                endpoint,
                domain: other,
            }),
            Some(Place::Quarantine) => Ok(()),
            Some(Place::Nowhere) | None => Err(Error::UnknownEndpoint(endpoint)),
        }
    }

    fn check_service(&self) -> Result<(), Error> {
        self.broken.map_or(Ok(()), |how| Err(Error::Broken(how)))
    }

    /// Puts the driver out of service.
    fn break_down(&mut self, how: Misbehaviour) -> Error {
        Error::Broken(*self.broken.get_or_insert(how))
    }

    fn set_place(&mut self, endpoint: EndpointId, place: Place) {
        if let Some(known) = self.endpoints.get_mut(&endpoint) {
            known.place = place;
        }
    }

    const fn quarantine_domain(&self) -> DomainId {
        DomainId(self.domains_range.0)
    }

    fn check_reserved(&self, endpoint: EndpointId, iova: Iova, end: u64) -> Result<(), Error> {
        let known = self
            .endpoints
            .get(&endpoint)
            .ok_or(Error::UnknownEndpoint(endpoint))?;
        match known.properties.meets(iova.0, end) {
            None => Ok(()),
            Some(region) => Err(Error::Reserved {
                iova,
                endpoint,
                start: Iova(region.start),
                end: Iova(region.end),
            }),
        }
    }
}
