//! What a guest of this hypervisor is offered of a function's configuration space; the rules are
//! [`vfio_core::pci::vconfig`]'s.
//!
//! Offered: power states, where the function has them, and function level reset, where the function has one that works. Not offered:
//! INTx, which nobody routes, so the pin reads zero; vital product data; BARs that move.

use crate::pci::{ConfigAccess, Function};
use vfio_core::pci::ResetMethods;
use vfio_core::pci::spec::capability;
use vfio_core::pci::vconfig::{BarPolicy, Offer, Options, VirtualBar, VirtualConfig};

/// Hidden although there are rules for them: nobody carries out accesses to vital product data.
const HIDDEN: &[u8] = &[capability::VPD];
/// The first byte says that the number was assigned locally (IEEE 802, section 8.2).
const LOCAL_SERIAL: u64 = 0x02 << 56;

/// MSI vectors of a function: one, where there is no MSI-X. With both the hardware would have to be switched from one to the other,
/// and a device with MSI-X is driven by it.
const fn msi_vectors(function: &Function) -> u8 {
    if function.msix.is_some() { 0 } else { 1 }
}

/// What the hypervisor does for a guest with this function. A reset that is known to hang is not in `resets`, and the capability does
/// not show it then.
const fn offer(function: &Function) -> Offer {
    let level = ResetMethods::FLR.union(ResetMethods::AF_FLR);
    if function.resets.intersects(level) {
        Offer::POWER.union(Offer::RESET)
    } else {
        Offer::POWER
    }
}

/// Builds the space of `function` at `devfn` of the guest's bus, whose hardware is read through `config` and not changed.
/// `multi_function` where the guest's slot has more functions.
#[must_use]
pub fn config_space(
    config: &dyn ConfigAccess,
    function: &Function,
    bars: &[VirtualBar],
    devfn: u8,
    multi_function: bool,
) -> VirtualConfig {
    let options = Options {
        offer: offer(function),
        multi_function,
        virtual_function: false,
        bars,
        policy: BarPolicy::Fixed,
        hide: HIDDEN,
        hide_extended: &[],
        serial: Some(LOCAL_SERIAL | u64::from(devfn)),
        msi_vectors: msi_vectors(function),
    };
    VirtualConfig::new(config, function, &options)
}

#[cfg(test)]
#[path = "config_space_tests.rs"]
mod tests;
