//! The tables of QEMU 7.2 (q35, three processors, a virtio-iommu at 00:01.0, a root port and a PCIe-to-PCI bridge), as
//! its firmware leaves them in memory, and what may be done to them.

use super::*;
use alloc::vec;
use proptest::prelude::*;
use vfio_core::pci::Bdf;

const RSDP: &str = "5253442050545220d4424f4348532000 1130fe3f0000000000000000000000005f534d5f";
const RSDT: &str = "525344543c0000000174424f434853204258504320202020010000004258504301000000\
    a12dfe3f952efe3f1d2ffe3f552ffe3f912ffe3fe92ffe3f";
const MADT: &str = "41504943880000000162424f434853204258504320202020010000004258504301000000\
    0000e0fe01000000 0008000001000000 0008010101000000 0008020201000000 010c00000000c0fe00000000\
    020a0000020000000000020a0005050000000d00020a0009090000000d00020a000a0a0000000d00020a000b0b0000000d00\
    0406ff000001";
const MCFG: &str = "4d4346473c000000018c424f434853204258504320202020010000004258504301000000\
    0000000000000000 000000b000000000000000ff00000000";
const VIOT: &str = "56494f54580000000064424f434853204258504320202020010000004258504301000000\
    02003000 0000000000000000 03001000000008000000000000000000 \
    0100180000000000000000000000ff023000000000000000";

const RSDP_AT: u64 = 0xf59d0;
const RSDT_AT: u64 = 0x3ffe_3011;
const MADT_AT: u64 = 0x3ffe_2e95;
const MCFG_AT: u64 = 0x3ffe_2f55;
const VIOT_AT: u64 = 0x3ffe_2f91;

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Pieces of memory by address.
#[derive(Clone)]
struct Memory(Vec<(u64, Vec<u8>)>);

impl PhysMem for Memory {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.0.iter().find_map(|(start, piece)| {
            let offset = usize::try_from(address.checked_sub(*start)?).ok()?;
            piece.get(offset..offset.checked_add(length)?)
        })
    }
}

impl Memory {
    fn qemu() -> Self {
        Self(vec![
            (RSDP_AT, bytes(RSDP)),
            (RSDT_AT, bytes(RSDT)),
            (MADT_AT, bytes(MADT)),
            (MCFG_AT, bytes(MCFG)),
            (VIOT_AT, bytes(VIOT)),
        ])
    }

    fn table(&mut self, at: u64) -> &mut Vec<u8> {
        &mut self.0.iter_mut().find(|(start, _)| *start == at).unwrap().1
    }

    /// Changes a table and makes length and checksum right again.
    fn with(mut self, at: u64, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let table = self.table(at);
        change(table);
        let length = table.len() as u32;
        table[4..8].copy_from_slice(&length.to_le_bytes());
        seal(table);
        self
    }

    fn read(&self) -> Result<Platform, Error> {
        read(self, RSDP_AT)
    }

    fn fault(&self) -> (Signature, usize, Fault) {
        let error = self.read().unwrap_err();
        (error.table, error.offset, error.fault)
    }
}

pub(super) fn seal(table: &mut [u8]) {
    table[9] = 0;
    table[9] = table.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
}

#[test]
fn qemu_says_what_qemu_has() {
    let platform = Memory::qemu().read().unwrap();
    let ids: Vec<_> = platform
        .cpus
        .iter()
        .map(|cpu| (cpu.apic_id, cpu.enabled))
        .collect();
    assert_eq!(ids, [(0, true), (1, true), (2, true)]);
    assert_eq!(platform.lapic_base, 0xfee0_0000);
    assert_eq!(
        platform.ioapics,
        [IoApic {
            id: 0,
            address: 0xfec0_0000,
            gsi_base: 0
        }]
    );
    let window = EcamWindow {
        segment: 0,
        bus_start: 0,
        bus_end: 255,
        base: 0xb000_0000,
    };
    assert_eq!(platform.ecam, [window]);
    assert_eq!((window.start(), window.bytes()), (0xb000_0000, 256 << 20));
    let viot = platform.viot.unwrap();
    let iommu = Bdf::new(0, 0, 1, 0);
    assert_eq!(viot.pci_iommus().collect::<Vec<_>>(), [iommu]);
    assert_eq!(viot.endpoint(Bdf::new(0, 2, 0, 0)), Some((0, EndpointId(0x200))));
    assert_eq!(viot.function(0, EndpointId(0x20)), Some(Bdf::new(0, 0, 4, 0)));
    assert_eq!(viot.endpoint(Bdf::new(0, 3, 0, 0)), None, "past the last bus");
    assert_eq!(viot.endpoint(Bdf::new(1, 0, 4, 0)), None, "another segment");
    assert_eq!(viot.endpoint(iommu), None, "the IOMMU does not translate itself");
    assert_eq!(viot.function(0, EndpointId(8)), None);
}

#[test]
fn a_machine_without_pci_windows_and_iommu_is_told_as_such() {
    let mut memory = Memory::qemu();
    memory.0.retain(|(at, _)| *at != MCFG_AT && *at != VIOT_AT);
    let platform = memory.read().unwrap();
    assert!(platform.ecam.is_empty() && platform.viot.is_none());
    memory.0.retain(|(at, _)| *at != MADT_AT);
    assert_eq!(memory.fault(), (Signature(*b"APIC"), 0, Fault::Missing));
}

#[test]
fn the_xsdt_is_followed_from_revision_2_on() {
    let mut memory = Memory::qemu();
    let mut xsdt = bytes(RSDT);
    xsdt[..4].copy_from_slice(b"XSDT");
    xsdt.truncate(36);
    for at in [MADT_AT, MCFG_AT, VIOT_AT] {
        xsdt.extend(at.to_le_bytes());
    }
    let length = xsdt.len() as u32;
    xsdt[4..8].copy_from_slice(&length.to_le_bytes());
    seal(&mut xsdt);
    memory.0.push((0x1_0000_0000, xsdt));
    let pointer = memory.table(RSDP_AT);
    pointer.truncate(16);
    pointer[15] = 2;
    pointer.extend([0; 4]);
    pointer[8] = 0;
    pointer[8] = pointer.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    pointer.extend(36u32.to_le_bytes());
    pointer.extend(0x1_0000_0000u64.to_le_bytes());
    pointer.extend([0; 4]);
    pointer[32] = pointer.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    assert_eq!(memory.read(), Memory::qemu().read());
    memory.table(RSDP_AT)[33] ^= 1;
    assert_eq!(memory.fault(), (Signature::RSDP, 0, Fault::Checksum { sum: 1 }));
    memory.table(RSDP_AT)[20] = 35;
    assert!(matches!(
        memory.fault(),
        (Signature::RSDP, 20, Fault::Length { found: 35, .. })
    ));
}

#[test]
fn every_changed_byte_is_noticed() {
    for (at, length) in [
        (RSDP_AT, 20),
        (RSDT_AT, 60),
        (MADT_AT, 136),
        (MCFG_AT, 60),
        (VIOT_AT, 88),
    ] {
        // A table with another name is another table: the first four bytes decide only whether it is found.
        for offset in if at == RSDP_AT { 0 } else { 4 }..length {
            let mut memory = Memory::qemu();
            memory.table(at)[offset] ^= 0x11;
            assert!(memory.read().is_err(), "table at {at:#x}, byte {offset}");
        }
    }
}

#[test]
fn every_truncated_table_is_noticed() {
    for at in [RSDP_AT, RSDT_AT, MADT_AT, MCFG_AT, VIOT_AT] {
        // With less than its name left, a table is no table, and two of them may be missing.
        for length in if at == MCFG_AT || at == VIOT_AT { 4 } else { 0 }..if at == RSDP_AT { 20 } else { 60 }
        {
            let mut memory = Memory::qemu();
            memory.table(at).truncate(length);
            assert!(memory.read().is_err(), "table at {at:#x}, {length} bytes");
        }
    }
}

#[test]
fn broken_entries_name_table_offset_and_fault() {
    let madt = |change: fn(&mut Vec<u8>)| Memory::qemu().with(MADT_AT, change).fault();
    assert!(matches!(
        madt(|table| table[45] = 0),
        (
            _,
            44,
            Fault::Length {
                found: 0,
                least: 8,
                ..
            }
        )
    ));
    assert!(matches!(
        madt(|table| table[131] = 7),
        (
            _,
            130,
            Fault::Length {
                found: 7,
                most: 6,
                ..
            }
        )
    ));
    assert!(matches!(
        madt(|table| table.truncate(131)),
        (_, 130, Fault::Truncated { needed: 2, left: 1 })
    ));
    assert!(matches!(
        madt(|table| table.truncate(40)),
        (_, 36, Fault::Truncated { .. })
    ));

    let mcfg = |change: fn(&mut Vec<u8>)| Memory::qemu().with(MCFG_AT, change).fault();
    assert!(matches!(
        mcfg(|table| table.truncate(40)),
        (_, 4, Fault::Length { found: 40, .. })
    ));
    assert!(matches!(
        mcfg(|table| table.truncate(59)),
        (_, 44, Fault::Truncated { .. })
    ));
    assert!(matches!(
        mcfg(|table| {
            table[54] = 9;
            table[55] = 8
        }),
        (_, 44, Fault::EmptyRange { start: 9, end: 8 })
    ));
    assert!(matches!(
        mcfg(|table| table[45] = 1),
        (_, 44, Fault::Unaligned { .. })
    ));
    assert!(matches!(
        mcfg(|table| table[47..52].copy_from_slice(&[0xf8, 0xff, 0xff, 0xff, 0xff])),
        (_, 44, Fault::Overflow)
    ));
    assert!(matches!(
        mcfg(|table| table.extend_from_within(44..)),
        (_, 60, Fault::Overlap)
    ));

    let viot = |change: fn(&mut Vec<u8>)| Memory::qemu().with(VIOT_AT, change).fault();
    assert!(matches!(
        viot(|table| table[36] = 3),
        (_, 36, Fault::Count { claimed: 3, found: 2 })
    ));
    assert!(matches!(
        viot(|table| table[38] = 10),
        (_, 38, Fault::Length { found: 10, .. })
    ));
    assert!(matches!(
        viot(|table| table[50] = 0),
        (_, 48, Fault::Length { found: 0, .. })
    ));
    assert!(matches!(
        viot(|table| table[80] = 64),
        (_, 64, Fault::NoSuchNode { target: 64 })
    ));
    assert!(matches!(
        viot(|table| table[77] = 0xff),
        (_, 64, Fault::EmptyRange { .. })
    ));
    assert!(matches!(
        viot(|table| table[68..72].fill(0xff)),
        (_, 64, Fault::Overflow)
    ));
    assert!(matches!(
        viot(|table| {
            table[36] = 3;
            table.extend_from_within(64..88)
        }),
        (_, 88, Fault::Overlap)
    ));
    let twice = Memory::qemu().with(RSDT_AT, |table| table.extend_from_within(40..44));
    assert_eq!(twice.fault(), (Signature(*b"APIC"), 0, Fault::Duplicate));
}

proptest! {
    /// Whatever a table says behind a right length and checksum, reading it ends, and ends without a panic.
    #[test]
    fn mutated_tables_are_read_or_refused(
        at in prop::sample::select(vec![RSDT_AT, MADT_AT, MCFG_AT, VIOT_AT]),
        changes in prop::collection::vec((4usize..140, any::<u8>()), 0..12),
        length in 36usize..140,
        keep_length in any::<bool>(),
    ) {
        let memory = Memory::qemu().with(at, |table| {
            if !keep_length {
                table.resize(length, 0x5a);
            }
            for (offset, value) in changes {
                if let Some(byte) = table.get_mut(offset) {
                    *byte = value;
                }
            }
        });
        if let Ok(Platform { viot: Some(viot), .. }) = memory.read() {
            for id in (0..=u16::MAX).step_by(97) {
                let bdf = Bdf::from_requester_id(0, id);
                if let Some((iommu, endpoint)) = viot.endpoint(bdf) {
                    prop_assert_eq!(viot.function(iommu, endpoint), Some(bdf));
                }
            }
        }
    }

    /// Ranges in segments and buses translate both ways.
    #[test]
    fn endpoints_and_functions_name_each_other(
        endpoint in any::<u32>(), segments in any::<(u16, u16)>(), requesters in any::<(u16, u16)>(), probe in any::<(u16, u16)>(),
    ) {
        let order = |(a, b): (u16, u16)| (a.min(b), a.max(b));
        let (segments, requesters) = (order(segments), order(requesters));
        let memory = Memory::qemu().with(VIOT_AT, |table| {
            table[68..72].copy_from_slice(&endpoint.to_le_bytes());
            for (at, value) in [(72, segments.0), (74, segments.1), (76, requesters.0), (78, requesters.1)] {
                table[at..at + 2].copy_from_slice(&value.to_le_bytes());
            }
        });
        let last = u64::from(endpoint)
            + (u64::from(segments.1 - segments.0) << 16) + u64::from(requesters.1 - requesters.0);
        if last > u64::from(u32::MAX) {
            prop_assert_eq!(memory.fault().2, Fault::Overflow);
            return Ok(());
        }
        let viot = memory.read().unwrap().viot.unwrap();
        let bdf = Bdf::from_requester_id(probe.0, probe.1);
        let inside = (segments.0..=segments.1).contains(&probe.0) && (requesters.0..=requesters.1).contains(&probe.1);
        match viot.endpoint(bdf) {
            Some((iommu, id)) => {
                prop_assert!(inside);
                prop_assert_eq!(u64::from(id.0), u64::from(endpoint)
                    + (u64::from(probe.0 - segments.0) << 16) + u64::from(probe.1 - requesters.0));
                prop_assert_eq!(viot.function(iommu, id), Some(bdf));
            }
            None => prop_assert!(!inside || viot.is_iommu(bdf)),
        }
    }
}

#[test]
fn files_are_read_as_tables() {
    assert!(
        matches!(read_file(&bytes(MADT)), Ok(FileTable::Madt { cpus, ioapics }) if cpus.len() == 3 && ioapics.len() == 1)
    );
    assert!(matches!(read_file(&bytes(MCFG)), Ok(FileTable::Mcfg(windows)) if windows.len() == 1));
    assert!(matches!(read_file(&bytes(VIOT)), Ok(FileTable::Viot(viot)) if viot.ranges.len() == 1));
    assert_eq!(read_file(&bytes(RSDT)), Ok(FileTable::Other(Signature(*b"RSDT"))));
    let mut longer = bytes(MCFG);
    longer.push(1);
    assert!(
        read_file(&longer).is_ok(),
        "what follows the table is no part of it"
    );
    let fault = |bytes: &[u8]| {
        let error = read_file(bytes).unwrap_err();
        (error.table, error.offset, error.fault)
    };
    assert!(
        matches!(fault(&[]), (Signature(name), 0, Fault::Truncated { needed: 36, left: 0 }) if name == *b"????")
    );
    assert!(matches!(
        fault(&bytes(MCFG)[..59]),
        (
            _,
            4,
            Fault::Length {
                found: 60,
                most: 59,
                ..
            }
        )
    ));
    longer[44] ^= 1;
    assert!(matches!(fault(&longer), (_, 0, Fault::Checksum { .. })));
    longer[4] = 35;
    assert!(matches!(
        fault(&longer),
        (
            _,
            4,
            Fault::Length {
                found: 35,
                least: 36,
                ..
            }
        )
    ));
}
