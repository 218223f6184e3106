//! The steps of opening and closing a cohort, on hardware.
#![expect(
    unsafe_code,
    reason = "promises isolation to `vfio-core`, which memory safety rests on"
)]

use super::hooks::Hooks;
use crate::iommu::{Registry, Unit};
use crate::pci::{self, ConfigAccess, Function, MmioAccess};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use spin::Mutex;
use vfio_core::clock::Clock;
use vfio_core::cohort::{DeviceReset, ResetAction, SetReset};
use vfio_core::domain::{IovaRange, ReservedRegion, UnitId, UnitLimits};
use vfio_core::lease::{DeviceOps, DmaDomains, Interrupts, Quiesce, Reset};
use vfio_core::pci::device::{AssignedFunction, FunctionError, FunctionTable, LastReset, NotExposed};
use vfio_core::pci::reset::HostParts;
use vfio_core::pci::{Bdf, Topology};
use vfio_core::{DeviceId, DomainId, Fault, Mapping, Owner, Requester};

/// This machine, as `vfio-core` works on it.
#[derive(Debug)]
pub struct Assigner<C, K, M, U> {
    pub(super) config: C,
    clock: K,
    pub(super) mmio: Mutex<M>,
    pub(super) table: FunctionTable,
    pub(super) iommus: Registry<U>,
    /// Who the IOMMUs take each function for.
    pub(super) requesters: BTreeMap<Bdf, Requester>,
}

impl<C: ConfigAccess, K: Clock, M: MmioAccess, U: Unit> Assigner<C, K, M, U> {
    /// Takes over the machine: `functions` as discovery found them, which make up `topology`, and the IOMMUs.
    pub fn new(
        config: C,
        clock: K,
        mmio: M,
        mut functions: Vec<Function>,
        topology: &Topology,
        iommus: Registry<U>,
    ) -> Self {
        let requester =
            |function: &Function| Some((function.bdf, *topology.dma_aliases(function.bdf).first()?));
        let requesters = functions.iter().filter_map(requester).collect();
        functions.sort_unstable_by_key(|function| function.bdf);
        Self {
            config,
            clock,
            mmio: Mutex::new(mmio),
            table: FunctionTable::new(functions),
            iommus,
            requesters,
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

    /// The machine's IOMMUs.
    pub const fn iommus(&self) -> &Registry<U> {
        &self.iommus
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

// SAFETY: the registry asks the one unit that covers a requester, whose driver promises the same (`Unit`).
unsafe impl<C: ConfigAccess, K: Clock, M: MmioAccess, U: Unit> DmaDomains for Assigner<C, K, M, U> {
    fn unit_of(&self, requester: Requester) -> Result<UnitId, Fault> {
        self.iommus.unit_of(requester)
    }

    fn limits(&self, unit: UnitId) -> Result<UnitLimits, Fault> {
        self.iommus.limits(unit)
    }

    fn reserved(&self, requester: Requester) -> Result<Vec<ReservedRegion>, Fault> {
        self.iommus.reserved(requester)
    }

    fn create_domain(&self, _: Owner) -> Result<DomainId, Fault> {
        self.iommus.create_domain()
    }

    fn destroy_domain(&self, domain: DomainId) -> Result<(), Fault> {
        self.iommus.destroy_domain(domain)
    }

    fn map(&self, unit: UnitId, domain: DomainId, mapping: Mapping) -> Result<(), Fault> {
        self.iommus.map(unit, domain, mapping)
    }

    fn unmap(&self, unit: UnitId, domain: DomainId, range: IovaRange) -> Result<(), Fault> {
        self.iommus.unmap(unit, domain, range)
    }

    fn attach(&self, domain: DomainId, requester: Requester) -> Result<(), Fault> {
        self.iommus.attach(domain, requester)
    }

    fn quarantine(&self, requester: Requester) -> Result<(), Fault> {
        self.iommus.quarantine(requester)
    }
}

impl<C: ConfigAccess, K: Clock, M: MmioAccess, U: Unit> Quiesce for Assigner<C, K, M, U> {
    fn quiesce(&self, device: DeviceId) -> Result<(), Fault> {
        self.with(device, |function| function.quiesce(&self.host()))
    }
}

impl<C: ConfigAccess, K: Clock, M: MmioAccess, U: Unit> Reset for Assigner<C, K, M, U> {
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

impl<C: ConfigAccess, K: Clock, M: MmioAccess, U: Unit> Interrupts for Assigner<C, K, M, U> {
    fn interrupts_isolated(&self) -> bool {
        self.iommus.interrupts_isolated()
    }

    fn enable_interrupts(&self, device: DeviceId, _: Owner) -> Result<(), Fault> {
        self.prepare_msix(self.known(device)?)
    }

    fn release_interrupts(&self, device: DeviceId) -> Result<(), Fault> {
        self.with(device, |function| {
            function.silence(&self.host());
            Ok(())
        })?;
        self.iommus.release(self.known(device)?.bdf)
    }
}

impl<C: ConfigAccess, K: Clock, M: MmioAccess, U: Unit> DeviceOps for Assigner<C, K, M, U> {
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
