//! Requests on the wire: encoding, and what the device answers (virtio 1.2, section 5.13.6).

use super::{Channel, Error, Misbehaviour, Request, Status, VirtioIommu};
use crate::acpi::EndpointId;
use alloc::vec;
use alloc::vec::Vec;
use spec::virtio_iommu::{self as wire, MapFlags, Tail, request_type};
use vfio_core::{Access, DomainId, Mapping};
use zerocopy::{Immutable, IntoBytes};

/// What an answer is filled with before the device writes: no status has this value.
const UNWRITTEN: u8 = 0xff;

const fn head(kind: u8) -> wire::Head {
    wire::Head {
        kind,
        reserved: [0; 3],
    }
}

impl<C: Channel> VirtioIommu<C> {
    /// Sends a request whose answer is only the status.
    fn send(&mut self, request: Request, body: &(impl IntoBytes + Immutable)) -> Result<(), Error> {
        let mut answer = [UNWRITTEN; size_of::<Tail>()];
        self.exchange(request, body.as_bytes(), &mut answer)
    }

    /// Sends a request; `answer` ends with the status.
    fn exchange(&mut self, request: Request, body: &[u8], answer: &mut [u8]) -> Result<(), Error> {
        self.check_service()?;
        self.requests += 1;
        let written = match self.channel.submit(body, answer) {
            Ok(written) => written,
            Err(cause) => return Err(self.break_down(Misbehaviour::Channel { request, cause })),
        };
        let expected = answer.len();
        if written != expected {
            return Err(self.break_down(Misbehaviour::Length {
                request,
                written,
                expected,
            }));
        }
        let at = expected - size_of::<Tail>();
        let status = answer.get(at).copied().unwrap_or(UNWRITTEN);
        match Status::decode(status) {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::Refused { request, status }),
            Err(status) => Err(self.break_down(Misbehaviour::Status { request, status })),
        }
    }

    pub(super) fn send_attach(&mut self, domain: DomainId, endpoint: EndpointId) -> Result<(), Error> {
        let body = wire::Attach {
            head: head(request_type::ATTACH),
            domain: domain.0.into(),
            endpoint: endpoint.0.into(),
            flags: 0.into(),
            reserved: [0; 4],
        };
        self.send(Request::Attach, &body)
    }

    pub(super) fn send_detach(&mut self, domain: DomainId, endpoint: EndpointId) -> Result<(), Error> {
        let body = wire::Detach {
            head: head(request_type::DETACH),
            domain: domain.0.into(),
            endpoint: endpoint.0.into(),
            reserved: [0; 8],
        };
        self.send(Request::Detach, &body)
    }

    pub(super) fn send_map(&mut self, domain: DomainId, region: &Mapping, end: u64) -> Result<(), Error> {
        let mut flags = MapFlags::empty();
        flags.set(MapFlags::READ, region.access.contains(Access::READ));
        flags.set(MapFlags::WRITE, region.access.contains(Access::WRITE));
        let body = wire::Map {
            head: head(request_type::MAP),
            domain: domain.0.into(),
            virt_start: region.iova.0.into(),
            virt_end: end.into(),
            phys_start: region.host.0.into(),
            flags: flags.bits().into(),
        };
        self.send(Request::Map, &body)
    }

    pub(super) fn send_unmap(&mut self, domain: DomainId, start: u64, end: u64) -> Result<(), Error> {
        let body = wire::Unmap {
            head: head(request_type::UNMAP),
            domain: domain.0.into(),
            virt_start: start.into(),
            virt_end: end.into(),
            reserved: [0; 4],
        };
        self.send(Request::Unmap, &body)
    }

    /// Returns `size` bytes of properties.
    pub(super) fn send_probe(&mut self, endpoint: EndpointId, size: usize) -> Result<Vec<u8>, Error> {
        let body = wire::Probe {
            head: head(request_type::PROBE),
            endpoint: endpoint.0.into(),
            reserved: [0; 64],
        };
        let mut answer = vec![0; size];
        answer.extend([UNWRITTEN; size_of::<Tail>()]);
        self.exchange(Request::Probe, body.as_bytes(), &mut answer)?;
        answer.truncate(size);
        Ok(answer)
    }
}
