//! The type 0 header (PCI Express Base Specification 6.0, section 7.5.1).
//!
//! Vendor and device id, header type, interrupt pin and the BARs are put in by the builder, which knows the function.

use super::super::row::Bits::{Hardware, HardwareWritable, Virtual, VirtualFrom};
use super::super::row::{Row, row};
use crate::pci::spec::{Command, STATUS_CAPABILITIES, header};

const fn bits(command: Command) -> u32 {
    command.bits() as u32
}

/// Decoding and INTx: kept for the guest, and brought to the hardware by the trap.
const DECODE: u32 = bits(Command::IO.union(Command::MEMORY));
/// Reporting of parity and system errors: stricter than Linux, which lets a guest turn them on. They end in the host.
const ERRORS: u32 = 1 << 6 | 1 << 8;
/// Special cycles, memory write and invalidate, palette snooping, fast back-to-back.
const CONVENTIONAL: u32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9;
/// Status, but for the list of capabilities and whether INTx is pending.
const STATUS: u32 = 0xffff & !(STATUS_CAPABILITIES as u32) & !INTX_STATUS_BIT;
const INTX_STATUS_BIT: u32 = 1 << 3;

/// The header. BIST is left out, stricter than Linux: a function that tests itself answers nobody for up to two seconds.
pub(in super::super) const HEADER: &[Row] = &[
    row(header::COMMAND, DECODE, VirtualFrom),
    row(header::COMMAND, bits(Command::BUS_MASTER), HardwareWritable),
    row(header::COMMAND, CONVENTIONAL, HardwareWritable),
    row(header::COMMAND, ERRORS, Virtual),
    row(header::COMMAND, bits(Command::INTX_DISABLE), Virtual),
    row(header::STATUS, STATUS, Hardware),
    row(header::CLASS_REVISION, u32::MAX, Hardware),
    // Cache line size and latency timer.
    row(header::CACHE_LINE_SIZE, 0xffff, HardwareWritable),
    row(header::CARDBUS, u32::MAX, Hardware),
    row(header::SUBSYSTEM, u32::MAX, Hardware),
    row(header::INTERRUPT_LINE, 0xff, Virtual),
    // Least grant and largest latency.
    row(header::BRIDGE_CONTROL, 0xffff, Hardware),
];

/// Of a function that has INTx: whether it is pending.
pub(in super::super) const INTX_STATUS: &[Row] = &[row(header::STATUS, INTX_STATUS_BIT, Hardware)];
