//! PCI as a driver meets it: functions found through ECAM, base address registers, MSI and MSI-X.

mod bar;
mod ecam;
mod msi;
mod msix;

pub use bar::BarError;
pub use ecam::{Address, Ecam, EcamError, Function};
pub use msi::{Msi, NoMsi};
pub use msix::{MsiX, MsiXError};
