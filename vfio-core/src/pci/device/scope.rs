//! What the reset of a set reaches: everything behind the bridge above a function.

use alloc::vec::Vec;

use crate::pci::config::Function;
use crate::pci::reset::{ResetHooks, ResetQuirks};
use crate::pci::{Bdf, PortKind};

/// Everything that a reset by a bridge reaches. Nothing here says that the reset may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetScope {
    /// The bridge whose secondary bus is reset.
    pub port: Bdf,
    /// All functions behind it, bridges and virtual functions included, in order.
    pub affected: Vec<Bdf>,
}

/// Why no bridge resets a function. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoScope {
    /// There is no such function.
    #[error("there is no function {0}")]
    Unknown(Bdf),
    /// No bridge is above it.
    #[error("{0} is on a root bus: no bridge resets it")]
    OnRootBus(Bdf),
    /// The bridge above is inside a switch, or leads nowhere.
    #[error("{port} above {function} cannot reset what is below")]
    NotByPort {
        /// The function.
        function: Bdf,
        /// The bridge.
        port: Bdf,
    },
    /// The device, or the bridge, is known not to survive it.
    #[error("{function} does not stand a bus reset")]
    Quirk {
        /// Which.
        function: Bdf,
    },
}

impl ResetScope {
    /// What a reset of the slot or bus of `device` reaches, among all `functions` of the machine.
    ///
    /// # Errors
    /// [`NoScope`].
    pub fn of(functions: &[Function], hooks: &impl ResetHooks, device: Bdf) -> Result<Self, NoScope> {
        let at = |bdf: Bdf| functions.iter().find(|function| function.bdf == bdf);
        let function = at(device).ok_or(NoScope::Unknown(device))?;
        let above = function.parent.ok_or(NoScope::OnRootBus(device))?;
        let not_by_port = NoScope::NotByPort {
            function: device,
            port: above,
        };
        let port = at(above).ok_or(not_by_port)?;
        let buses = port.buses.ok_or(not_by_port)?;
        // An upstream port's secondary bus is inside the switch: a reset there takes all its downstream ports along.
        if !port.kind.is_bridge() || port.kind == PortKind::UpstreamPort {
            return Err(not_by_port);
        }
        let behind = |function: &&Function| {
            function.bdf.segment() == above.segment()
                && (buses.secondary..=buses.subordinate).contains(&function.bdf.bus())
        };
        let reached = || functions.iter().filter(behind);
        if let Some(frail) = core::iter::once(port)
            .chain(reached())
            .find(|function| hooks.quirks(function).contains(ResetQuirks::NO_BUS))
        {
            return Err(NoScope::Quirk { function: frail.bdf });
        }
        let mut affected: Vec<Bdf> = reached().map(|function| function.bdf).collect();
        affected.sort_unstable();
        Ok(Self {
            port: above,
            affected,
        })
    }

    /// Whether it reaches `function` and nothing else, so that it is a reset of that function.
    #[must_use]
    pub fn is_only(&self, function: Bdf) -> bool {
        self.affected == [function]
    }

    /// The first of the affected functions for which `inside` is false.
    pub(super) fn outside(&self, inside: impl Fn(Bdf) -> bool) -> Option<Bdf> {
        self.affected.iter().copied().find(|&bdf| !inside(bdf))
    }
}
