//! PCI configuration space: header registers and capabilities (PCI Express Base Specification 6.0, chapter 7;
//! conventional parts: PCI Local Bus 3.0, chapter 6, and PCI-to-PCI Bridge Architecture 1.2, chapter 3).

pub mod virtio;

use bitflags::bitflags;

/// Header registers (7.5.1): byte offsets.
pub mod header {
    /// Vendor id, u16; all ones where there is no function.
    pub const VENDOR_ID: u16 = 0x00;
    /// Device id, u16.
    pub const DEVICE_ID: u16 = 0x02;
    /// [`super::Command`], u16.
    pub const COMMAND: u16 = 0x04;
    /// Status, u16.
    pub const STATUS: u16 = 0x06;
    /// Revision in bits 7:0, class code in bits 31:8, u32.
    pub const CLASS_REVISION: u16 = 0x08;
    /// Cache line size, u8, and latency timer above it.
    pub const CACHE_LINE_SIZE: u16 = 0x0c;
    /// Layout in bits 6:0, multi-function in bit 7, u8.
    pub const HEADER_TYPE: u16 = 0x0e;
    /// First base address register, u32.
    pub const BAR0: u16 = 0x10;
    /// Primary bus of a bridge, u8.
    pub const PRIMARY_BUS: u16 = 0x18;
    /// Secondary bus of a bridge, u8.
    pub const SECONDARY_BUS: u16 = 0x19;
    /// Last bus below a bridge, u8.
    pub const SUBORDINATE_BUS: u16 = 0x1a;
    /// CardBus information structure, u32.
    pub const CARDBUS: u16 = 0x28;
    /// Subsystem vendor and device id of an endpoint, u32.
    pub const SUBSYSTEM: u16 = 0x2c;
    /// Expansion ROM of an endpoint, u32.
    pub const ROM_ENDPOINT: u16 = 0x30;
    /// First capability, u8.
    pub const CAPABILITIES: u16 = 0x34;
    /// Expansion ROM of a bridge, u32.
    pub const ROM_BRIDGE: u16 = 0x38;
    /// Interrupt line, u8.
    pub const INTERRUPT_LINE: u16 = 0x3c;
    /// Interrupt pin, u8.
    pub const INTERRUPT_PIN: u16 = 0x3d;
    /// Control of a bridge, u16.
    pub const BRIDGE_CONTROL: u16 = 0x3e;
    /// First byte after the header.
    pub const END: u16 = 0x40;
}

/// Bit of the header type: the slot has several functions.
pub const MULTI_FUNCTION: u8 = 0x80;
/// Bit of STATUS: there is a list of capabilities.
pub const STATUS_CAPABILITIES: u16 = 1 << 4;
/// Bit of bridge control: hold the secondary bus in reset.
pub const BRIDGE_SECONDARY_RESET: u16 = 1 << 6;

bitflags! {
    /// The command register (7.5.1.1.3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u16 {
        /// Answers I/O accesses.
        const IO = 1 << 0;
        /// Answers memory accesses.
        const MEMORY = 1 << 1;
        /// May access memory, and send message-signalled interrupts.
        const BUS_MASTER = 1 << 2;
        /// INTx is masked.
        const INTX_DISABLE = 1 << 10;
    }
}

/// Bits of a base address register (7.5.1.2.1).
pub mod bar {
    /// An I/O BAR.
    pub const IO: u32 = 1 << 0;
    /// Type of a memory BAR, in bits 2:1: 0 is 32-bit, 2 is 64-bit.
    pub const TYPE_SHIFT: u32 = 1;
    /// Mask of the type after the shift.
    pub const TYPE_MASK: u32 = 3;
    /// 32-bit.
    pub const TYPE_32: u32 = 0;
    /// 64-bit, two registers.
    pub const TYPE_64: u32 = 2;
    /// Prefetchable.
    pub const PREFETCHABLE: u32 = 1 << 3;
    /// Address bits of an I/O BAR.
    pub const IO_MASK: u32 = !0x3;
    /// Address bits of the low register of a memory BAR.
    pub const MEMORY_MASK: u32 = !0xf;
}

/// Ids of capabilities (PCI Code and ID Assignment 1.11, section 2).
pub mod capability {
    /// Power management.
    pub const PM: u8 = 0x01;
    /// AGP.
    pub const AGP: u8 = 0x02;
    /// Vital product data.
    pub const VPD: u8 = 0x03;
    /// Slot identification.
    pub const SLOT_ID: u8 = 0x04;
    /// MSI.
    pub const MSI: u8 = 0x05;
    /// CompactPCI hot swap.
    pub const HOT_SWAP: u8 = 0x06;
    /// PCI-X.
    pub const PCIX: u8 = 0x07;
    /// HyperTransport.
    pub const HYPERTRANSPORT: u8 = 0x08;
    /// Vendor-specific.
    pub const VENDOR: u8 = 0x09;
    /// Debug port.
    pub const DEBUG: u8 = 0x0a;
    /// CompactPCI central resource control.
    pub const RESOURCE_CONTROL: u8 = 0x0b;
    /// Standard hot-plug controller.
    pub const HOT_PLUG: u8 = 0x0c;
    /// Subsystem ids of a bridge.
    pub const BRIDGE_SUBSYSTEM: u8 = 0x0d;
    /// AGP 8x.
    pub const AGP_8X: u8 = 0x0e;
    /// Secure device.
    pub const SECURE_DEVICE: u8 = 0x0f;
    /// PCI Express.
    pub const EXPRESS: u8 = 0x10;
    /// MSI-X.
    pub const MSIX: u8 = 0x11;
    /// SATA index and data.
    pub const SATA: u8 = 0x12;
    /// Conventional advanced features.
    pub const AF: u8 = 0x13;
}

/// Ids of extended capabilities (the same, section 3).
pub mod extended {
    /// First extended capability.
    pub const FIRST: u16 = 0x100;
    /// Advanced error reporting.
    pub const AER: u16 = 0x0001;
    /// Virtual channels.
    pub const VC: u16 = 0x0002;
    /// Device serial number.
    pub const SERIAL: u16 = 0x0003;
    /// Power budgeting.
    pub const POWER_BUDGET: u16 = 0x0004;
    /// Root complex link declaration.
    pub const RC_LINK: u16 = 0x0005;
    /// Root complex internal link control.
    pub const RC_INTERNAL_LINK: u16 = 0x0006;
    /// Root complex event collector.
    pub const RC_EVENTS: u16 = 0x0007;
    /// Multi-function virtual channels.
    pub const MFVC: u16 = 0x0008;
    /// Virtual channels, where MFVC is there too.
    pub const VC_WITH_MFVC: u16 = 0x0009;
    /// Root complex register block.
    pub const RC_REGISTERS: u16 = 0x000a;
    /// Vendor-specific.
    pub const VENDOR: u16 = 0x000b;
    /// Configuration access correlation.
    pub const CORRELATION: u16 = 0x000c;
    /// Access control services.
    pub const ACS: u16 = 0x000d;
    /// Alternative routing id.
    pub const ARI: u16 = 0x000e;
    /// Address translation services.
    pub const ATS: u16 = 0x000f;
    /// Single-root I/O virtualisation.
    pub const SRIOV: u16 = 0x0010;
    /// Multi-root I/O virtualisation.
    pub const MRIOV: u16 = 0x0011;
    /// Multicast.
    pub const MULTICAST: u16 = 0x0012;
    /// Page request interface.
    pub const PRI: u16 = 0x0013;
    /// Reserved for AMD.
    pub const AMD: u16 = 0x0014;
    /// Resizable BARs.
    pub const RESIZABLE_BAR: u16 = 0x0015;
    /// Dynamic power allocation.
    pub const POWER_ALLOCATION: u16 = 0x0016;
    /// TLP processing hints.
    pub const TPH: u16 = 0x0017;
    /// Latency tolerance reporting.
    pub const LTR: u16 = 0x0018;
    /// Secondary PCI Express.
    pub const SECONDARY_EXPRESS: u16 = 0x0019;
    /// Protocol multiplexing.
    pub const PROTOCOL_MUX: u16 = 0x001a;
    /// Process address space ids.
    pub const PASID: u16 = 0x001b;
    /// Designated vendor-specific.
    pub const DESIGNATED_VENDOR: u16 = 0x0023;
}

/// PCI Express capability (7.5.3): offsets from the capability.
pub mod express {
    /// Capabilities register, u16: version in 3:0, port type in 7:4, slot implemented in 8.
    pub const FLAGS: u16 = 0x02;
    /// Device capabilities, u32.
    pub const DEVICE_CAPABILITIES: u16 = 0x04;
    /// Device control, u16.
    pub const DEVICE_CONTROL: u16 = 0x08;
    /// Device status, u16.
    pub const DEVICE_STATUS: u16 = 0x0a;
    /// Link capabilities, u32.
    pub const LINK_CAPABILITIES: u16 = 0x0c;
    /// Link control, u16.
    pub const LINK_CONTROL: u16 = 0x10;
    /// Link status, u16.
    pub const LINK_STATUS: u16 = 0x12;
    /// Slot control, u16.
    pub const SLOT_CONTROL: u16 = 0x18;
    /// Root control, u16.
    pub const ROOT_CONTROL: u16 = 0x1c;
    /// Device control 2, u16.
    pub const DEVICE_CONTROL_2: u16 = 0x28;
    /// Link control 2, u16.
    pub const LINK_CONTROL_2: u16 = 0x30;
    /// Bits of device control: the largest payload, 128 << n bytes.
    pub const DEVICE_CONTROL_PAYLOAD: u16 = 7 << 5;
    /// Bit of device control: function numbers that are not there may be used as tags.
    pub const DEVICE_CONTROL_PHANTOM: u16 = 1 << 9;
    /// Bits of device control: the largest read request, 128 << n bytes.
    pub const DEVICE_CONTROL_READ_REQUEST: u16 = 7 << 12;
    /// Bit of device control 2: ARI forwarding, of ports.
    pub const DEVICE_CONTROL_2_ARI: u16 = 1 << 5;
    /// Bit of device capabilities: function level reset.
    pub const DEVICE_CAPABILITIES_FLR: u32 = 1 << 28;
    /// Bit of device control: start a function level reset.
    pub const DEVICE_CONTROL_FLR: u16 = 1 << 15;
    /// Bit of device status: transactions are pending.
    pub const DEVICE_STATUS_PENDING: u16 = 1 << 5;
    /// Bit of link capabilities: data link layer active is reported.
    pub const LINK_CAPABILITIES_ACTIVE_REPORTING: u32 = 1 << 20;
    /// Bit of link status: the data link layer is active.
    pub const LINK_STATUS_ACTIVE: u16 = 1 << 13;
    /// Bytes of a version 2 capability.
    pub const SIZE: u16 = 0x3c;
}

/// Power management capability (7.5.2): offsets from the capability.
pub mod pm {
    /// Control and status, u16: state in 1:0.
    pub const CONTROL: u16 = 0x04;
    /// Bit of the capabilities register at offset 2: D1 is supported.
    pub const CAPABLE_D1: u16 = 1 << 9;
    /// Bit of the capabilities register at offset 2: D2 is supported.
    pub const CAPABLE_D2: u16 = 1 << 10;
    /// The power state's bits.
    pub const STATE_MASK: u16 = 0x3;
    /// D3hot.
    pub const STATE_D3HOT: u16 = 0x3;
    /// Bit: returning from D3hot to D0 does not reset.
    pub const NO_SOFT_RESET: u16 = 1 << 3;
    /// Bytes of the capability.
    pub const SIZE: u16 = 8;
}

/// Advanced features (Conventional PCI Advanced Capabilities ECN): offsets from the capability.
pub mod af {
    /// Capabilities, u8: bit 0 transactions pending, bit 1 FLR.
    pub const CAPABILITIES: u16 = 0x03;
    /// Control, u8: bit 0 starts FLR.
    pub const CONTROL: u16 = 0x04;
    /// Status, u8: bit 0 transactions pending.
    pub const STATUS: u16 = 0x05;
    /// Bit of capabilities: `STATUS` is there.
    pub const CAPABILITIES_TP: u8 = 1 << 0;
    /// Bit of capabilities: FLR is there.
    pub const CAPABILITIES_FLR: u8 = 1 << 1;
    /// Bytes of the capability.
    pub const SIZE: u16 = 6;
}

/// MSI (7.7.1): offsets from the capability.
pub mod msi {
    /// Control, u16.
    pub const CONTROL: u16 = 0x02;
    /// Message address, u32.
    pub const ADDRESS: u16 = 0x04;
    /// Upper message address, u32, if 64-bit.
    pub const ADDRESS_UPPER: u16 = 0x08;
    /// Bit of control: enabled.
    pub const ENABLE: u16 = 1 << 0;
    /// Bits 3:1 of control: log2 of the vectors the function can send.
    pub const CAPABLE_SHIFT: u16 = 1;
    /// Bits 6:4 of control: log2 of the vectors that software lets it send.
    pub const ENABLED_SHIFT: u16 = 4;
    /// Either count, after the shift.
    pub const COUNT_MASK: u16 = 7;
    /// Bit of control: 64-bit address.
    pub const ADDRESS_64: u16 = 1 << 7;
    /// Bit of control: per-vector mask.
    pub const MASKING: u16 = 1 << 8;
}

/// MSI-X (7.7.2): offsets from the capability.
pub mod msix {
    /// Control, u16.
    pub const CONTROL: u16 = 0x02;
    /// Where the table is, u32: BAR in 2:0, offset above.
    pub const TABLE: u16 = 0x04;
    /// Where the pending bits are, u32, the same format.
    pub const PBA: u16 = 0x08;
    /// Bits of control: vectors minus one.
    pub const SIZE_MASK: u16 = 0x7ff;
    /// Bit of control: all vectors masked.
    pub const FUNCTION_MASK: u16 = 1 << 14;
    /// Bit of control: enabled.
    pub const ENABLE: u16 = 1 << 15;
    /// Bits of `TABLE` and `PBA` that name the BAR.
    pub const BIR_MASK: u32 = 0x7;
    /// Bytes of one vector in the table.
    pub const ENTRY: u32 = 16;
    /// Offset in an entry: low half of the message's address.
    pub const ENTRY_ADDRESS_LOW: u64 = 0;
    /// Offset in an entry: high half of the message's address.
    pub const ENTRY_ADDRESS_HIGH: u64 = 4;
    /// Offset in an entry: the message's data.
    pub const ENTRY_DATA: u64 = 8;
    /// Offset in an entry: vector control.
    pub const ENTRY_CONTROL: u64 = 12;
    /// Bit of vector control: masked.
    pub const ENTRY_MASKED: u32 = 1;
    /// Bytes of the capability.
    pub const LENGTH: u16 = 12;
}

/// Access control services (7.7.11): offsets from the capability.
pub mod acs {
    /// What the port can, u16, [`super::AcsFlags`].
    pub const CAPABILITY: u16 = 0x04;
    /// What the port does, u16, [`super::AcsFlags`].
    pub const CONTROL: u16 = 0x06;
}

bitflags! {
    /// Access control services (7.7.11.2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AcsFlags: u16 {
        /// Source validation.
        const SOURCE_VALIDATION = 1 << 0;
        /// Translation blocking.
        const TRANSLATION_BLOCKING = 1 << 1;
        /// Peer-to-peer request redirect.
        const REQUEST_REDIRECT = 1 << 2;
        /// Peer-to-peer completion redirect.
        const COMPLETION_REDIRECT = 1 << 3;
        /// Upstream forwarding.
        const UPSTREAM_FORWARDING = 1 << 4;
        /// Peer-to-peer egress control.
        const EGRESS_CONTROL = 1 << 5;
        /// Direct translated peer-to-peer.
        const DIRECT_TRANSLATED = 1 << 6;
    }
}

impl AcsFlags {
    /// What isolation needs: nothing passes below the IOMMU.
    pub const ISOLATION: Self = Self::SOURCE_VALIDATION
        .union(Self::REQUEST_REDIRECT)
        .union(Self::COMPLETION_REDIRECT)
        .union(Self::UPSTREAM_FORWARDING);
}

/// Single-root I/O virtualisation (9.3.3): offsets from the capability.
pub mod sriov {
    /// Control, u16.
    pub const CONTROL: u16 = 0x08;
    /// Bit of control: the virtual functions are turned on.
    pub const VF_ENABLE: u16 = 1 << 0;
}
