//! What a guest of this hypervisor is offered of a function's configuration space; the rules are
//! [`vfio_core::pci::vconfig`]'s.
//!
//! Not offered: INTx, which nobody routes, so the pin reads zero; power states, since a guest's device is in D0 as long as its cohort
//! is open; resets, which are the hypervisor's; vital product data; BARs that move.

use crate::pci::{ConfigAccess, Function};
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
        offer: Offer::empty(),
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
