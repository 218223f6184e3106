//! What a guest of this hypervisor is offered of a function's configuration space; the rules are
//! [`vfio_core::pci::vconfig`]'s.
//!
//! Offered: power states, where the function has them; function level reset, where the function has one that works; vital product data,
//! to be read; MSI with one vector, and MSI-X; BARs that move within the host bridge's windows. INTx is offered where the guest has an
//! I/O APIC; the pin reads zero otherwise.

use super::bars::windows;
use crate::pci::{ConfigAccess, Function};
use vfio_core::pci::ResetMethods;
use vfio_core::pci::assigned::OpenFunction;
use vfio_core::pci::vconfig::{BarPolicy, Offer, Options, VirtualBar};

/// The first byte says that the number was assigned locally (IEEE 802, section 8.2).
const LOCAL_SERIAL: u64 = 0x02 << 56;

/// MSI vectors of a function: host vectors are not given in aligned blocks.
const MSI_VECTORS: u8 = 1;

/// What the hypervisor does for a guest with this function; INTx if `line`. A reset that is known to hang is not in `resets`, and the capability does
/// not show it then.
const fn offer(function: &Function, line: bool) -> Offer {
    let level = ResetMethods::FLR.union(ResetMethods::AF_FLR);
    let mut offer = Offer::POWER;
    if function.resets.intersects(level) {
        offer = offer.union(Offer::RESET);
    }
    if line && function.interrupt_pin != 0 {
        offer = offer.union(Offer::LINE);
    }
    offer
}

/// Builds what a guest sees of `function` at `devfn` of the guest's bus, whose hardware is read through `config` and not changed.
/// `multi_function` where the guest's slot has more functions; `line` where the guest
/// has an I/O APIC that INTx can go to.
#[must_use]
pub fn open_function(
    config: &dyn ConfigAccess,
    function: &Function,
    bars: &[VirtualBar],
    devfn: u8,
    multi_function: bool,
    line: bool,
) -> OpenFunction {
    let options = Options {
        offer: offer(function, line),
        multi_function,
        virtual_function: false,
        bars,
        policy: BarPolicy::Movable(windows()),
        hide: &[],
        hide_extended: &[],
        serial: Some(LOCAL_SERIAL | u64::from(devfn)),
        msi_vectors: MSI_VECTORS,
    };
    OpenFunction::new(config, function, &options, true)
}

#[cfg(test)]
#[path = "config_space_tests.rs"]
mod tests;
