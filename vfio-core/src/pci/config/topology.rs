//! What `vfio-core` needs to know of what discovery found.

use super::Function;
use crate::pci as core_pci;
use alloc::vec::Vec;

impl From<&Function> for core_pci::Function {
    fn from(function: &Function) -> Self {
        Self {
            bdf: function.bdf,
            kind: function.kind,
            parent: function.parent,
            buses: function.buses,
            acs: function.acs.map(|(_, acs)| acs),
            physical_function: function.physical_function,
            resets: function.resets,
            not_assignable: function.not_assignable,
        }
    }
}

/// The functions as `vfio-core` wants them. Call it after ACS is on and `not_assignable` is complete.
#[must_use]
pub fn to_topology<'a>(functions: impl IntoIterator<Item = &'a Function>) -> Vec<core_pci::Function> {
    functions.into_iter().map(core_pci::Function::from).collect()
}
