//! Software that reaches memory by I/O virtual addresses.

use std::string::ToString;
use std::sync::Arc;
use std::vec::Vec;

use super::*;
use crate::Fault;
use crate::domain::{DmaError, IovaRange, PinError, PinnedPiece};
use crate::lease::{Release, SoftwareRefusal, UnmapListener};
use crate::mediated::MediatedId;
use crate::testing::memory::Memory;

const DEVICE: MediatedId = MediatedId(7);

struct Deaf;

impl UnmapListener for Deaf {
    fn unmapping(&self, _: IovaRange, _: &Release<'_>) {}
}

#[test]
fn copies_cross_mappings_and_stop_where_there_is_none() {
    let table = table();
    // Page 1 lies behind page 2 in the host; page 3 cannot be written.
    let swapped = |iova: u64, host: u64, access| Mapping {
        host: HostPhys(HOST + host * PAGE),
        access,
        ..map(iova, 1)
    };
    let mappings = [
        swapped(1, 2, RW),
        swapped(2, 1, RW),
        swapped(3, 3, Access::READ),
        swapped(4, 9, RW),
    ];
    let domain = table.domain(GUEST, mappings.to_vec()).unwrap();
    let memory = Memory::with(HOST, 4);
    let dma = domain.software(DEVICE, &memory, Arc::new(Deaf)).unwrap();
    let data: Vec<u8> = (0..PAGE as usize + 32)
        .map(|at| at as u8 ^ (at >> 8) as u8)
        .collect();
    dma.write(Iova(PAGE + 0xff0), &data).unwrap_err();
    dma.write(Iova(PAGE + 0xfc0), &data).unwrap();
    let mut back = std::vec![0; data.len()];
    dma.read(Iova(PAGE + 0xfc0), &mut back).unwrap();
    assert_eq!(back, data);
    let mut host = [0; 0x40];
    crate::domain::HostMemory::read(&memory, HostPhys(HOST + 2 * PAGE + 0xfc0), &mut host).unwrap();
    assert_eq!(host, data[..0x40], "where it is in the host");
    // What is read only, what is not there, what the host has not.
    let mut byte = [0; 1];
    dma.read(Iova(3 * PAGE), &mut byte).unwrap();
    let denied = dma.write(Iova(3 * PAGE + 5), &byte).unwrap_err();
    let at = Iova(3 * PAGE + 5);
    let wanted = Access::WRITE;
    let mapping = mappings[2];
    assert_eq!(denied, DmaError::Denied { at, mapping, wanted });
    assert_eq!(dma.read(Iova(5), &mut byte), Err(DmaError::NotMapped(Iova(5))));
    let mut across = [0; 32];
    let end = Iova(PAGE - 16);
    assert_eq!(dma.read(end, &mut across), Err(DmaError::NotMapped(end)));
    assert_eq!(
        dma.read(Iova(5 * PAGE), &mut across).unwrap_err().to_string(),
        "nothing is mapped at 0x5000"
    );
    let no_memory = dma.read(Iova(4 * PAGE), &mut byte).unwrap_err();
    let (at, fault) = (HostPhys(HOST + 9 * PAGE), Fault::BadAddress);
    assert_eq!(no_memory, DmaError::Host { at, fault });
    assert!(matches!(
        dma.read(Iova(u64::MAX), &mut across),
        Err(DmaError::Range(_))
    ));
    dma.read(Iova(u64::MAX), &mut []).unwrap();
    // What is unmapped is gone for software too.
    domain.unmap(Iova(PAGE), PAGE).unwrap();
    assert_eq!(
        dma.read(Iova(PAGE), &mut byte),
        Err(DmaError::NotMapped(Iova(PAGE)))
    );
}

#[test]
fn the_last_byte_of_the_address_space_can_be_copied() {
    let table = table();
    let top = Mapping {
        iova: Iova(u64::MAX - (PAGE - 1)),
        ..map(0, 1)
    };
    let domain = table.domain(GUEST, Vec::from([top])).unwrap();
    let memory = Memory::with(HOST, 1);
    let dma = domain.software(DEVICE, &memory, Arc::new(Deaf)).unwrap();
    dma.write(Iova(u64::MAX - 3), &[1, 2, 3, 4]).unwrap();
    let mut back = [0; 4];
    dma.read(Iova(u64::MAX - 3), &mut back).unwrap();
    assert_eq!(back, [1, 2, 3, 4]);
    dma.pin(top.iova, PAGE, RW).unwrap();
    dma.unpin(top.iova, PAGE).unwrap();
    assert_eq!(domain.unmap_all(), Ok(PAGE));
}

#[test]
fn pins_are_counted_limited_and_checked() {
    let table = table();
    let options = crate::lease::DomainOptions {
        pinned_pages: 4,
        ..Default::default()
    };
    let read_only = Mapping {
        access: Access::READ,
        ..map(8, 1)
    };
    let mappings = Vec::from([map(0, 4), map(4, 1), read_only, map(0x1000, 1024)]);
    let domain = table.domain_with(GUEST, mappings, options).unwrap();
    let memory = Memory::with(HOST, 1);
    let dma = domain.software(DEVICE, &memory, Arc::new(Deaf)).unwrap();
    let piece = |page: u64, pages: u64| PinnedPiece {
        host: HostPhys(HOST + page * PAGE),
        size: pages * PAGE,
    };
    let pin = |page: u64, pages: u64| dma.pin(Iova(page * PAGE), pages * PAGE, RW);
    assert_eq!(pin(3, 2), Ok(Vec::from([piece(3, 2)])), "two mappings, one piece");
    assert_eq!(pin(3, 1), Ok(Vec::from([piece(3, 1)])), "again");
    assert_eq!(dma.pinned_pages(), 2);
    assert_eq!(
        pin(0, 0),
        Err(PinError::Range(crate::domain::RangeError::Empty(Iova(0))))
    );
    assert!(matches!(dma.pin(Iova(8), PAGE, RW), Err(PinError::Unaligned(_))));
    assert_eq!(pin(0x1000, 513), Err(PinError::TooLong { pages: 513 }));
    assert_eq!(pin(0, 3), Err(PinError::Full { pinned: 2, limit: 4 }));
    assert_eq!(pin(4, 2), Err(PinError::Dma(DmaError::NotMapped(Iova(5 * PAGE)))));
    assert!(matches!(pin(8, 1), Err(PinError::Dma(DmaError::Denied { .. }))));
    assert_eq!(dma.pinned_pages(), 2, "what fails pins nothing");
    let other = domain.software(MediatedId(8), &memory, Arc::new(Deaf)).unwrap();
    assert_eq!(
        other.unpin(Iova(3 * PAGE), PAGE),
        Err(PinError::NotPinned(Iova(3 * PAGE)))
    );
    dma.unpin(Iova(3 * PAGE), 2 * PAGE).unwrap();
    assert_eq!(
        dma.unpin(Iova(3 * PAGE), 2 * PAGE),
        Err(PinError::NotPinned(Iova(4 * PAGE)))
    );
    dma.unpin(Iova(3 * PAGE), PAGE).unwrap();
    assert_eq!(dma.pinned_pages(), 0);
    // One handle for each device, and none is left behind by another.
    let again = domain.software(DEVICE, &memory, Arc::new(Deaf)).unwrap_err();
    assert_eq!(again, SoftwareRefusal::There(DEVICE));
    pin(0, 2).unwrap();
    other.pin(Iova(0), PAGE, RW).unwrap();
    let domain = domain.close().unwrap_err().domain;
    drop(dma);
    assert_eq!(other.pinned_pages(), 1);
    drop(domain.software(DEVICE, &memory, Arc::new(Deaf)).unwrap());
    drop(other);
    domain.close().unwrap();
}
