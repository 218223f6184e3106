//! Sizes and counts.

/// Bytes of a command portal that mean anything: one frame.
pub const COMMAND_WINDOW: u64 = 64;
/// Size of a command portal's region where the containers' interface is older than 6.6.
pub const REGION_SIZE_OLD_COMMAND: u64 = 64;
/// Size of a queue portal's region where the containers' interface is older than 6.6.
pub const REGION_SIZE_OLD_QUEUE: u64 = 0x1000;
/// Size of any portal's region from 6.6 on.
pub const REGION_SIZE_NEW: u64 = 0x1_0000;
/// Command portals of a Management Complex.
pub const MAX_PORTALS: u32 = 512;
/// Interrupts of one container. [from memory of Linux, not of a manual]
pub const MAX_IRQS: u16 = 256;
/// Freescale's vendor id, which all objects have.
pub const VENDOR: u16 = 0x1957;
