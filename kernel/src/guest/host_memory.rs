//! A guest's memory by its host addresses: what a mediated device, which is software, reaches through the guest's domain.
//!
//! The domain says which host address an access of the device means, and with which rights; here the bytes are copied, or refused where
//! they are not all memory of this guest. The guest and its other devices change the memory at any time, so nothing is borrowed.

use super::GuestMemory;
use crate::addr::HostPhys;
use vfio_core::Fault;
use vfio_core::domain::HostMemory;

/// A guest whose domain software reaches has memory that was wiped whole before the domain was made, as for any device: a copy
/// then waits for nothing.
impl HostMemory for GuestMemory {
    fn read(&self, from: HostPhys, data: &mut [u8]) -> Result<(), Fault> {
        let from = self.guest_address(from).ok_or(Fault::BadAddress)?;
        Self::read(self, from, data).map_err(|_| Fault::BadAddress)
    }

    fn write(&self, to: HostPhys, data: &[u8]) -> Result<(), Fault> {
        let to = self.guest_address(to).ok_or(Fault::BadAddress)?;
        Self::write(self, to, data).map_err(|_| Fault::BadAddress)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::addr::GuestPhys;
    use crate::assign::tests::fixture::Fixture;
    use crate::guest::layout::{HIGH_RAM, ROM};
    use crate::guest::memory::fake::memory;
    use std::sync::Arc;
    use vfio_core::addr::Iova;
    use vfio_core::domain::{DmaError, IovaRange, PinError};
    use vfio_core::lease::{Release, UnmapListener};
    use vfio_core::mediated::MediatedId;
    use vfio_core::{Access, Mapping, Owner};

    const SIZE: u64 = 4 << 20;

    /// Lets go of everything when it is told.
    struct Polite;

    impl UnmapListener for Polite {
        fn unmapping(&self, _: IovaRange, release: &Release<'_>) {
            release.all();
        }
    }

    /// The guest's memory as its devices reach it.
    fn mappings(memory: &GuestMemory) -> Vec<Mapping> {
        let regions = memory.regions().into_iter();
        let mapping = regions.map(|region| Mapping {
            iova: region.gpa.iova(),
            host: region.hpa,
            size: region.size,
            access: if region.rights.write {
                Access::READ | Access::WRITE
            } else {
                Access::READ
            },
        });
        mapping.collect()
    }

    #[test]
    fn software_reaches_what_the_guests_devices_reach_and_nothing_else() {
        let fixture = Fixture::new();
        let table = fixture.table();
        let memory = memory(SIZE);
        memory.wipe_all();
        memory.load_rom(GuestPhys(ROM), b"tables").unwrap();
        let domain = table.domain(Owner::Guest(0), mappings(&memory)).unwrap();
        let dma = domain.software(MediatedId(1), &memory, Arc::new(Polite)).unwrap();
        // To the last byte of RAM, and the guest finds it.
        let end = SIZE - 6;
        dma.write(Iova(end), b"device").unwrap();
        let mut bytes = [0; 6];
        memory.read(GuestPhys(end), &mut bytes).unwrap();
        assert_eq!(&bytes, b"device");
        memory.write(GuestPhys(HIGH_RAM), b"guests").unwrap();
        dma.read(Iova(HIGH_RAM), &mut bytes).unwrap();
        assert_eq!(&bytes, b"guests");
        // The read-only region is read, and not written.
        dma.read(Iova(ROM), &mut bytes).unwrap();
        assert_eq!(&bytes, b"tables");
        assert!(matches!(dma.write(Iova(ROM), b"x"), Err(DmaError::Denied { .. })));
        // Holes and what lies behind.
        for nowhere in [0xb_0000, SIZE, SIZE - 5] {
            assert!(dma.write(Iova(nowhere), b"device").is_err(), "{nowhere:#x}");
        }
        // What is pinned is reached by its host address, until it is unmapped.
        let pinned = dma.pin(Iova(HIGH_RAM), 0x1000, Access::READ).unwrap();
        let mut by_host = [0; 6];
        HostMemory::read(&memory, pinned[0].host, &mut by_host).unwrap();
        assert_eq!(&by_host, b"guests");
        domain.unmap(Iova(HIGH_RAM), SIZE - HIGH_RAM).unwrap();
        assert_eq!(dma.pinned_pages(), 0);
        assert!(dma.read(Iova(HIGH_RAM), &mut bytes).is_err());
        assert!(matches!(
            dma.pin(Iova(HIGH_RAM), 0x1000, Access::READ),
            Err(PinError::Dma(_))
        ));
        drop(dma);
        domain.close().unwrap();
    }

    #[test]
    fn addresses_of_anybody_else_are_refused() {
        let memory = memory(SIZE);
        let base = memory.regions()[0].hpa.0;
        let mut bytes = [0; 8];
        for host in [
            0,
            base - 1,
            base + SIZE - 7,
            base + SIZE,
            base + 0xb_0000,
            u64::MAX - 3,
        ] {
            let read = HostMemory::read(&memory, HostPhys(host), &mut bytes);
            assert_eq!(read, Err(Fault::BadAddress), "{host:#x}");
            let written = HostMemory::write(&memory, HostPhys(host), &bytes);
            assert_eq!(written, Err(Fault::BadAddress), "{host:#x}");
        }
        let rom = HostMemory::write(&memory, HostPhys(base + ROM), &bytes);
        assert_eq!(rom, Err(Fault::BadAddress), "whatever a domain says");
        HostMemory::write(&memory, HostPhys(base + SIZE - 8), b"last one").unwrap();
        HostMemory::read(&memory, HostPhys(base + SIZE - 8), &mut bytes).unwrap();
        assert_eq!(&bytes, b"last one");
    }
}
