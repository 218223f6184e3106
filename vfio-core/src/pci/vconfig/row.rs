//! What a table of configuration space is made of: rows of bits, and how long a capability is.

/// What bits of a register are to their guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bits {
    /// Read from the hardware; writes are dropped.
    Hardware,
    /// Read from and written to the hardware.
    HardwareWritable,
    /// Read from the hardware; a written one goes there and clears the bit, a zero leaves it.
    HardwareClear,
    /// As the hardware had them when the space was built; writes are dropped.
    Snapshot,
    /// Kept for the guest alone, and writable; zero at first.
    Virtual,
    /// Kept for the guest alone, and writable; at first as the hardware had them.
    VirtualFrom,
    /// Zero; writes are dropped. For bits of a register that is otherwise the hardware's.
    Zero,
}

/// Bits of one register, at an offset from the capability (of the header, from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Bytes; the bits of `mask` count from there. A row stays within four bytes at a multiple of four.
    pub(super) offset: u16,
    /// Which bits.
    pub(super) mask: u32,
    /// What they are.
    pub(super) bits: Bits,
}

/// A row, shorter.
pub(super) const fn row(offset: u16, mask: u32, bits: Bits) -> Row {
    Row { offset, mask, bits }
}

/// A register whose writes mean more than bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trap {
    /// Command: decoding, bus mastering, INTx.
    Command,
    /// One half of a base address register, by register number; 6 is the ROM.
    Bar(u8),
    /// Power state.
    Power,
    /// Address of vital product data.
    VpdAddress,
    /// Message control, address or data.
    Msi,
    /// MSI-X's message control.
    Msix,
    /// Device control: payload, read request, reset.
    DeviceControl,
    /// Reset by advanced features.
    AdvancedFeatures,
}

/// How many bytes of a capability are shown, its header included. What does not fit before the next capability of the list is
/// cut off where that still makes sense; otherwise the capability is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// None: the capability does not exist for the guest.
    Hidden,
    /// So many, or none at all.
    Exactly(u16),
    /// As many as there is room for, from the first number to the second.
    Range(u16, u16),
    /// By version and kind of function (PCI Express 7.5.3).
    Express,
    /// By width of the address and by masking (PCI Express 7.7.1).
    Msi,
    /// 8, or 24 with ECC (PCI-X 2.0, section 7.2).
    PciX,
    /// By the type of the block (HyperTransport 3.10, section 7).
    HyperTransport,
    /// In byte 2 (PCI Express 7.9.4).
    Vendor,
    /// 8, or 16 with the registers inside (Serial ATA AHCI 1.3, section 2.4).
    Sata,
    /// With the egress control vector (PCI Express 7.7.11).
    AccessControl,
    /// With one block for each channel, and the arbitration table (PCI Express 7.9.1).
    Channels,
    /// Eight bytes for each BAR (PCI Express 7.8.6).
    ResizableBar,
    /// A byte for each substate (PCI Express 7.9.12).
    PowerAllocation,
    /// With the steering table (PCI Express 7.9.13).
    Hints,
    /// In the upper 12 bits of the second dword (PCI Express 7.9.5, 7.9.6).
    VendorExtended,
}

/// How a kind of capability is shown. Bytes that no row names are read from the hardware, and cannot be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Its id.
    pub(super) id: u16,
    /// How long it is.
    pub(super) length: Length,
    /// What differs from reading the hardware.
    pub(super) rows: &'static [Row],
    /// Registers with a meaning, by the offset of their four bytes.
    pub(super) traps: &'static [(u16, Trap)],
}

impl Layout {
    /// Not shown.
    pub(super) const fn hidden(id: u16) -> Self {
        Self::read(id, Length::Hidden)
    }

    /// Shown as the hardware has it, read-only.
    pub(super) const fn read(id: u16, length: Length) -> Self {
        Self {
            id,
            length,
            rows: &[],
            traps: &[],
        }
    }

    /// The row of `table` for `id`; an id without one is hidden.
    pub(super) fn of(table: &'static [Self], id: u16) -> Option<&'static Self> {
        table.iter().find(|layout| layout.id == id)
    }
}
