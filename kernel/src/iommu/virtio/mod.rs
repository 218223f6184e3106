//! Driver for the virtio IOMMU device (virtio 1.2, section 5.13).
//!
//! The driver's first act is to turn off `bypass`, so that an endpoint that nobody has spoken of reaches nothing. Every
//! endpoint then goes into one shared domain that maps nothing, the quarantine, and comes back there whenever its
//! cohort closes. Leaving a domain is always an explicit DETACH: the specification says that a domain vanishes with
//! its last endpoint, and QEMU 7.2 keeps it with its mappings if that endpoint merely attaches elsewhere.
//!
//! What a domain maps is not kept here: `vfio-core` has the table, checks every mapping against it and against
//! [`limits`](VirtioIommu::limits), and tells the device all of it after the first endpoint was attached. The device
//! checks again, and refuses what overlaps, is not aligned, or would be split.
//!
//! The device is trusted to translate, not to answer well. The first answer that breaks the specification puts the
//! driver out of service for good ([`Error::Broken`]): what is in quarantine stays there, and nothing new opens.

mod channel;
mod error;
mod faults;
mod init;
mod pci;
mod properties;
mod request;
#[cfg(test)]
pub(crate) mod tests;
mod unit;

pub use channel::{CONFIG_BYTES, Channel, ChannelError, FAULT_BYTES, MAX_MESSAGE};
pub use error::{Error, InitError, Misbehaviour, Request, Status};
pub use faults::EndpointFault;
pub use pci::{PciChannel, PciChannelError};
pub use properties::EndpointProperties;
pub use unit::VirtioUnit;

use crate::acpi::EndpointId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use vfio_core::domain::{IovaRange, UnitLimits};
use vfio_core::{DomainId, Mapping};

/// A virtio-iommu that denies everything but what is mapped.
#[derive(Debug)]
pub struct VirtioIommu<C> {
    channel: C,
    /// Bit n: there are pages of 2^n bytes.
    page_sizes: u64,
    /// What the device translates.
    input: IovaRange,
    /// First and last domain number, inclusive; the first is the quarantine.
    domains_range: (u32, u32),
    probe_size: Option<u32>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    /// The numbers that are in use. The device has a domain while it has an endpoint.
    domains: BTreeSet<DomainId>,
    next_domain: u32,
    broken: Option<Misbehaviour>,
    requests: u64,
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

    /// What every mapping must keep to.
    #[must_use]
    pub fn limits(&self) -> UnitLimits {
        UnitLimits {
            page_sizes: self.page_sizes,
            apertures: Vec::from([self.input]),
        }
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
            if !self.domains.contains(&DomainId(number)) {
                break;
            }
            number = number.wrapping_add(1);
        }
        self.next_domain = number.wrapping_add(1);
        self.domains.insert(DomainId(number));
        Ok(DomainId(number))
    }

    /// Gives the number of a domain back.
    ///
    /// # Errors
    ///
    /// If it does not exist or has endpoints.
    pub fn destroy_domain(&mut self, domain: DomainId) -> Result<(), Error> {
        let inside = Place::Domain(domain);
        if self.endpoints.values().any(|endpoint| endpoint.place == inside) {
            return Err(Error::DomainInUse(domain));
        }
        if self.domains.remove(&domain) {
            Ok(())
        } else {
            Err(Error::UnknownDomain(domain))
        }
    }

    /// Maps one region, by one request whatever its size. The domain has an endpoint.
    ///
    /// # Errors
    ///
    /// If the device refuses (nothing is mapped then) or misbehaves (nobody knows).
    pub fn map(&mut self, domain: DomainId, region: Mapping) -> Result<(), Error> {
        let end = region.last().ok_or(Error::NoRange(region.iova))?;
        self.send_map(domain, &region, end.0)
    }

    /// Unmaps everything inside a range, by one request, and waits until nothing of it is reached any more. The domain has
    /// an endpoint.
    ///
    /// # Errors
    ///
    /// If the device refuses (nothing is unmapped then) or misbehaves (nobody knows).
    pub fn unmap(&mut self, domain: DomainId, range: IovaRange) -> Result<(), Error> {
        self.send_unmap(domain, range.first().0, range.last().0)
    }

    /// Moves `endpoint` from quarantine to `domain`. If it is the first one there, nothing is mapped yet.
    ///
    /// # Errors
    ///
    /// If the endpoint is elsewhere, or the device refuses (the endpoint stays in quarantine then) or misbehaves (it reaches
    /// at most what `domain` maps).
    pub fn attach(&mut self, domain: DomainId, endpoint: EndpointId) -> Result<(), Error> {
        self.check_service()?;
        if !self.domains.contains(&domain) {
            return Err(Error::UnknownDomain(domain));
        }
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
        self.send_attach(domain, endpoint)?;
        self.set_place(endpoint, Place::Domain(domain));
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
}
