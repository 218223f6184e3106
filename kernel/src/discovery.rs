//! What machine this is: firmware's tables, then every PCI function, each judged whether a guest can have it.
#![expect(
    unsafe_code,
    reason = "reads firmware's tables and device registers at their physical addresses"
)]

use crate::acpi::{self, PhysMem};
use crate::entry::BootInfo;
use crate::memory::paging::{self, PagingError};
use crate::memory::regions::Region;
use crate::pci::{self, Ecam, EcamError, Function, MmioAccess, VirtioError};
use alloc::vec::Vec;
use vfio_core::pci::{Bdf, NotAssignable, Topology, TopologyError};

/// Why the machine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The loader did not say where ACPI is.
    #[error("the boot loader passed no ACPI root pointer; boot by PVH or with a loader that passes it")]
    NoRsdp,
    /// A table is broken.
    #[error("ACPI: {0}; the firmware must be mended, nothing is guessed from broken tables")]
    Acpi(#[from] acpi::Error),
    /// Configuration space cannot be reached.
    #[error("PCI: {0}")]
    Ecam(#[from] EcamError),
    /// Device memory cannot be mapped.
    #[error("device memory cannot be mapped: {0}")]
    Paging(#[from] PagingError),
    /// What bridges say contradicts itself.
    #[error("PCI topology: {0}")]
    Topology(#[from] TopologyError),
}

/// Physical memory that the loader's map names, less the hypervisor's own image.
struct FirmwareMemory<'a>(&'a [Region]);

/// Where BIOSes leave the root pointer, on a multiple of 16 (ACPI 6.5, section 5.2.5.1).
const BIOS_AREA: core::ops::Range<u64> = 0xe_0000..0x10_0000;

/// The loader's root pointer where there is one, else what the BIOS area has. QEMU's PVH loader looks for it
/// at odd places and may pass whatever it finds there.
fn root_pointer(firmware: &FirmwareMemory<'_>, boot: &BootInfo) -> Option<u64> {
    let signed = |&address: &u64| {
        let signature = firmware.bytes(address, spec::acpi::rsdp::SIGNATURE.len());
        signature.is_some_and(|found| found == spec::acpi::rsdp::SIGNATURE)
    };
    let told = boot.rsdp.map(|rsdp| rsdp.0).filter(signed);
    told.or_else(|| {
        let area = firmware.bytes(BIOS_AREA.start, (BIOS_AREA.end - BIOS_AREA.start) as usize)?;
        let starts = |piece: &[u8]| piece.starts_with(&spec::acpi::rsdp::SIGNATURE);
        let at = area.chunks_exact(16).position(starts)?;
        Some(BIOS_AREA.start + at as u64 * 16)
    })
}

impl PhysMem for FirmwareMemory<'_> {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let end = address.checked_add(length as u64)?;
        let image = paging::image();
        let within = self
            .0
            .iter()
            .any(|region| region.start <= address && end <= region.end)
            || (BIOS_AREA.start <= address && end <= BIOS_AREA.end);
        if !within || address < 4096 || (address < image.end && image.start < end) || end > paging::LIMIT {
            return None;
        }
        paging::map_device(crate::addr::HostPhys(address), length as u64).ok()?;
        // SAFETY: mapped one to one, outside the image and its guard pages; nothing writes firmware's tables.
        Some(unsafe { core::slice::from_raw_parts(address as *const u8, length) })
    }
}

/// Device registers at their physical addresses, which [`Machine::find`] has mapped.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceMemory(());

impl MmioAccess for DeviceMemory {
    fn read32(&mut self, address: u64) -> u32 {
        // SAFETY: callers pass addresses inside BARs that overlap neither RAM nor the platform, mapped uncached.
        unsafe { (address as *const u32).read_volatile() }
    }

    fn write32(&mut self, address: u64, value: u32) {
        // SAFETY: as for `read32`.
        unsafe { (address as *mut u32).write_volatile(value) }
    }
}

/// The machine, as found. No device can reach memory by itself.
#[derive(Debug)]
pub struct Machine {
    /// What ACPI says.
    pub acpi: acpi::Platform,
    /// Configuration space.
    pub ecam: Ecam,
    /// Every function, judged.
    pub functions: Vec<Function>,
}

impl Machine {
    /// Reads the tables and finds all functions. Bus mastering is turned off wherever firmware left it on, ACS on
    /// wherever a port has it.
    ///
    /// # Errors
    /// [`DiscoveryError`]: the machine says something that cannot be worked with.
    pub fn find(boot: &BootInfo) -> Result<Self, DiscoveryError> {
        let firmware = FirmwareMemory(&boot.memory);
        let rsdp = root_pointer(&firmware, boot).ok_or(DiscoveryError::NoRsdp)?;
        let acpi = acpi::read(&firmware, rsdp)?;
        for window in &acpi.ecam {
            paging::map_device(crate::addr::HostPhys(window.start()), window.bytes())?;
        }
        // SAFETY: the windows are mapped one to one; whether firmware tells the truth of what is there, nothing but
        // configuration space could make it say.
        let ecam = unsafe { Ecam::new(&acpi.ecam) }?;
        let scan = pci::scan(&ecam, &ecam.segment_windows());
        for problem in &scan.problems {
            log::warn!("PCI: {problem}");
        }
        let mut functions = scan.functions;
        for bdf in pci::bus_master_off_everywhere(&ecam, &functions) {
            log::warn!("{bdf} does not stop mastering the bus");
        }
        for function in &mut functions {
            pci::enable_acs(&ecam, function);
        }
        pci::apply_quirks(&mut functions);
        let mut machine = Self {
            acpi,
            ecam,
            functions,
        };
        machine.check_bars(boot)?;
        machine.judge();
        Ok(machine)
    }

    /// What `vfio-core` needs to know.
    ///
    /// # Errors
    /// What bridges say contradicts itself.
    pub fn topology(&self) -> Result<Topology, DiscoveryError> {
        Ok(Topology::new(pci::to_topology(&self.functions))?)
    }

    /// The function at `bdf`.
    #[must_use]
    pub fn function(&self, bdf: Bdf) -> Option<&Function> {
        self.functions.iter().find(|function| function.bdf == bdf)
    }

    /// Drops BARs that lie over something else from what a guest may have, and maps the others.
    fn check_bars(&mut self, boot: &BootInfo) -> Result<(), DiscoveryError> {
        let mut platform: Vec<(u64, u64)> = alloc::vec![(self.acpi.lapic_base, self.acpi.lapic_base + 4096)];
        platform.extend(
            self.acpi
                .ioapics
                .iter()
                .map(|ioapic| (ioapic.address, ioapic.address + 4096)),
        );
        platform.extend(
            self.acpi
                .ecam
                .iter()
                .map(|window| (window.start(), window.start() + window.bytes())),
        );
        for overlap in pci::overlaps(&self.functions, &boot.memory, &platform) {
            log::warn!("{overlap}; it is given to nobody");
            if let Some(function) = self
                .functions
                .iter_mut()
                .find(|function| function.bdf == overlap.function)
            {
                function.not_assignable.get_or_insert(NotAssignable::Malformed);
            }
        }
        for overlap in pci::hide_overlapping_roms(&mut self.functions, &boot.memory, &platform) {
            log::warn!("the ROM of {} cannot be read: {overlap}", overlap.function);
        }
        for function in self
            .functions
            .iter()
            .filter(|function| function.not_assignable.is_none())
        {
            for bar in function
                .bars
                .iter()
                .chain(&function.rom)
                .filter(|bar| bar.is_memory() && bar.address != 0)
            {
                paging::map_device(crate::addr::HostPhys(bar.address), bar.size)?;
            }
        }
        Ok(())
    }

    /// Says of each function why no guest can have it, where that is so.
    fn judge(&mut self) {
        let acpi = &self.acpi;
        for function in &mut self.functions {
            let reason = judge(&self.ecam, acpi, function);
            if function.not_assignable.is_none() {
                function.not_assignable = reason;
            }
        }
    }
}

/// Base class of bridges: those to other buses than PCI are the platform's.
const CLASS_BRIDGE: u32 = 0x06;
/// Base class and sub-class of IOMMUs.
const CLASS_IOMMU: u32 = 0x08_06;

fn judge(ecam: &Ecam, acpi: &acpi::Platform, function: &Function) -> Option<NotAssignable> {
    if !function.kind.is_endpoint() {
        return None;
    }
    let virtio = acpi.viot.as_ref().is_some_and(|viot| viot.is_iommu(function.bdf));
    let mut amd = acpi.ivrs.iter().flat_map(|ivrs| &ivrs.units);
    let is_iommu =
        virtio || amd.any(|unit| unit.function == function.bdf) || function.class >> 8 == CLASS_IOMMU;
    if is_iommu || function.class >> 16 == CLASS_BRIDGE {
        return Some(NotAssignable::UsedByHypervisor);
    }
    if function.virtio.is_some() && function.not_assignable.is_none() {
        let passes = pci::virtio_access_platform(ecam, function, &mut DeviceMemory::default());
        match passes {
            Ok(true) => {}
            Ok(false) | Err(VirtioError::Legacy) => return Some(NotAssignable::BypassesIommu),
            Err(error) => {
                log::warn!("{}: {error}", function.bdf);
                return Some(NotAssignable::BypassesIommu);
            }
        }
    }
    None
}
