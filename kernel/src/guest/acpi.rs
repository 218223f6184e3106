//! The guest's ACPI tables: RSDP, XSDT, FADT, MADT, MCFG and DSDT, each at a multiple of 64.
//!
//! The profile is hardware-reduced ACPI (ACPI 6.4, section 4.1): there is no PM timer, no SCI, no FACS, and the power goes off by the
//! sleep control register. All of it is fixed but for the number of CPUs.

use super::layout::{BAR_WINDOW, BAR_WINDOW_END, ECAM, ECAM_SIZE, HIGH_BAR_WINDOW, HIGH_BAR_WINDOW_END};
use super::lines::{CONSOLE_LINE, intx_line};
use super::policy::port::{CONSOLE, PANIC, RESET, RESET_VALUE, SLEEP_CONTROL, SLEEP_SOFT_OFF, SLEEP_STATUS};
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package,
    ResourceTemplate, ZERO,
};
use acpi_tables::fadt::{FADT, FADTBuilder, Flags};
use acpi_tables::gas::{self, AccessSize, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};
use alloc::vec::Vec;
use spec::{ioapic, lapic};
use zerocopy::IntoBytes;

const ALIGN: usize = 64;
const OEM: [u8; 6] = *b"COHORT";
const OEM_TABLE: [u8; 8] = *b"COHORTVM";
const OEM_REVISION: u32 = 1;
/// What a PC has and this guest has not: VGA and a real-time clock (ACPI 6.4, section 5.2.9.3). The bits for what else
/// a PC has, 8259s and keyboard controller among it, are clear.
const BOOT_ARCHITECTURE: u16 = 1 << 2 | 1 << 5;

/// Appends the tables of a guest with `cpus` CPUs to `image`, whose first byte will be at guest physical `base`. Returns where the
/// RSDP is.
pub(super) fn append(image: &mut Vec<u8>, base: u64, cpus: u8) -> u64 {
    // The RSDP is first, but knows the XSDT only at the end.
    image.resize(image.len().next_multiple_of(ALIGN), 0);
    let rsdp = image.len();
    image.resize(rsdp + Rsdp::len(), 0);
    let mut append = |table: &dyn Aml| {
        image.resize(image.len().next_multiple_of(ALIGN), 0);
        let at = base + image.len() as u64;
        table.to_aml_bytes(image);
        at
    };
    let dsdt = append(&dsdt());
    let mut mcfg = MCFG::new(OEM, OEM_TABLE, OEM_REVISION);
    mcfg.add_ecam(ECAM, 0, 0, 0);
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    for table in [append(&fadt(dsdt)), append(&madt(cpus)), append(&mcfg)] {
        xsdt.add_entry(table);
    }
    let xsdt = append(&xsdt);
    image.resize(image.len().next_multiple_of(ALIGN), 0);
    for (to, from) in image.iter_mut().skip(rsdp).zip(Rsdp::new(OEM, xsdt).as_bytes()) {
        *to = *from;
    }
    base + rsdp as u64
}

fn fadt(dsdt: u64) -> FADT {
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        // No button is a fixed feature: there is none.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        // Messages of devices are delivered to physical destinations (`msix::route`).
        .flag(Flags::ForceApicPhysicalDestinationMode)
        .flag(Flags::Wbinvd);
    fadt.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    fadt.reset_reg = byte_port(RESET);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = byte_port(SLEEP_CONTROL);
    fadt.sleep_status_reg = byte_port(SLEEP_STATUS);
    fadt.finalize()
}

fn byte_port(port: u16) -> GAS {
    let io = gas::AddressSpace::SystemIo;
    GAS::new(io, 8, 0, AccessSize::ByteAccess, port.into())
}

/// Local APIC ids are the CPUs' numbers.
fn madt(cpus: u8) -> MADT {
    let apic = LocalInterruptController::Address(lapic::BASE as u32);
    let mut madt = MADT::new(OEM, OEM_TABLE, OEM_REVISION, apic);
    for cpu in 0..cpus {
        madt.add_structure(ProcessorLocalApic::new(cpu, cpu, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, ioapic::BASE as u32, 0));
    madt
}

/// What only AML can say: the host bridge with its windows, that configuration space is taken, the console, and how to turn the
/// power off.
fn dsdt() -> Sdt {
    let mut contents = Vec::new();
    host_bridge(&mut contents);
    // Linux uses configuration space only where a device of the board claims it.
    let space = Memory32Fixed::new(true, ECAM as u32, ECAM_SIZE as u32);
    device(&mut contents, "_SB_.ECAM", "PNP0C02", &[&space]);
    let ports = IO::new(CONSOLE, CONSOLE, 1, 8);
    let line = Interrupt::new(true, true, false, false, CONSOLE_LINE.0.into());
    device(&mut contents, "_SB_.COM1", "PNP0501", &[&ports, &line]);
    panic_device(&mut contents);
    let off = Package::new(Vec::from([&SLEEP_SOFT_OFF as &dyn Aml, &ZERO, &ZERO, &ZERO]));
    Name::new("_S5_".into(), &off).to_aml_bytes(&mut contents);
    let mut table = Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, OEM_REVISION);
    table.append_slice(&contents);
    table
}

/// A device of the board with these resources.
fn device(contents: &mut Vec<u8>, path: &str, id: &str, resources: &[&dyn Aml]) {
    let children: [&dyn Aml; 3] = [
        &Name::new("_HID".into(), &EISAName::new(id)),
        &Name::new("_UID".into(), &ZERO),
        &Name::new("_CRS".into(), &ResourceTemplate::new(Vec::from(resources))),
    ];
    Device::new(path.into(), Vec::from(children)).to_aml_bytes(contents);
}

/// Where a kernel that panics says so. Its id is QEMU's, which Linux has a driver for.
fn panic_device(contents: &mut Vec<u8>) {
    let port = IO::new(PANIC, PANIC, 1, 1);
    let children: [&dyn Aml; 2] = [
        &Name::new("_HID".into(), &"QEMU0001"),
        &Name::new(
            "_CRS".into(),
            &ResourceTemplate::new(Vec::from([&port as &dyn Aml])),
        ),
    ];
    Device::new("_SB_.PEVT".into(), Vec::from(children)).to_aml_bytes(contents);
}

/// The PCI Express host bridge: bus 0, one window for base address registers below 4 GiB and one above.
fn host_bridge(contents: &mut Vec<u8>) {
    let bus = AddressSpace::new_bus_number(0u16, 0);
    let kind = || AddressSpaceCacheable::NotCacheable;
    let (first, last) = (BAR_WINDOW as u32, (BAR_WINDOW_END - 1) as u32);
    let low = AddressSpace::new_memory(kind(), true, first, last, None);
    let high = AddressSpace::new_memory(kind(), true, HIGH_BAR_WINDOW, HIGH_BAR_WINDOW_END - 1, None);
    let windows = ResourceTemplate::new(Vec::from([&bus as &dyn Aml, &low, &high]));
    let children: [&dyn Aml; 7] = [
        &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
        &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
        &Name::new("_SEG".into(), &ZERO),
        &Name::new("_BBN".into(), &ZERO),
        &Name::new("_UID".into(), &ZERO),
        &Name::new("_CRS".into(), &windows),
        &Encoded(&ROUTES),
    ];
    Device::new("_SB_.PCI0".into(), Vec::from(children)).to_aml_bytes(contents);
}

/// AML that was encoded before.
struct Encoded(&'static [u8]);

impl Aml for Encoded {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(self.0);
    }
}

/// Slots of bus 0 that devices are in: 1 to 31.
const SLOTS: usize = 31;
/// Bytes of a route: PackageOp, its length, 4 elements; DWord of the slot; byte of the pin; no link device; byte of the line.
const ROUTE: usize = 13;
/// Bytes before the first: NameOp, name, PackageOp, its length in two bytes, number of elements.
const ROUTES_HEAD: usize = 9;

/// `Name (_PRT, Package () { Package () { slot << 16 | 0xffff, pin, 0, line }, ... })` of every slot and pin (ACPI 6.4, sections 6.2.13
/// and 20.2). Encoded when the hypervisor is built, since a guest's start would notice 124 packages.
const ROUTES: [u8; ROUTES_HEAD + 4 * SLOTS * ROUTE] = {
    let mut bytes = [0; ROUTES_HEAD + 4 * SLOTS * ROUTE];
    // What a package says of its length includes the length, and not the operator before.
    let length = bytes.len() - 6;
    let head = [
        0x08,
        b'_',
        b'P',
        b'R',
        b'T',
        0x12,
        0x40 | (length & 0xf) as u8,
        (length >> 4) as u8,
        (4 * SLOTS) as u8,
    ];
    let mut at = 0;
    while at < ROUTES_HEAD {
        bytes[at] = head[at];
        at += 1;
    }
    let mut route = 0;
    while route < 4 * SLOTS {
        let (slot, pin) = ((route / 4 + 1) as u8, (route % 4) as u8);
        let line = intx_line(slot, pin).0;
        let one = [
            0x12,
            ROUTE as u8 - 1,
            4,
            0x0c,
            0xff,
            0xff,
            slot,
            0,
            0x0a,
            pin,
            0,
            0x0a,
            line,
        ];
        let mut byte = 0;
        while byte < ROUTE {
            bytes[at] = one[byte];
            (at, byte) = (at + 1, byte + 1);
        }
        route += 1;
    }
    bytes
};

#[cfg(test)]
#[path = "acpi_tests.rs"]
mod tests;
