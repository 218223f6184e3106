//! The host tool: checks configurations, builds bundles, drives QEMU.
//!
//! [`config`] turns TOML into a checked plan, [`session`] runs it: [`cargo`] and [`tools`] see to what it needs,
//! [`bundle`] and [`disk`] make its files, [`qemu`] is the machine, [`peer`] the other end of its networks. [`summary`], [`verdict`] and [`mod@bench`] say
//! what came of it; [`acpi`] reads tables of other machines. A library, so that the machine tests drive the same
//! code as the command [`cli`]; [`minimal`] lets both be tested without a hypervisor.

pub mod acpi;
pub mod bench;
pub mod bundle;
pub mod cargo;
pub mod cli;
pub mod config;
pub mod disk;
pub mod ext4;
pub mod image;
pub mod linux;
pub mod minimal;
pub mod peer;
pub mod progress;
pub mod qemu;
pub mod session;
pub mod summary;
pub mod tools;
pub mod verdict;
