//! The guest's tables read back: by the parser for the machine's own, and byte by byte where that has none.

use super::*;
use crate::acpi::{self as host, Cpu, EcamWindow, IoApic as HostIoApic, PhysMem};

const BASE: u64 = 0xe_0000;

/// The tables where a guest finds them.
struct Rom(Vec<u8>);

impl PhysMem for Rom {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let at = usize::try_from(address.checked_sub(BASE)?).ok()?;
        self.0.get(at..at.checked_add(length)?)
    }
}

impl Rom {
    fn new(cpus: u8) -> (Self, u64) {
        let mut image = vec![0; 0x100];
        let rsdp = append(&mut image, BASE, cpus);
        (Self(image), rsdp)
    }

    fn number(&self, at: u64, bytes: usize) -> u64 {
        let bytes = self.bytes(at, bytes).unwrap();
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// The table at `at` as long as it says.
    fn table(&self, at: u64) -> &[u8] {
        self.bytes(at, self.number(at + 4, 4) as usize).unwrap()
    }

    /// Where the table `signature` is, by the XSDT.
    fn find(&self, rsdp: u64, signature: &[u8; 4]) -> u64 {
        let xsdt = self.number(rsdp + 24, 8);
        let entries = (self.table(xsdt).len() - 36) / 8;
        (0..entries as u64)
            .map(|entry| self.number(xsdt + 36 + 8 * entry, 8))
            .find(|at| self.bytes(*at, 4) == Some(signature))
            .unwrap()
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|part| part == wanted)
}

#[test]
fn every_table_is_whole_and_its_checksum_holds() {
    for cpus in [1, 2, 32] {
        let (rom, rsdp) = Rom::new(cpus);
        assert_eq!(
            (
                sum(rom.bytes(rsdp, 20).unwrap()),
                sum(rom.bytes(rsdp, 36).unwrap())
            ),
            (0, 0)
        );
        let fadt = rom.find(rsdp, b"FACP");
        let dsdt = rom.number(fadt + 140, 8);
        let xsdt = rom.number(rsdp + 24, 8);
        for at in [xsdt, fadt, dsdt, rom.find(rsdp, b"APIC"), rom.find(rsdp, b"MCFG")] {
            assert_eq!((sum(rom.table(at)), at % 64), (0, 0), "{at:#x}");
        }
        assert_eq!(rom.bytes(dsdt, 4), Some(&b"DSDT"[..]));
        assert_eq!(rom.table(fadt).len(), 276, "a FADT of ACPI 6.5");
    }
}

#[test]
fn the_parser_of_the_machines_tables_reads_them() {
    let (rom, rsdp) = Rom::new(3);
    let platform = host::read(&rom, rsdp).unwrap();
    let cpu = |apic_id| Cpu {
        apic_id,
        enabled: true,
    };
    assert_eq!(platform.cpus, [cpu(0), cpu(1), cpu(2)]);
    assert_eq!(platform.lapic_base, lapic::BASE);
    let io = HostIoApic {
        id: 0,
        address: 0xfec0_0000,
        gsi_base: 0,
    };
    assert_eq!(platform.ioapics, [io]);
    let ecam = EcamWindow {
        segment: 0,
        bus_start: 0,
        bus_end: 0,
        base: ECAM,
    };
    assert_eq!(platform.ecam, [ecam]);
}

#[test]
fn a_broken_byte_anywhere_is_noticed() {
    let (mut rom, rsdp) = Rom::new(2);
    for signature in [b"APIC", b"MCFG"] {
        let at = rom.find(rsdp, signature);
        for offset in 36..rom.table(at).len() {
            let index = (at - BASE) as usize + offset;
            rom.0[index] ^= 0x10;
            assert!(host::read(&rom, rsdp).is_err(), "{offset}");
            rom.0[index] ^= 0x10;
        }
    }
}

#[test]
fn power_and_reset_are_the_ports_that_do_it() {
    let (rom, rsdp) = Rom::new(1);
    let fadt = rom.find(rsdp, b"FACP");
    // Address space, width, offset and access size of a port of one byte (ACPI 6.4, section 5.2.3.2), then the port.
    let port = |offset: u64| {
        let description = rom.number(fadt + offset, 4);
        (description, rom.number(fadt + offset + 4, 8))
    };
    let byte = u64::from(u32::from_le_bytes([1, 8, 0, 1]));
    assert_eq!(port(116), (byte, RESET.into()));
    assert_eq!(rom.number(fadt + 128, 1), RESET_VALUE.into());
    assert_eq!(
        (port(244), port(256)),
        ((byte, SLEEP_CONTROL.into()), (byte, SLEEP_STATUS.into()))
    );
    let flags = rom.number(fadt + 112, 4);
    for (bit, name) in [
        (4, "PWR_BUTTON"),
        (5, "SLP_BUTTON"),
        (10, "RESET_REG_SUP"),
        (20, "HW_REDUCED_ACPI"),
    ] {
        assert_ne!(flags >> bit & 1, 0, "{name}");
    }
    let dsdt = rom.table(rom.number(fadt + 140, 8));
    // Name (_S5, Package (4) {5, 0, 0, 0}).
    assert!(has(dsdt, b"\x08_S5_\x12\x07\x04\x0a\x05\x00\x00\x00"));
    // Name (_HID, "QEMU0001"), and IO (Decode16, 0x505, 0x505, 1, 1).
    assert!(has(dsdt, b"\x08_HID\x0dQEMU0001\0") && has(dsdt, b"\x47\x01\x05\x05\x05\x05\x01\x01"));
}

#[test]
fn the_bridge_has_both_windows() {
    let (rom, rsdp) = Rom::new(1);
    let dsdt = rom.table(rom.number(rom.find(rsdp, b"FACP") + 140, 8));
    // DWord and QWord address space descriptors (ACPI 6.4, section 6.4.3.5): memory, fixed, not cacheable, writable;
    // granularity, first, last, translation, length.
    let low = [0u32, 0xc000_0000, 0xdfff_ffff, 0, 0x2000_0000]
        .map(u32::to_le_bytes)
        .concat();
    let high = [0u64, 64 << 30, (128 << 30) - 1, 0, 64 << 30]
        .map(u64::to_le_bytes)
        .concat();
    assert!(has(dsdt, &[&[0x87, 23, 0, 0, 0xc, 1][..], &low].concat()));
    assert!(has(dsdt, &[&[0x8a, 43, 0, 0, 0xc, 1][..], &high].concat()));
    assert!(
        has(dsdt, &[0x88, 13, 0, 2, 0xc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
        "bus 0 alone"
    );
}

#[test]
fn every_pin_of_every_slot_has_its_line() {
    let (rom, rsdp) = Rom::new(1);
    let dsdt = rom.table(rom.number(rom.find(rsdp, b"FACP") + 140, 8));
    let at = dsdt.windows(5).position(|part| part == b"\x08_PRT").unwrap() + 5;
    assert_eq!(dsdt[at], 0x12);
    // A length of two bytes: four bits, then eight more (ACPI 6.4, section 20.2.4).
    let length = usize::from(dsdt[at + 1] & 0xf) | usize::from(dsdt[at + 2]) << 4;
    assert_eq!((dsdt[at + 1] >> 6, dsdt[at + 3]), (1, 124));
    let mut rest = &dsdt[at + 4..at + 1 + length];
    for slot in 1..32u8 {
        for pin in 0..4u8 {
            let (route, after) = rest.split_at(usize::from(rest[1]) + 1);
            let line = 16 + (slot + pin) % 8;
            let expected = [0x0c, 0xff, 0xff, slot, 0, 0x0a, pin, 0, 0x0a, line];
            assert_eq!((route[0], route[2], &route[3..]), (0x12, 4, &expected[..]));
            rest = after;
        }
    }
    assert!(rest.is_empty());
    // Consumed, edge, high, not shared: interrupt 4 (ACPI 6.4, section 6.4.3.6).
    assert!(has(dsdt, &[0x89, 6, 0, 3, 1, 4, 0, 0, 0]), "the console's line");
}
