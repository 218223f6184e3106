//! Virtio over PCI: how a device is found and where its registers lie (virtio 1.2, section 4.1).

/// Vendor id of virtio devices (4.1.2).
pub const VENDOR: u16 = 0x1af4;
/// Device ids of transitional devices, from here.
pub const TRANSITIONAL_FIRST: u16 = 0x1000;
/// To here, inclusive.
pub const TRANSITIONAL_LAST: u16 = 0x103f;
/// Device id of a modern device is this plus the virtio device id.
pub const MODERN_FIRST: u16 = 0x1040;
/// The last modern device id.
pub const MODERN_LAST: u16 = 0x107f;

/// `virtio_pci_cap` (4.1.4): offsets from the capability.
pub mod cap {
    /// Bytes of the capability, u8.
    pub const LENGTH: u16 = 2;
    /// Which structure, u8.
    pub const TYPE: u16 = 3;
    /// Which BAR, u8.
    pub const BAR: u16 = 4;
    /// Where in the BAR, u32.
    pub const OFFSET: u16 = 8;
    /// Bytes of the structure, u32.
    pub const STRUCTURE_LENGTH: u16 = 12;
    /// Bytes between two queues' notification addresses, u32, in a notification capability only.
    pub const NOTIFY_MULTIPLIER: u16 = 16;
    /// Bytes of the smallest capability.
    pub const SIZE: u16 = 16;
}

/// Structure types (4.1.4).
pub mod cfg_type {
    /// Common configuration.
    pub const COMMON: u8 = 1;
    /// Notifications.
    pub const NOTIFY: u8 = 2;
    /// Interrupt status.
    pub const ISR: u8 = 3;
    /// Device configuration.
    pub const DEVICE: u8 = 4;
}

/// `virtio_pci_common_cfg` (4.1.4.3): offsets from its start.
pub mod common {
    /// Which 32 feature bits `DEVICE_FEATURE` shows, u32.
    pub const DEVICE_FEATURE_SELECT: u32 = 0;
    /// Feature bits offered, u32.
    pub const DEVICE_FEATURE: u32 = 4;
    /// Which notification address the selected queue has, u16.
    pub const QUEUE_NOTIFY_OFF: u32 = 30;
    /// Bytes up to the first optional field.
    pub const SIZE: u32 = 56;
}

/// Feature bit: the device's memory accesses pass the platform's IOMMU (6).
pub const F_ACCESS_PLATFORM: u32 = 33;
/// Feature bit: virtio 1.0 and later (6).
pub const F_VERSION_1: u32 = 32;
