//! What a guest may see and touch of the processor: tables, and everything that they do not name is denied.
//!
//! The vendor module builds its bitmaps from [`direct_msrs`] and [`direct_ports`]; everything else exits and is looked up here.

pub mod cpuid;
mod msr;
pub mod port;

pub use msr::{MsrAccess, direct_msrs, msr};
pub use port::{PortAction, absent, direct_ports, port};
