//! What the life of a function needs of the machine: configuration space, time, and what is known of odd devices.

use bitflags::bitflags;

use crate::clock::Clock;
use crate::fault::Fault;
use crate::pci::config::{ConfigAccess, Function, Width};
use crate::pci::{Bdf, ResetMethods};

bitflags! {
    /// What is known of a function's resets that it does not say itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ResetQuirks: u8 {
        /// Function level reset, of either capability, hangs the device.
        const NO_FLR = 1 << 0;
        /// The way to D3hot and back does not reset, or does harm.
        const NO_PM = 1 << 1;
        /// A reset of the bus that it is on, or of the bus below it, does harm.
        const NO_BUS = 1 << 2;
        /// It must be [disabled](ResetHooks::disable) before a function level reset.
        const DISABLE_BEFORE_FLR = 1 << 3;
    }
}

impl ResetQuirks {
    /// Those of `methods` that the quirks leave.
    #[must_use]
    pub fn usable(self, methods: ResetMethods) -> ResetMethods {
        let mut left = methods;
        if self.contains(Self::NO_FLR) {
            left -= ResetMethods::FLR | ResetMethods::AF_FLR;
        }
        if self.contains(Self::NO_PM) {
            left -= ResetMethods::PM;
        }
        if self.contains(Self::NO_BUS) {
            left -= ResetMethods::BUS | ResetMethods::SLOT;
        }
        left
    }
}

/// What the hypervisor knows of particular devices. By default it knows nothing.
pub trait ResetHooks {
    /// What is odd about the function's resets.
    fn quirks(&self, _function: &Function) -> ResetQuirks {
        ResetQuirks::empty()
    }

    /// Nanoseconds that the function needs after a function level reset beyond what the specification gives it.
    fn slowness(&self, _function: &Function) -> u64 {
        0
    }

    /// Whether there is a reset that only this kind of device has. It is then taken before all others.
    fn has_specific_reset(&self, _function: &Function) -> bool {
        false
    }

    /// That reset. It is bounded; whether the function answers afterwards is checked by the caller.
    ///
    /// # Errors
    /// It did not work.
    fn specific_reset(&self, _function: &Function) -> Result<(), Fault> {
        Err(Fault::Unknown)
    }

    /// Stops a function that has [`ResetQuirks::DISABLE_BEFORE_FLR`]: [`disable_nvme`](super::disable_nvme) on its
    /// registers, which answer meanwhile.
    ///
    /// # Errors
    /// It does not stop. The reset is tried nevertheless.
    fn disable(&self, _function: &Function) -> Result<(), Fault> {
        Err(Fault::Unknown)
    }

    /// Whether the function raises INTx even where it says that it can mask it.
    fn intx_is_broken(&self, _function: &Function) -> bool {
        false
    }
}

/// Nothing is known of any device.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl ResetHooks for NoHooks {}

impl<H: ResetHooks + ?Sized> ResetHooks for &H {
    fn quirks(&self, function: &Function) -> ResetQuirks {
        (**self).quirks(function)
    }

    fn slowness(&self, function: &Function) -> u64 {
        (**self).slowness(function)
    }

    fn has_specific_reset(&self, function: &Function) -> bool {
        (**self).has_specific_reset(function)
    }

    fn specific_reset(&self, function: &Function) -> Result<(), Fault> {
        (**self).specific_reset(function)
    }

    fn disable(&self, function: &Function) -> Result<(), Fault> {
        (**self).disable(function)
    }

    fn intx_is_broken(&self, function: &Function) -> bool {
        (**self).intx_is_broken(function)
    }
}

/// All that the life of a function needs of the machine.
pub trait Host: ConfigAccess + Clock + ResetHooks {}

impl<T: ConfigAccess + Clock + ResetHooks> Host for T {}

/// A [`Host`] of its three parts.
#[derive(Clone, Copy, Debug)]
pub struct HostParts<C, K, H> {
    /// Configuration space.
    pub config: C,
    /// Time.
    pub clock: K,
    /// Particular devices.
    pub hooks: H,
}

impl<C: ConfigAccess, K, H> ConfigAccess for HostParts<C, K, H> {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        self.config.read(function, offset, width)
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        self.config.write(function, offset, width, value);
    }
}

impl<C, K: Clock, H> Clock for HostParts<C, K, H> {
    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn wait(&self, nanoseconds: u64) {
        self.clock.wait(nanoseconds);
    }
}

impl<C, K, H: ResetHooks> ResetHooks for HostParts<C, K, H> {
    fn quirks(&self, function: &Function) -> ResetQuirks {
        self.hooks.quirks(function)
    }

    fn slowness(&self, function: &Function) -> u64 {
        self.hooks.slowness(function)
    }

    fn has_specific_reset(&self, function: &Function) -> bool {
        self.hooks.has_specific_reset(function)
    }

    fn specific_reset(&self, function: &Function) -> Result<(), Fault> {
        self.hooks.specific_reset(function)
    }

    fn disable(&self, function: &Function) -> Result<(), Fault> {
        self.hooks.disable(function)
    }

    fn intx_is_broken(&self, function: &Function) -> bool {
        self.hooks.intx_is_broken(function)
    }
}
