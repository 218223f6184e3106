//! The steps of opening and closing a cohort, on hardware.
#![expect(
    unsafe_code,
    reason = "promises isolation to `vfio-core`, which memory safety rests on"
)]

use super::hooks::Hooks;
use crate::acpi::{EndpointId, Viot};
use crate::iommu::virtio::{Channel, Error, VirtioIommu};
use crate::pci::{self, ConfigAccess, Function, MmioAccess};
use alloc::vec::Vec;
use spin::Mutex;
use vfio_core::clock::Clock;
use vfio_core::cohort::{DeviceReset, ResetAction, SetReset};
use vfio_core::domain::{IovaRange, ReservedRegion, UnitId, UnitLimits};
use vfio_core::lease::{DeviceOps, DmaDomains, Interrupts, Quiesce, Reset};
use vfio_core::pci::Bdf;
use vfio_core::pci::device::{AssignedFunction, FunctionError, FunctionTable, LastReset, NotExposed};
use vfio_core::pci::reset::HostParts;
use vfio_core::{DeviceId, DomainId, Fault, Mapping, Owner, Requester};

/// This machine, as `vfio-core` works on it.
#[derive(Debug)]
pub struct Assigner<C, K, M, I> {
    pub(super) config: C,
    clock: K,
    pub(super) mmio: Mutex<M>,
    pub(super) table: FunctionTable,
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
            table: FunctionTable::new(functions),
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
        self.table.functions()
    }

    /// The function at `bdf`.
    pub fn function(&self, bdf: Bdf) -> Option<&Function> {
        self.table.function(bdf)
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

    /// The one unit's name, by its place in the table of units.
    fn unit_id(&self) -> UnitId {
        UnitId(self.unit as u32)
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

    /// What the life of a function works on.
    pub(super) const fn host(&self) -> HostParts<&C, &K, Hooks<'_, K, M>> {
        HostParts {
            config: &self.config,
            clock: &self.clock,
            hooks: Hooks {
                clock: &self.clock,
                mmio: &self.mmio,
            },
        }
    }

    /// Works on the function, which is in nobody else's hands.
    fn with<R>(
        &self,
        device: DeviceId,
        work: impl FnOnce(&mut AssignedFunction<'_>) -> Result<R, FunctionError>,
    ) -> Result<R, Fault> {
        let bdf = self.known(device)?.bdf;
        logged(self.table.with(bdf, work).and_then(|done| done))
    }

    /// Has the function's registers answer. Functions without memory BARs may hardwire the bit to zero, and virtual
    /// functions do: their physical function has a bit for all of them.
    fn decode(&self, function: &Function) -> Result<(), Fault> {
        let obeyed = pci::set_memory_decode(&self.config, function.bdf, true);
        let has_bit = function.physical_function.is_none() && function.bars.iter().any(pci::Bar::is_memory);
        if obeyed || !has_bit {
            Ok(())
        } else {
            Err(Fault::Rejected)
        }
    }
}

/// What went wrong with a function, in the log and as a fault.
pub(super) fn logged<R>(result: Result<R, FunctionError>) -> Result<R, Fault> {
    result.map_err(|error| {
        log::warn!("{error}");
        error.into()
    })
}

// SAFETY: there is one unit, which is told every change, and has answered before a change is `Ok`. The driver attaches endpoints to no domain but the quarantine, which maps nothing, and the one asked for; it
// tells the device exactly the mappings that it was given; it leaves a domain by DETACH, which destroys the domain with
// its last endpoint; `bypass` is off.
unsafe impl<C: ConfigAccess, K: Clock, M: MmioAccess, I: Channel> DmaDomains for Assigner<C, K, M, I> {
    fn unit_of(&self, requester: Requester) -> Result<UnitId, Fault> {
        self.endpoint(requester)
            .map(|_| self.unit_id())
            .ok_or(Fault::Unknown)
    }

    fn limits(&self, unit: UnitId) -> Result<UnitLimits, Fault> {
        if unit == self.unit_id() {
            Ok(self.iommu.lock().limits())
        } else {
            Err(Fault::Unknown)
        }
    }

    fn reserved(&self, requester: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        let endpoint = self.endpoint(requester).ok_or(Fault::Unknown)?;
        let iommu = self.iommu.lock();
        let properties = iommu.properties(endpoint).ok_or(Fault::Unknown)?;
        Ok(properties.reserved.clone())
    }

    fn create_domain(&self, _: Owner) -> Result<DomainId, Fault> {
        self.on_iommu(VirtioIommu::create_domain)
    }

    fn destroy_domain(&self, domain: DomainId) -> Result<(), Fault> {
        self.on_iommu(|iommu| iommu.destroy_domain(domain))
    }

    fn map(&self, _: UnitId, domain: DomainId, mapping: Mapping) -> Result<(), Fault> {
        self.on_iommu(|iommu| iommu.map(domain, mapping))
    }

    fn unmap(&self, _: UnitId, domain: DomainId, range: IovaRange) -> Result<(), Fault> {
        self.on_iommu(|iommu| iommu.unmap(domain, range))
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
        self.with(device, |function| function.quiesce(&self.host()))
    }
}

impl<C: ConfigAccess, K: Clock, M: MmioAccess, I: Channel> Reset for Assigner<C, K, M, I> {
    /// A set is reset by its port, and a function by the best of its own methods, whatever the plan counted on.
    fn reset(&self, action: &ResetAction) -> Result<(), Fault> {
        let host = self.host();
        match action {
            ResetAction::Device {
                device,
                method: DeviceReset::Function(_),
            } => {
                let bdf = self.known(*device)?.bdf;
                logged(self.table.reset(&host, bdf, &NotExposed)).map(drop)
            }
            ResetAction::Set {
                members,
                by: SetReset::Port(_),
                ..
            } => {
                let members: Option<Vec<Bdf>> = members.iter().map(|device| device.pci()).collect();
                let members = members.ok_or(Fault::Unknown)?;
                logged(self.table.reset_set(&host, &members))
            }
            // Buses that this machine does not have.
            ResetAction::Device { .. } | ResetAction::Set { .. } => Err(Fault::Unknown),
        }
    }

    fn check_alive(&self, device: DeviceId) -> Result<(), Fault> {
        self.with(device, |function| Ok(function.alive(&self.host())?))
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
        self.with(device, |function| {
            function.silence(&self.host());
            Ok(())
        })
    }
}

impl<C: ConfigAccess, K: Clock, M: MmioAccess, I: Channel> DeviceOps for Assigner<C, K, M, I> {
    /// The registers answer from now on; bus mastering is the guest's to turn on, and INTx stays masked.
    fn open_device(&self, device: DeviceId, _: Owner) -> Result<(), Fault> {
        let function = self.known(device)?;
        logged(self.table.enable(&self.host(), function.bdf))?;
        self.decode(function).inspect_err(|_| {
            // As it was before; the error that counts is the one above.
            let _ = self
                .table
                .disable(&self.host(), function.bdf, LastReset::Later, &NotExposed);
        })
    }

    /// The owner's vCPU has ended, so nobody sees registers any more. The reset comes when the IOMMU denies everything.
    fn close_device(&self, device: DeviceId, _: Owner) -> Result<(), Fault> {
        let bdf = self.known(device)?.bdf;
        let disabled = self
            .table
            .disable(&self.host(), bdf, LastReset::Later, &NotExposed);
        logged(disabled).map(drop)
    }

    /// Registers that answer, and MSI-X on with every entry masked: as after an open.
    fn restore_device(&self, device: DeviceId, owner: Owner) -> Result<(), Fault> {
        self.decode(self.known(device)?)?;
        self.enable_interrupts(device, owner)
    }
}
