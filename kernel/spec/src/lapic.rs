//! The local APIC's registers in xAPIC mode (AMD64 Architecture Programmer's Manual, volume 2, chapter 16).

use bitfield_struct::bitfield;
use bitflags::bitflags;

/// Physical address of the registers at reset.
pub const BASE: u64 = 0xfee0_0000;
/// Bytes of the register page.
pub const SIZE: u64 = 0x1000;

/// Register offsets (table 16-2). Each is 32 bits wide, at a multiple of 16.
pub mod register {
    /// APIC id in bits 31:24.
    pub const ID: u16 = 0x20;
    /// Version.
    pub const VERSION: u16 = 0x30;
    /// Task priority.
    pub const TPR: u16 = 0x80;
    /// Arbitration priority.
    pub const APR: u16 = 0x90;
    /// Processor priority.
    pub const PPR: u16 = 0xa0;
    /// End of interrupt; write only.
    pub const EOI: u16 = 0xb0;
    /// Logical destination.
    pub const LDR: u16 = 0xd0;
    /// Destination format.
    pub const DFR: u16 = 0xe0;
    /// Spurious interrupt vector, [`super::Spurious`].
    pub const SPURIOUS: u16 = 0xf0;
    /// In service, first of eight.
    pub const ISR: u16 = 0x100;
    /// Trigger mode, first of eight.
    pub const TMR: u16 = 0x180;
    /// Interrupt request, first of eight.
    pub const IRR: u16 = 0x200;
    /// Error status, [`super::ErrorStatus`].
    pub const ESR: u16 = 0x280;
    /// Interrupt command, low half, [`super::Command`].
    pub const ICR_LOW: u16 = 0x300;
    /// Interrupt command, high half: destination in bits 31:24.
    pub const ICR_HIGH: u16 = 0x310;
    /// Local vector of the timer, [`super::TimerLvt`].
    pub const LVT_TIMER: u16 = 0x320;
    /// Local vector of the thermal sensor.
    pub const LVT_THERMAL: u16 = 0x330;
    /// Local vector of the performance counters.
    pub const LVT_PERFORMANCE: u16 = 0x340;
    /// Local vector of LINT0.
    pub const LVT_LINT0: u16 = 0x350;
    /// Local vector of LINT1.
    pub const LVT_LINT1: u16 = 0x360;
    /// Local vector of errors.
    pub const LVT_ERROR: u16 = 0x370;
    /// Timer: initial count.
    pub const TIMER_INITIAL: u16 = 0x380;
    /// Timer: current count; read only.
    pub const TIMER_CURRENT: u16 = 0x390;
    /// Timer: divide configuration.
    pub const TIMER_DIVIDE: u16 = 0x3e0;
    /// Interrupt to itself; write only, x2APIC mode alone (Intel SDM volume 3, section 12.12.11).
    pub const SELF_IPI: u16 = 0x3f0;
}

/// First model-specific register of x2APIC mode: register `offset` is at this plus `offset / 16` (Intel SDM volume 3,
/// section 12.12.1.2).
pub const X2APIC_MSR: u32 = 0x800;
/// Model-specific registers that are reserved for x2APIC mode.
pub const X2APIC_MSRS: u32 = 0x100;
/// What VERSION reads: version 0x10, highest local vector entry 5.
pub const VERSION_VALUE: u32 = 5 << 16 | 0x10;
/// The mask bit of any local vector entry.
pub const LVT_MASKED: u32 = 1 << 16;
/// Destination that every APIC in x2APIC mode takes for its own.
pub const X2APIC_BROADCAST: u32 = u32::MAX;
/// Destination that every APIC in xAPIC mode takes for its own, and messages of devices address all with.
pub const XAPIC_BROADCAST: u8 = u8::MAX;
/// DFR: the bits that are zero in the cluster model and ones in the flat one.
pub const DFR_MODEL: u32 = 0xf << 28;
/// Spurious vector register: the APIC is enabled by software.
pub const SPURIOUS_ENABLE: u32 = 1 << 8;
/// Bits 12 and 31:24 aside, what a message address holds: 0xfee in bits 31:20.
pub const MESSAGE_ADDRESS: u32 = 0xfee0_0000;
/// Vectors below are reserved for exceptions; a message with one is an error.
pub const FIRST_VECTOR: u8 = 16;

/// The interrupt command register, low half (16.5).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Command {
    /// Vector, or page number of a start-up.
    pub vector: u8,
    /// [`delivery`] mode.
    #[bits(3)]
    pub delivery: u8,
    /// Logical destination.
    pub logical: bool,
    /// Delivery is pending; read only.
    pub pending: bool,
    __: bool,
    /// Level is asserted.
    pub assert: bool,
    /// Level triggered.
    pub level: bool,
    #[bits(2)]
    __: u8,
    /// [`shorthand`] of the destination.
    #[bits(2)]
    pub shorthand: u8,
    #[bits(12)]
    __: u16,
}

/// Delivery modes (16.5, table 16-4).
pub mod delivery {
    /// To the vector.
    pub const FIXED: u8 = 0;
    /// To the vector, of the processor with the lowest priority.
    pub const LOWEST: u8 = 1;
    /// Non-maskable interrupt.
    pub const NMI: u8 = 4;
    /// INIT.
    pub const INIT: u8 = 5;
    /// Start-up.
    pub const START_UP: u8 = 6;
}

/// Destination shorthands (16.5).
pub mod shorthand {
    /// None: the destination field counts.
    pub const NONE: u8 = 0;
    /// The sender.
    pub const SELF: u8 = 1;
    /// All with the sender.
    pub const ALL: u8 = 2;
    /// All but the sender.
    pub const OTHERS: u8 = 3;
}

/// The timer's local vector entry (16.4.1).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct TimerLvt {
    /// Vector.
    pub vector: u8,
    #[bits(4)]
    __: u8,
    /// Delivery is pending; read only.
    pub pending: bool,
    #[bits(3)]
    __: u8,
    /// Masked.
    pub masked: bool,
    /// Periodic, else one-shot.
    pub periodic: bool,
    #[bits(14)]
    __: u16,
}

bitflags! {
    /// Error status (16.4.6).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ErrorStatus: u32 {
        /// A message with a reserved vector was to be sent.
        const SENT_ILLEGAL_VECTOR = 1 << 5;
        /// A message with a reserved vector arrived.
        const RECEIVED_ILLEGAL_VECTOR = 1 << 6;
        /// A register that does not exist was accessed.
        const ILLEGAL_REGISTER = 1 << 7;
    }
}
