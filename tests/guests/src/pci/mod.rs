//! PCI as a driver meets it: functions found through ECAM, base address registers, MSI-X.

mod bar;
mod ecam;
mod msix;

pub use bar::BarError;
pub use ecam::{Address, Ecam, EcamError, Function};
pub use msix::{MsiX, MsiXError};
