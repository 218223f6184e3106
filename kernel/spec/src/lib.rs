//! Hardware and wire formats as data: registers, bits, structures.
//!
//! A file per structure or register block, each citing manual and section. No logic: whoever reads the manual
//! finds the same names and numbers here, whoever reads the code finds no number anywhere else. PCI's are in
//! `vfio_core::pci::spec`.

#![no_std]

pub mod acpi;
pub mod amdvi;
pub mod amdvi_table;
pub mod dmar;
pub mod ioapic;
pub mod ivrs;
pub mod lapic;
pub mod linux_boot;
pub mod msr;
pub mod page_table;
pub mod pvh;
pub mod second_level;
pub mod svm;
pub mod uart;
pub mod viot;
pub mod virtio_iommu;
pub mod vtd;
