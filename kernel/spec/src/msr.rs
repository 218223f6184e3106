//! Numbers of model-specific registers (AMD64 Architecture Programmer's Manual, volume 2, appendix A).

/// Time-stamp counter.
pub const TSC: u32 = 0x10;
/// Base and state of the local APIC.
pub const APIC_BASE: u32 = 0x1b;
/// Revision of the microcode.
pub const PATCH_LEVEL: u32 = 0x8b;
/// What memory type range registers there are.
pub const MTRR_CAP: u32 = 0xfe;
/// SYSENTER code segment.
pub const SYSENTER_CS: u32 = 0x174;
/// SYSENTER stack.
pub const SYSENTER_ESP: u32 = 0x175;
/// SYSENTER entry.
pub const SYSENTER_EIP: u32 = 0x176;
/// What machine check banks there are.
pub const MCG_CAP: u32 = 0x179;
/// Machine check status.
pub const MCG_STATUS: u32 = 0x17a;
/// Miscellaneous enables; of Intel's, but read by software everywhere.
pub const MISC_ENABLE: u32 = 0x1a0;
/// Page attribute table.
pub const PAT: u32 = 0x277;
/// Default memory type.
pub const MTRR_DEFAULT_TYPE: u32 = 0x2ff;
/// Extended features.
pub const EFER: u32 = 0xc000_0080;
/// SYSCALL segments and 32-bit entry.
pub const STAR: u32 = 0xc000_0081;
/// SYSCALL entry of 64-bit code.
pub const LSTAR: u32 = 0xc000_0082;
/// SYSCALL entry of compatibility mode.
pub const CSTAR: u32 = 0xc000_0083;
/// SYSCALL flag mask.
pub const SFMASK: u32 = 0xc000_0084;
/// Base of FS.
pub const FS_BASE: u32 = 0xc000_0100;
/// Base of GS.
pub const GS_BASE: u32 = 0xc000_0101;
/// Base of GS after SWAPGS.
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// System configuration.
pub const SYSCFG: u32 = 0xc001_0010;
/// Hardware configuration.
pub const HWCR: u32 = 0xc001_0015;
/// Configuration of the northbridge.
pub const NB_CFG: u32 = 0xc001_001f;
/// Whether SVM may be used.
pub const VM_CR: u32 = 0xc001_0114;
/// Decode configuration.
pub const DE_CFG: u32 = 0xc001_1029;

/// APIC_BASE: this is the bootstrap processor.
pub const APIC_BASE_BSP: u64 = 1 << 8;
/// APIC_BASE: x2APIC mode, where the APIC is enabled (Intel SDM volume 3, section 12.12.1).
pub const APIC_BASE_X2APIC: u64 = 1 << 10;
/// APIC_BASE: the APIC is enabled.
pub const APIC_BASE_ENABLE: u64 = 1 << 11;
/// VM_CR: SVM is disabled.
pub const VM_CR_SVMDIS: u64 = 1 << 4;
/// VM_CR: and cannot be enabled.
pub const VM_CR_LOCK: u64 = 1 << 3;
/// DE_CFG: LFENCE serialises.
pub const DE_CFG_LFENCE: u64 = 1 << 1;
/// MTRR_DEFAULT_TYPE: enabled, write-back.
pub const MTRR_WRITE_BACK: u64 = 1 << 11 | 6;
