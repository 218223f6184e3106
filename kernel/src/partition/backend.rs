//! The machine as one guest's dispatch reaches it: registers of its own devices, and the vectors that stand for
//! their interrupts on the guest's CPU.
#![expect(unsafe_code, reason = "accesses registers in BARs that the guest owns")]

use super::cpus::Cpus;
use super::routes::Routes;
use super::space::Space;
use crate::addr::HostPhys;
use crate::assign::MachineAssigner;
use crate::cpu::clock::Tsc;
use crate::cpu::lapic;
use crate::guest::layout::MemoryRegion;
use crate::guest::msix::Route;
use crate::guest::{DeviceBackend, Messages, NoRoute, Source};
use crate::pci::{ConfigAccess, Width};
use crate::survey::Table;
use alloc::sync::Arc;
use alloc::vec::Vec;
use vfio_core::clock::Clock;
use vfio_core::lease::{Lease, ResetFailure};
use vfio_core::pci::Bdf;
use vfio_core::pci::device::PowerState;
use vfio_core::pci::irq::IrqKind;
use vfio_core::set::Patience;
use vfio_core::{DeviceId, Fault};

/// Host vectors that stand for interrupts of devices: above the exceptions and the legacy vectors, below our own.
const VECTORS: core::ops::Range<u8> = 0x30..0xf0;

/// What a host vector stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    function: Bdf,
    source: Source,
}

impl Taken {
    fn is(&self, function: Bdf, source: Source) -> bool {
        self.function == function && self.source == source
    }
}

/// What a guest holds.
pub(super) type Leases = Vec<Lease<'static, MachineAssigner>>;

/// The hardware side of one guest.
pub(super) struct MachineBackend {
    table: Option<&'static Table>,
    cpus: Arc<Cpus>,
    sources: [Option<Taken>; VECTORS.end as usize],
    routes: Arc<Routes>,
    space: Arc<Space>,
    /// Its cohorts, from their opening until the boot CPU closes them.
    pub(super) leases: Leases,
}

/// Configuration space of a machine without an IOMMU, for guests without devices: nothing is there.
struct Nothing;

impl ConfigAccess for Nothing {
    fn read(&self, _: Bdf, _: u16, width: Width) -> u32 {
        u32::MAX >> (32 - 8 * u32::from(width.bytes()))
    }

    fn write(&self, _: Bdf, _: u16, _: Width, _: u32) {}
}

/// Configuration space of the host, if there is a table of cohorts.
pub(super) fn config(table: Option<&'static Table>) -> &'static dyn ConfigAccess {
    table.map_or(&Nothing, |table| table.platform().config())
}

impl MachineBackend {
    /// The backend of a guest that runs on `cpus`.
    pub(super) const fn new(
        table: Option<&'static Table>,
        cpus: Arc<Cpus>,
        routes: Arc<Routes>,
        space: Arc<Space>,
    ) -> Self {
        Self {
            table,
            cpus,
            sources: [None; VECTORS.end as usize],
            routes,
            space,
            leases: Vec::new(),
        }
    }

    /// The lease of the cohort that `function` is in.
    fn lease(&self, function: Bdf) -> Result<&Lease<'static, MachineAssigner>, Fault> {
        let mut leases = self.leases.iter();
        leases
            .find(|lease| lease.devices().contains(&DeviceId::from(function)))
            .ok_or(Fault::Unknown)
    }

    fn slot(&self, wanted: impl Fn(Option<Taken>) -> bool) -> Option<u8> {
        VECTORS
            .into_iter()
            .find(|vector| wanted(self.sources.get(usize::from(*vector)).copied().flatten()))
    }
}

impl DeviceBackend for MachineBackend {
    fn config(&self) -> &(dyn ConfigAccess + 'static) {
        config(self.table)
    }

    fn wait(&self, nanoseconds: u64) {
        Tsc.wait(nanoseconds);
    }

    fn mmio_read(&mut self, at: HostPhys, bytes: u8) -> u64 {
        // SAFETY: dispatch passes aligned addresses inside BARs of the guest's functions, which discovery mapped
        // uncached and which overlap nothing.
        unsafe {
            match bytes {
                1 => (at.0 as *const u8).read_volatile().into(),
                2 => (at.0 as *const u16).read_volatile().into(),
                4 => (at.0 as *const u32).read_volatile().into(),
                _ => (at.0 as *const u64).read_volatile(),
            }
        }
    }

    fn mmio_write(&mut self, at: HostPhys, bytes: u8, value: u64) {
        // SAFETY: as for `mmio_read`; what the device does because of it stays inside its domain.
        unsafe {
            match bytes {
                1 => (at.0 as *mut u8).write_volatile(value as u8),
                2 => (at.0 as *mut u16).write_volatile(value as u16),
                4 => (at.0 as *mut u32).write_volatile(value as u32),
                _ => (at.0 as *mut u64).write_volatile(value),
            }
        }
    }

    /// The real MSI-X is on from the opening until something else is wanted; entries that are not routed are masked. MSI goes on with
    /// its route.
    fn enable(&mut self, function: Bdf, kind: IrqKind, on: bool) -> Result<(), Fault> {
        let assigner = self.table.ok_or(Fault::Unknown)?.platform();
        let found = assigner.function(function).ok_or(Fault::Unknown)?;
        match (kind, on) {
            (IrqKind::MsiX, true) => return assigner.start_msix(found),
            (IrqKind::Msi | IrqKind::Intx, true) => assigner.silence_msix(found),
            (IrqKind::Msi, false) => assigner.silence_msi(found),
            (IrqKind::MsiX | IrqKind::Intx, false) => {}
        }
        Ok(())
    }

    fn route(&mut self, function: Bdf, source: Source, route: Route) -> Result<(), NoRoute> {
        let assigner = self.table.ok_or(NoRoute)?.platform();
        let found = assigner.function(function).ok_or(NoRoute)?;
        let same = |taken: Option<Taken>| taken.is_some_and(|taken| taken.is(function, source));
        let vector = self
            .slot(same)
            .or_else(|| self.slot(|taken| taken.is_none()))
            .ok_or(NoRoute)?;
        let cpu = self.cpus.of(route.apic).ok_or(NoRoute)?;
        if let Some(slot) = self.sources.get_mut(usize::from(vector)) {
            *slot = Some(Taken { function, source });
        }
        // One that is on its way to the CPU that it went to before goes on from there.
        self.routes.set(vector, Some((route.apic, route.vector)));
        let apic = lapic::id_of(cpu);
        match source.kind {
            Messages::Msi => assigner.route_msi(found, apic, vector),
            Messages::MsiX => assigner.route(found, source.vector, apic, vector),
        }
        .map_err(|fault| {
            log::warn!("routing interrupt {} of {function}: {fault}", source.vector);
            NoRoute
        })
    }

    fn unroute(&mut self, function: Bdf, source: Source) {
        let Some(table) = self.table else { return };
        if let Some(found) = table.platform().function(function) {
            let done = match source.kind {
                Messages::Msi => table.platform().unroute_msi(found),
                Messages::MsiX => table.platform().unroute(found, source.vector),
            };
            if let Err(fault) = done {
                log::warn!("masking interrupt {} of {function}: {fault}", source.vector);
            }
        }
        for (vector, slot) in (0u8..).zip(&mut self.sources) {
            if slot.is_some_and(|taken| taken.is(function, source)) {
                *slot = None;
                self.routes.set(vector, None);
            }
        }
    }

    fn map(&mut self, region: MemoryRegion) {
        self.space.map(region);
    }

    /// The vCPU that this runs on is outside the guest, and flushed before it enters again, as all others are.
    fn unmap(&mut self, region: MemoryRegion) {
        self.space.unmap(region);
    }

    fn reset(&mut self, function: Bdf) -> Result<(), Fault> {
        let done = self
            .lease(function)?
            .reset_device(function.into(), Patience::NONE);
        done.map_err(|failure| {
            log::warn!("{failure}");
            match failure {
                ResetFailure::Failed(failure) => failure.fault,
                ResetFailure::Busy(_) => Fault::Busy,
                ResetFailure::NotMember(_) | ResetFailure::NoMethod(_) | ResetFailure::Refused(_) => {
                    Fault::Unknown
                }
            }
        })
    }

    fn set_power_state(&mut self, function: Bdf, state: PowerState) -> Result<bool, Fault> {
        let lease = self.lease(function)?;
        let assigner = self.table.ok_or(Fault::Unknown)?.platform();
        assigner.set_power_state(function, state, lease.owner())
    }

    fn power_state(&mut self, function: Bdf) -> Result<PowerState, Fault> {
        self.table.ok_or(Fault::Unknown)?.platform().power_state(function)
    }
}
