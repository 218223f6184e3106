//! A guest: its memory, its platform, its devices, its life.
//!
//! Everything here is vendor-neutral and runs on the host too: it sees [`Exit`](crate::virt::Exit)s and a
//! [`VcpuState`](crate::virt::VcpuState), and reaches hardware only through the traits that its modules name.
//! The guest is an adversary: whatever it does ends in a defined answer or in its own [`GuestFault`].

mod acpi;
mod alu;
pub mod apic;
mod backend;
pub mod bars;
pub mod board;
pub mod bzimage;
pub mod config_space;
mod console;
pub mod devices;
pub mod dispatch;
mod fault;
#[cfg(test)]
pub(crate) mod fixture;
mod host_memory;
mod ioapic;
pub mod layout;
pub mod lines;
pub mod loader;
mod memory;
pub mod mmio;
pub mod msix;
pub mod paging;
mod pci_bus;
pub mod policy;
pub mod rom;
pub mod uart;
mod virtual_function;

pub use backend::{DeviceBackend, Messages, NoRoute, Source};
pub use console::{Console, MAX_LINE};
pub use fault::{GuestEnd, GuestFault};
pub use memory::{GuestMemory, MemoryError};
