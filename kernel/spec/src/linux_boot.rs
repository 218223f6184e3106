//! Linux's x86 boot protocol (Linux, `Documentation/arch/x86/boot.rst` and `zero-page.rst`): offsets in a bzImage, which
//! are those in `boot_params` too, and the values that count.

/// 512-byte sectors of the real-mode part after the first; 0 means 4.
pub const SETUP_SECTS: usize = 0x1f1;
/// Length of the protected-mode part in units of 16 bytes.
pub const SYSSIZE: usize = 0x1f4;
/// [`BOOT_FLAG_VALUE`].
pub const BOOT_FLAG: usize = 0x1fe;
/// Second byte of a short jump: the setup header ends that many bytes after [`HEADER`].
pub const JUMP: usize = 0x201;
/// [`HEADER_VALUE`].
pub const HEADER: usize = 0x202;
/// Version of the protocol, major in the high byte.
pub const VERSION: usize = 0x206;
/// Who loads.
pub const TYPE_OF_LOADER: usize = 0x210;
/// Flags of the load.
pub const LOADFLAGS: usize = 0x211;
/// Where the real-mode part jumps to, in 32-bit mode.
pub const CODE32_START: usize = 0x214;
/// Physical address of the initial file system.
pub const RAMDISK_IMAGE: usize = 0x218;
/// Its bytes.
pub const RAMDISK_SIZE: usize = 0x21c;
/// Physical address of the command line.
pub const CMD_LINE_PTR: usize = 0x228;
/// Highest address that the last byte of the initial file system may have.
pub const INITRD_ADDR_MAX: usize = 0x22c;
/// Alignment of a load address that is not the preferred one.
pub const KERNEL_ALIGNMENT: usize = 0x230;
/// Not zero: it can be loaded elsewhere.
pub const RELOCATABLE_KERNEL: usize = 0x234;
/// More flags of the image.
pub const XLOADFLAGS: usize = 0x236;
/// Longest command line, without its end mark.
pub const CMDLINE_SIZE: usize = 0x238;
/// Where it wants to be loaded.
pub const PREF_ADDRESS: usize = 0x258;
/// Bytes that it needs from its load address on, before it looks at the memory map.
pub const INIT_SIZE: usize = 0x260;
/// First byte that this protocol's setup header cannot use in `boot_params`.
pub const HEADER_LIMIT: usize = 0x290;

/// In `boot_params` alone: physical address of the RSDP.
pub const ACPI_RSDP_ADDR: usize = 0x70;
/// In `boot_params` alone: entries of the memory map.
pub const E820_ENTRIES: usize = 0x1e8;
/// In `boot_params` alone: the memory map, entries of [`E820_ENTRY`] bytes: address, size, type.
pub const E820_TABLE: usize = 0x2d0;
/// Bytes of an entry.
pub const E820_ENTRY: usize = 20;
/// Bytes of `boot_params`.
pub const BOOT_PARAMS_SIZE: usize = 4096;

/// At [`BOOT_FLAG`].
pub const BOOT_FLAG_VALUE: u16 = 0xaa55;
/// At [`HEADER`].
pub const HEADER_VALUE: [u8; 4] = *b"HdrS";
/// First version with [`XLOADFLAGS`].
pub const VERSION_XLOADFLAGS: u16 = 0x020c;
/// Type of a loader that has no number of its own.
pub const LOADER_UNDEFINED: u8 = 0xff;
/// In [`XLOADFLAGS`]: there is a 64-bit entry point.
pub const XLF_KERNEL_64: u16 = 1;
/// The 64-bit entry point, from the start of the protected-mode part.
pub const ENTRY_64: u64 = 0x200;
/// Selector of the code segment at the entry point.
pub const BOOT_CS: u16 = 0x10;
/// Selector of the data segments at the entry point.
pub const BOOT_DS: u16 = 0x18;
