//! What a PVH loader hands to a kernel (Xen, `xen/include/public/arch-x86/hvm/start_info.h`, and the ELF note of
//! `xen/include/public/elfnote.h`).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `start_info.magic`.
pub const MAGIC: u32 = 0x336e_c578;
/// The version with a memory map.
pub const VERSION: u32 = 1;
/// Name of the ELF note.
pub const NOTE_NAME: &[u8] = b"Xen\0";
/// `XEN_ELFNOTE_PHYS32_ENTRY`: type of the note whose contents are the entry point.
pub const NOTE_PHYS32_ENTRY: u64 = 18;

/// `hvm_start_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StartInfo {
    /// [`MAGIC`].
    pub magic: U32,
    /// [`VERSION`].
    pub version: U32,
    /// Zero.
    pub flags: U32,
    /// Number of modules.
    pub modules: U32,
    /// Physical address of the list of modules.
    pub module_list: U64,
    /// Physical address of the command line, ended by zero.
    pub command_line: U64,
    /// Physical address of the RSDP.
    pub rsdp: U64,
    /// Physical address of the memory map.
    pub memory_map: U64,
    /// Entries of the memory map.
    pub memory_map_entries: U32,
    /// Zero.
    pub reserved: U32,
}

/// `hvm_modlist_entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ModuleEntry {
    /// Physical address.
    pub address: U64,
    /// Bytes.
    pub size: U64,
    /// Physical address of its command line, or zero.
    pub command_line: U64,
    /// Zero.
    pub reserved: U64,
}

/// `hvm_memmap_table_entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MemoryMapEntry {
    /// Physical address.
    pub address: U64,
    /// Bytes.
    pub size: U64,
    /// [`RAM`] or [`RESERVED`], as in E820.
    pub kind: U32,
    /// Zero.
    pub reserved: U32,
}

/// Usable memory.
pub const RAM: u32 = 1;
/// Not to be used.
pub const RESERVED: u32 = 2;
