//! The host tool: checks configurations, builds bundles, drives QEMU.

pub mod config;
pub mod image;
