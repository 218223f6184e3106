//! The steps of opening and closing a cohort, on hardware.
#![expect(
    unsafe_code,
    reason = "promises isolation to `vfio-core`, which memory safety rests on"
)]

use crate::acpi::{EndpointId, Viot};
use crate::iommu::virtio::{Channel, Error, VirtioIommu};
use crate::pci::{self, ConfigAccess, Function, MmioAccess, Registers};
use alloc::vec::Vec;
use spin::Mutex;
use vfio_core::clock::Clock;
use vfio_core::cohort::{DeviceReset, ResetAction, SetReset};
use vfio_core::lease::{DeviceOps, DmaDomains, Interrupts, Quiesce, Reset};
use vfio_core::pci::Bdf;
use vfio_core::pci::spec::{Command, header};
use vfio_core::{DeviceId, DomainId, Fault, Mapping, Owner, Requester};

/// This machine, as `vfio-core` works on it.
#[derive(Debug)]
pub struct Assigner<C, K, M, I> {
    pub(super) config: C,
    clock: K,
    pub(super) mmio: Mutex<M>,
    /// In order of address.
    functions: Vec<Function>,
    iommu: Mutex<VirtioIommu<I>>,
    viot: Viot,
    /// Which of the table's IOMMUs `iommu` is.
    unit: usize,
}

impl<C: ConfigAccess, K: Clock, M: MmioAccess, I: Channel> Assigner<C, K, M, I> {
    /// Takes over the machine: `functions` as discovery found them, and the IOMMU that is number `unit` in `viot`.
    pub fn new(
        config: C,
        clock: K,
        mmio: M,
        mut functions: Vec<Function>,
        iommu: VirtioIommu<I>,
        viot: Viot,
        unit: usize,
    ) -> Self {
        functions.sort_unstable_by_key(|function| function.bdf);
        Self {
            config,
            clock,
            mmio: Mutex::new(mmio),
            functions,
            iommu: Mutex::new(iommu),
            viot,
            unit,
        }
    }

    /// Configuration space of the machine.
    pub const fn config(&self) -> &C {
        &self.config
    }

    /// All functions, in order of address.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The function at `bdf`.
    pub fn function(&self, bdf: Bdf) -> Option<&Function> {
        let at = self.functions.binary_search_by_key(&bdf, |function| function.bdf);
        self.functions.get(at.ok()?)
    }

    /// Works on the IOMMU.
    pub fn with_iommu<R>(&self, work: impl FnOnce(&mut VirtioIommu<I>) -> R) -> R {
        work(&mut self.iommu.lock())
    }

    /// The IOMMU's name for a requester, if it translates for it.
    pub fn endpoint(&self, requester: Requester) -> Option<EndpointId> {
        self.viot
            .endpoint(requester.pci()?)
            .filter(|(unit, _)| *unit == self.unit)
            .map(|(_, endpoint)| endpoint)
    }

    /// The requester that the IOMMU calls `endpoint`.
    pub fn requester(&self, endpoint: EndpointId) -> Option<Requester> {
        self.viot.function(self.unit, endpoint).map(Requester::from)
    }

    fn on_endpoint<R>(
        &self,
        requester: Requester,
        work: impl FnOnce(&mut VirtioIommu<I>, EndpointId) -> Result<R, Error>,
    ) -> Result<R, Fault> {
        let endpoint = self.endpoint(requester).ok_or(Fault::Unknown)?;
        self.on_iommu(|iommu| work(iommu, endpoint))
    }

    fn on_iommu<R>(&self, work: impl FnOnce(&mut VirtioIommu<I>) -> Result<R, Error>) -> Result<R, Fault> {
        work(&mut self.iommu.lock()).map_err(|error| {
            log::warn!("{error}");
            Fault::from(error)
        })
    }

    pub(super) fn known(&self, device: DeviceId) -> Result<&Function, Fault> {
        device
            .pci()
            .and_then(|bdf| self.function(bdf))
            .ok_or(Fault::Unknown)
    }

    fn alive(&self, function: &Function) -> Result<(), Fault> {
        let found = Registers::new(&self.config, function.bdf).u32(header::VENDOR_ID);
        match found {
            u32::MAX => Err(Fault::Gone),
            id if id as u16 != function.vendor || (id >> 16) as u16 != function.device => {
                Err(Fault::Rejected)
            }
            _ => Ok(()),
        }
    }

    /// Everything below `port`, bridges included.
    fn below(&self, port: &Function) -> Vec<&Function> {
        let Some(buses) = port.buses else {
            return Vec::new();
        };
        let segment = port.bdf.segment();
        let before = |bus: u16| {
            self.functions.partition_point(|function| {
                (function.bdf.segment(), u16::from(function.bdf.bus())) < (segment, bus)
            })
        };
        let (from, to) = (
            before(buses.secondary.into()),
            before(u16::from(buses.subordinate) + 1),
        );
        self.functions.get(from..to).unwrap_or_default().iter().collect()
    }
}

// SAFETY: the driver attaches endpoints to no domain but the quarantine, which maps nothing, and the one asked for; it
// tells the device exactly the regions that it was given, and waits for each answer; `bypass` is off.
unsafe impl<C: ConfigAccess, K: Clock, M: MmioAccess, I: Channel> DmaDomains for Assigner<C, K, M, I> {
    fn create_domain(&self, _: Owner) -> Result<DomainId, Fault> {
        self.on_iommu(VirtioIommu::create_domain)
    }

    fn destroy_domain(&self, domain: DomainId) -> Result<(), Fault> {
        self.on_iommu(|iommu| iommu.destroy_domain(domain))
    }

    fn map(&self, domain: DomainId, region: Mapping) -> Result<(), Fault> {
        self.on_iommu(|iommu| iommu.map(domain, region))
    }

    fn attach(&self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        self.on_endpoint(requester, |iommu, endpoint| iommu.attach(domain, endpoint))
    }

    fn quarantine(&self, requester: Requester) -> Result<(), Fault> {
        self.on_endpoint(requester, VirtioIommu::quarantine)
    }
}

impl<C: ConfigAccess, K: Clock, M: MmioAccess, I: Channel> Quiesce for Assigner<C, K, M, I> {
    fn quiesce(&self, device: DeviceId) -> Result<(), Fault> {
        let function = self.known(device)?;
        let registers = Registers::new(&self.config, function.bdf);
        let command = registers.command();
        if command.bits() == u16::MAX {
            return Err(Fault::Gone);
        }
        registers.set_command((command - Command::BUS_MASTER) | Command::INTX_DISABLE);
        self.silence(function);
        if registers.command().contains(Command::BUS_MASTER) {
            Err(Fault::Rejected)
        } else {
            Ok(())
        }
    }
}

impl<C: ConfigAccess, K: Clock, M: MmioAccess, I: Channel> Reset for Assigner<C, K, M, I> {
    fn reset(&self, action: &ResetAction) -> Result<(), Fault> {
        let done = match action {
            ResetAction::Device {
                device,
                method: DeviceReset::Function(method),
            } => pci::reset_function(&self.config, &self.clock, self.known(*device)?, *method),
            ResetAction::Set {
                by: SetReset::Port(port),
                ..
            } => {
                let port = self.function(*port).ok_or(Fault::Unknown)?;
                pci::secondary_bus_reset(&self.config, &self.clock, port, &self.below(port))
            }
            // Buses that this machine does not have.
            ResetAction::Device { .. } | ResetAction::Set { .. } => return Err(Fault::Unknown),
        };
        done.map_err(|error| {
            log::warn!("reset: {error}");
            match error {
                pci::ResetError::Pending(_) | pci::ResetError::LinkDown(_) => Fault::TimedOut,
                pci::ResetError::NoAnswer(_) | pci::ResetError::Asleep(_) => Fault::Gone,
                pci::ResetError::Unsupported(_) => Fault::Unknown,
                pci::ResetError::Changed { .. } | pci::ResetError::Stuck(_) => Fault::Rejected,
            }
        })
    }

    fn check_alive(&self, device: DeviceId) -> Result<(), Fault> {
        self.alive(self.known(device)?)
    }
}

impl<C: ConfigAccess, K: Clock, M: MmioAccess, I: Channel> Interrupts for Assigner<C, K, M, I> {
    /// A virtio-iommu lets the whole window of local APICs pass, and remaps nothing.
    fn interrupts_isolated(&self) -> bool {
        false
    }

    fn enable_interrupts(&self, device: DeviceId, _: Owner) -> Result<(), Fault> {
        self.prepare_msix(self.known(device)?)
    }

    fn release_interrupts(&self, device: DeviceId) -> Result<(), Fault> {
        self.silence(self.known(device)?);
        Ok(())
    }
}

impl<C: ConfigAccess, K: Clock, M: MmioAccess, I: Channel> DeviceOps for Assigner<C, K, M, I> {
    /// The registers answer from now on; bus mastering is the guest's to turn on.
    fn open_device(&self, device: DeviceId, _: Owner) -> Result<(), Fault> {
        let function = self.known(device)?;
        // What is gone reads as all ones, which looks as if it obeyed.
        self.alive(function)?;
        if pci::set_memory_decode(&self.config, function.bdf, true) || function.bars.is_empty() {
            Ok(())
        } else {
            // Functions without memory BARs may hardwire the bit to zero.
            if function.bars.iter().any(pci::Bar::is_memory) {
                Err(Fault::Rejected)
            } else {
                Ok(())
            }
        }
    }

    fn close_device(&self, device: DeviceId, _: Owner) -> Result<(), Fault> {
        let function = self.known(device)?;
        pci::set_memory_decode(&self.config, function.bdf, false);
        self.alive(function)
    }

    /// Registers that answer, and MSI-X on with every entry masked: as after an open.
    fn restore_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        self.open_device(device, owner)?;
        self.enable_interrupts(device, owner)
    }
}
