//! The guest's read-only region: start information, memory map, command line and ACPI tables.
//!
//! ```text
//! 0xe0000  hvm_start_info
//! 0xe0040  memory map
//! 0xe00c0  the one module: the initial file system
//! 0xe0100  RSDP, XSDT, MADT, MCFG, FADT, DSDT, each at a multiple of 64
//!          command line, ended by zero
//! ```
//! Systems that search for the RSDP find it too: it is at a multiple of 16 below 1 MiB.

use super::apic::MAX_CPUS;
use super::layout::{BAR_WINDOW, BAR_WINDOW_END, ECAM, ECAM_SIZE, HIGH_RAM, LOW_RAM_END, ROM, ROM_SIZE};
use super::loader::BootParameters;
use super::policy::port::{CONSOLE, RESET, RESET_VALUE, SLEEP_CONTROL, SLEEP_SOFT_OFF, SLEEP_STATUS};
use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Memory32Fixed, Name, Package,
    ResourceTemplate, ZERO,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{self, AccessSize, GAS};
use acpi_tables::madt::{EnabledStatus, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use alloc::vec::Vec;
use spec::lapic;
use spec::pvh::{MAGIC, MemoryMapEntry, ModuleEntry, RAM, RESERVED, StartInfo, VERSION};
use zerocopy::IntoBytes;

const MEMORY_MAP: usize = 0x40;
const MODULES: usize = 0xc0;
const RSDP: usize = 0x100;
const ALIGN: usize = 64;
const OEM: [u8; 6] = *b"COHORT";
const OEM_TABLE: [u8; 8] = *b"COHORTVM";
const OEM_REVISION: u32 = 1;
/// What a PC has and this guest has not: VGA and a real-time clock (ACPI 6.4, section 5.2.9.3). The bits for what else
/// a PC has, 8259s and keyboard controller among it, are clear.
const BOOT_ARCHITECTURE: u16 = 1 << 2 | 1 << 5;

/// Why the region could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RomError {
    /// More than fits.
    #[error("boot information of {bytes} bytes does not fit into 128 KiB; shorten the command line")]
    TooLarge {
        /// Bytes.
        bytes: usize,
    },
    /// A command line that its end mark would cut.
    #[error("the command line contains a zero byte")]
    CommandLine,
    /// CPUs that no local APIC id is for.
    #[error("{cpus} CPUs for one guest: 1 to {MAX_CPUS} are possible")]
    Cpus {
        /// How many.
        cpus: u8,
    },
}

/// The region's contents.
#[derive(Clone, Debug)]
pub struct RomImage {
    /// What goes to [`ROM`].
    pub image: Vec<u8>,
    /// Guest physical address of `hvm_start_info`.
    pub start_info: u32,
    /// Guest physical address of the RSDP.
    pub rsdp: u64,
}

/// Builds the region for a guest with `ram` bytes. `module` is the address and the length of the initial file system.
///
/// # Errors
/// [`RomError`].
pub fn build(
    parameters: BootParameters<'_>,
    ram: u64,
    module: Option<(u64, u64)>,
) -> Result<RomImage, RomError> {
    if !(1..=MAX_CPUS).contains(&parameters.cpus) {
        return Err(RomError::Cpus {
            cpus: parameters.cpus,
        });
    }
    if parameters.command_line.contains('\0') {
        return Err(RomError::CommandLine);
    }
    let mut image = Vec::from([0; RSDP]);
    let rsdp = append_tables(&mut image, parameters.cpus);
    let command_line = address(image.len());
    image.extend_from_slice(parameters.command_line.as_bytes());
    image.push(0);

    let map = memory_map(ram);
    let start_info = StartInfo {
        magic: MAGIC.into(),
        version: VERSION.into(),
        flags: 0.into(),
        modules: u32::from(module.is_some()).into(),
        module_list: module.map_or(0, |_| address(MODULES)).into(),
        command_line: command_line.into(),
        rsdp: rsdp.into(),
        memory_map: address(MEMORY_MAP).into(),
        memory_map_entries: (map.len() as u32).into(),
        reserved: 0.into(),
    };
    put(&mut image, 0, start_info.as_bytes());
    put(&mut image, MEMORY_MAP, map.as_bytes());
    if let Some((at, size)) = module {
        let entry = ModuleEntry {
            address: at.into(),
            size: size.into(),
            command_line: 0.into(),
            reserved: 0.into(),
        };
        put(&mut image, MODULES, entry.as_bytes());
    }
    if image.len() as u64 > ROM_SIZE {
        return Err(RomError::TooLarge { bytes: image.len() });
    }
    Ok(RomImage {
        image,
        start_info: ROM as u32,
        rsdp,
    })
}

const fn address(offset: usize) -> u64 {
    ROM + offset as u64
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in image.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

pub(super) fn memory_map(ram: u64) -> [MemoryMapEntry; 5] {
    let entry = |start: u64, end: u64, kind: u32| MemoryMapEntry {
        address: start.into(),
        size: end.saturating_sub(start).into(),
        kind: kind.into(),
        reserved: 0.into(),
    };
    [
        entry(0, LOW_RAM_END, RAM),
        entry(ROM, ROM + ROM_SIZE, RESERVED),
        entry(HIGH_RAM, ram.min(BAR_WINDOW), RAM),
        entry(ECAM, ECAM + ECAM_SIZE, RESERVED),
        entry(lapic::BASE, lapic::BASE + lapic::SIZE, RESERVED),
    ]
}

/// Appends the tables, and returns where the RSDP is.
fn append_tables(image: &mut Vec<u8>, cpus: u8) -> u64 {
    // The RSDP is first, but knows the XSDT only at the end.
    let rsdp = image.len();
    image.resize(rsdp + Rsdp::len(), 0);
    let mut append = |table: &dyn Aml| {
        image.resize(image.len().next_multiple_of(ALIGN), 0);
        let at = address(image.len());
        table.to_aml_bytes(image);
        at
    };
    let dsdt = append(&dsdt());
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        // Messages of devices are delivered to physical destinations (`msix::route`).
        .flag(Flags::ForceApicPhysicalDestinationMode)
        .flag(Flags::Wbinvd);
    fadt.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    fadt.reset_reg = byte_port(RESET);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = byte_port(SLEEP_CONTROL);
    fadt.sleep_status_reg = byte_port(SLEEP_STATUS);
    let fadt = fadt.finalize();
    let apic = LocalInterruptController::Address(lapic::BASE as u32);
    let mut madt = MADT::new(OEM, OEM_TABLE, OEM_REVISION, apic);
    for cpu in 0..cpus {
        madt.add_structure(ProcessorLocalApic::new(cpu, cpu, EnabledStatus::Enabled));
    }
    let mut mcfg = MCFG::new(OEM, OEM_TABLE, OEM_REVISION);
    mcfg.add_ecam(ECAM, 0, 0, 0);
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    for table in [append(&fadt), append(&madt), append(&mcfg)] {
        xsdt.add_entry(table);
    }
    let xsdt = append(&xsdt);
    image.resize(image.len().next_multiple_of(ALIGN), 0);
    put(image, rsdp, Rsdp::new(OEM, xsdt).as_bytes());
    address(rsdp)
}

fn byte_port(port: u16) -> GAS {
    let io = gas::AddressSpace::SystemIo;
    GAS::new(io, 8, 0, AccessSize::ByteAccess, port.into())
}

/// What only AML can say: the host bridge and its windows, that configuration space is taken, the console, which has no interrupt, and how to turn the power off.
fn dsdt() -> Sdt {
    let bus = AddressSpace::new_bus_number(0u16, 0);
    let (first, last) = (BAR_WINDOW as u32, (BAR_WINDOW_END - 1) as u32);
    let window = AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, first, last, None);
    let mut contents = Vec::new();
    Device::new(
        "_SB_.PCI0".into(),
        Vec::from([
            &Name::new("_HID".into(), &EISAName::new("PNP0A08")) as &dyn Aml,
            &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_SEG".into(), &ZERO),
            &Name::new("_BBN".into(), &ZERO),
            &Name::new("_UID".into(), &ZERO),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(Vec::from([&bus as &dyn Aml, &window])),
            ),
        ]),
    )
    .to_aml_bytes(&mut contents);
    // Linux uses configuration space only where a device of the board claims it.
    let space = Memory32Fixed::new(true, ECAM as u32, ECAM_SIZE as u32);
    Device::new(
        "_SB_.ECAM".into(),
        Vec::from([
            &Name::new("_HID".into(), &EISAName::new("PNP0C02")) as &dyn Aml,
            &Name::new("_UID".into(), &ZERO),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(Vec::from([&space as &dyn Aml])),
            ),
        ]),
    )
    .to_aml_bytes(&mut contents);
    let ports = IO::new(CONSOLE, CONSOLE, 1, 8);
    Device::new(
        "_SB_.COM1".into(),
        Vec::from([
            &Name::new("_HID".into(), &EISAName::new("PNP0501")) as &dyn Aml,
            &Name::new("_UID".into(), &ZERO),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(Vec::from([&ports as &dyn Aml])),
            ),
        ]),
    )
    .to_aml_bytes(&mut contents);
    let off = Package::new(Vec::from([&SLEEP_SOFT_OFF as &dyn Aml, &ZERO, &ZERO, &ZERO]));
    Name::new("_S5_".into(), &off).to_aml_bytes(&mut contents);
    let mut table = Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, OEM_REVISION);
    table.append_slice(&contents);
    table
}
