//! ACPI tables as they lie in memory (ACPI Specification 6.5, chapter 5; MCFG: PCI Firmware Specification 3.3,
//! section 4.1.2). Little-endian, byte-aligned, nothing of it trusted.

pub mod madt;
pub mod mcfg;
pub mod rsdp;
pub mod sdt;
