//! A virtual CPU's registers as the vendor-neutral code sees them.
//!
//! The vendor module keeps the real thing (a VMCB, a VMCS) and implements [`VcpuState`] on it; emulation and
//! dispatch work on the trait, and on a plain fake in host tests.

/// A general-purpose register, in the processor's encoding order (AMD64 Architecture Programmer's Manual,
/// volume 3, section 1.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the processor's own")]
pub enum Gpr {
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

/// The general-purpose registers, in encoding order. `repr(C)`: entry code finds register `n` at byte `8 * n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Gprs(pub [u64; 16]);

impl Gprs {
    /// The register's 64 bits.
    #[must_use]
    pub const fn get(&self, register: Gpr) -> u64 {
        self.0[register as usize]
    }

    /// Replaces the register's 64 bits.
    pub const fn set(&mut self, register: Gpr, value: u64) {
        self.0[register as usize] = value;
    }

    /// The low 32 bits.
    #[must_use]
    pub const fn get32(&self, register: Gpr) -> u32 {
        self.get(register) as u32
    }

    /// Writes the low 32 bits and clears the others, as 32-bit instructions do.
    pub const fn set32(&mut self, register: Gpr, value: u32) {
        self.set(register, value as u64);
    }
}

/// Bits of CR0 that the guest's own paging depends on (manual volume 2, section 3.1.1).
pub mod cr0 {
    /// Protected mode.
    pub const PE: u64 = 1;
    /// Paging.
    pub const PG: u64 = 1 << 31;
}

/// Bits of CR4 that the guest's own paging depends on (manual volume 2, section 3.1.3).
pub mod cr4 {
    /// 4 MiB pages in 32-bit tables.
    pub const PSE: u64 = 1 << 4;
    /// 64-bit table entries.
    pub const PAE: u64 = 1 << 5;
    /// Five-level tables.
    pub const LA57: u64 = 1 << 12;
}

/// Bits of EFER (manual volume 2, section 3.1.7).
pub mod efer {
    /// SYSCALL and SYSRET.
    pub const SCE: u64 = 1;
    /// Long mode enabled.
    pub const LME: u64 = 1 << 8;
    /// Long mode active.
    pub const LMA: u64 = 1 << 10;
    /// No-execute pages.
    pub const NXE: u64 = 1 << 11;
    /// SVM enabled.
    pub const SVME: u64 = 1 << 12;
}

/// Bits of RFLAGS (manual volume 2, section 3.1.6).
pub mod rflags {
    /// Carry.
    pub const CF: u64 = 1;
    /// Even parity of the low byte.
    pub const PF: u64 = 1 << 2;
    /// Auxiliary carry.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Interrupts enabled.
    pub const IF: u64 = 1 << 9;
    /// String instructions go down.
    pub const DF: u64 = 1 << 10;
    /// Overflow.
    pub const OF: u64 = 1 << 11;
}

/// Registers at a vCPU's first instruction in 64-bit mode: paging on, flat segments, interrupts off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongEntry {
    /// RIP.
    pub rip: u64,
    /// RSI.
    pub rsi: u64,
    /// CR3: guest physical address of the top table, which maps `rip`.
    pub cr3: u64,
    /// Guest physical address of the descriptor table that `code` and `data` are in.
    pub gdt: u64,
    /// Its limit: the offset of its last byte.
    pub gdt_limit: u32,
    /// Selector of the code segment.
    pub code: u16,
    /// Selector of the data segments.
    pub data: u16,
}

/// Registers at a vCPU's first instruction in real mode, with all else as INIT leaves it (AMD64 manual, volume 2, table 14-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealEntry {
    /// Selector of the code segment.
    pub selector: u16,
    /// Its base.
    pub base: u64,
    /// IP.
    pub ip: u16,
}

impl RealEntry {
    /// The reset vector.
    pub const RESET: Self = Self {
        selector: 0xf000,
        base: 0xffff_0000,
        ip: 0xfff0,
    };

    /// Where a start-up message with this page number leads.
    #[must_use]
    pub const fn start_up(page: u8) -> Self {
        Self {
            selector: (page as u16) << 8,
            base: (page as u64) << 12,
            ip: 0,
        }
    }
}

/// A segment register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the processor's own")]
pub enum Segment {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// What the code segment says of how instructions are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeSegment {
    /// L: 64-bit code (only meaningful while long mode is active).
    pub long: bool,
    /// D: operands and addresses are 32 bits wide by default, else 16.
    pub default32: bool,
    /// Current privilege level, 0 to 3.
    pub cpl: u8,
}

/// An exception to raise in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Vector, 0 to 31.
    pub vector: u8,
    /// Error code, where the vector has one.
    pub error: Option<u32>,
}

impl Exception {
    /// Invalid opcode, #UD.
    pub const UNDEFINED: Self = Self {
        vector: 6,
        error: None,
    };
    /// General protection, #GP(0).
    pub const PROTECTION: Self = Self {
        vector: 13,
        error: Some(0),
    };
}

/// Model-specific registers that are part of the context that the hardware switches, so that only the vendor
/// module can read and write the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextMsr {
    /// EFER, 0xc000_0080. The vendor keeps what its own operation needs (SVME) out of the guest's sight.
    Efer,
    /// PAT, 0x277.
    Pat,
}

/// The value is one that the register refuses: the guest gets #GP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the register does not take this value")]
pub struct InvalidMsrValue;

/// A virtual CPU that is not running now.
pub trait VcpuState {
    /// The general-purpose registers, RAX and RSP included.
    fn gprs(&self) -> &Gprs;
    /// The general-purpose registers, to change.
    fn gprs_mut(&mut self) -> &mut Gprs;

    /// Address of the instruction that left, or that comes next.
    fn rip(&self) -> u64;
    /// Goes on at `rip`. Also ends the interrupt shadow of the instruction before, as completing one does.
    fn set_rip(&mut self, rip: u64);
    /// Where the hardware says the next instruction is, for the present exit; `None` where it does not say
    /// (no next-RIP saving) and the instruction must be decoded.
    fn next_rip(&self) -> Option<u64>;

    /// The flags.
    fn rflags(&self) -> u64;
    /// Replaces the flags.
    fn set_rflags(&mut self, rflags: u64);

    /// CR0 as the guest sees it.
    fn cr0(&self) -> u64;
    /// CR3 as the guest sees it: guest physical.
    fn cr3(&self) -> u64;
    /// CR4 as the guest sees it.
    fn cr4(&self) -> u64;
    /// EFER as the guest sees it.
    fn efer(&self) -> u64;

    /// How instructions are read.
    fn code_segment(&self) -> CodeSegment;
    /// Base of a segment. Bases of ES, CS, SS and DS count only outside 64-bit code.
    fn segment_base(&self, segment: Segment) -> u64;

    /// Reads a register that the hardware switches.
    fn context_msr(&self, msr: ContextMsr) -> u64;
    /// Writes a register that the hardware switches.
    ///
    /// # Errors
    /// [`InvalidMsrValue`]: reserved bits, or a change that the processor refuses in the present mode.
    fn set_context_msr(&mut self, msr: ContextMsr, value: u64) -> Result<(), InvalidMsrValue>;

    /// RFLAGS.IF is set, no interrupt shadow holds, and no other event is about to be injected.
    fn interruptible(&self) -> bool;
    /// Injects an external interrupt on the next entry. `false`, and nothing done, where the guest cannot take
    /// one now ([`interruptible`](Self::interruptible)).
    fn inject_interrupt(&mut self, vector: u8) -> bool;
    /// Injects a non-maskable interrupt on the next entry. `false`, and nothing done, where the guest cannot take one now: it has not
    /// returned from the one before, or another event is about to be injected.
    fn inject_nmi(&mut self) -> bool;
    /// Puts the vCPU at this instruction, all else as INIT leaves it.
    fn restart(&mut self, entry: RealEntry);
    /// Raises an exception on the next entry, in place of completing the present instruction.
    fn inject_exception(&mut self, exception: Exception);
    /// Asks for [`Exit::InterruptWindow`](super::Exit::InterruptWindow) as soon as the guest can take an
    /// interrupt. One request, one exit.
    fn request_interrupt_window(&mut self);
}

#[cfg(test)]
pub(crate) mod fake {
    //! A vCPU of plain fields.

    use super::*;

    #[derive(Clone, Debug)]
    pub(crate) struct FakeVcpu {
        pub(crate) gprs: Gprs,
        pub(crate) rip: u64,
        pub(crate) next_rip: Option<u64>,
        pub(crate) rflags: u64,
        pub(crate) cr0: u64,
        pub(crate) cr3: u64,
        pub(crate) cr4: u64,
        pub(crate) efer: u64,
        pub(crate) pat: u64,
        pub(crate) code: CodeSegment,
        pub(crate) bases: [u64; 6],
        pub(crate) shadow: bool,
        pub(crate) interrupt: Option<u8>,
        pub(crate) exception: Option<Exception>,
        pub(crate) window: bool,
        pub(crate) nmi: bool,
        pub(crate) restarted: Option<RealEntry>,
    }

    impl Default for FakeVcpu {
        /// 64-bit code without paging, which no processor has: tests that need tables set them up.
        fn default() -> Self {
            Self {
                gprs: Gprs::default(),
                rip: 0,
                next_rip: None,
                rflags: 2,
                cr0: cr0::PE,
                cr3: 0,
                cr4: 0,
                efer: efer::LMA | efer::LME,
                pat: 0x0007_0406_0007_0406,
                code: CodeSegment {
                    long: true,
                    default32: false,
                    cpl: 0,
                },
                bases: [0; 6],
                shadow: false,
                interrupt: None,
                exception: None,
                window: false,
                nmi: false,
                restarted: None,
            }
        }
    }

    impl VcpuState for FakeVcpu {
        fn gprs(&self) -> &Gprs {
            &self.gprs
        }
        fn gprs_mut(&mut self) -> &mut Gprs {
            &mut self.gprs
        }
        fn rip(&self) -> u64 {
            self.rip
        }
        fn set_rip(&mut self, rip: u64) {
            self.rip = rip;
            self.shadow = false;
        }
        fn next_rip(&self) -> Option<u64> {
            self.next_rip
        }
        fn rflags(&self) -> u64 {
            self.rflags
        }
        fn set_rflags(&mut self, rflags: u64) {
            self.rflags = rflags;
        }
        fn cr0(&self) -> u64 {
            self.cr0
        }
        fn cr3(&self) -> u64 {
            self.cr3
        }
        fn cr4(&self) -> u64 {
            self.cr4
        }
        fn efer(&self) -> u64 {
            self.efer
        }
        fn code_segment(&self) -> CodeSegment {
            self.code
        }
        fn segment_base(&self, segment: Segment) -> u64 {
            self.bases[segment as usize]
        }
        fn context_msr(&self, msr: ContextMsr) -> u64 {
            match msr {
                ContextMsr::Efer => self.efer,
                ContextMsr::Pat => self.pat,
            }
        }
        fn set_context_msr(&mut self, msr: ContextMsr, value: u64) -> Result<(), InvalidMsrValue> {
            match msr {
                ContextMsr::Efer if value & efer::SVME != 0 => return Err(InvalidMsrValue),
                ContextMsr::Efer => self.efer = value,
                ContextMsr::Pat => self.pat = value,
            }
            Ok(())
        }
        fn interruptible(&self) -> bool {
            self.rflags & rflags::IF != 0
                && !self.shadow
                && self.interrupt.is_none()
                && self.exception.is_none()
        }
        fn inject_interrupt(&mut self, vector: u8) -> bool {
            let can = self.interruptible();
            if can {
                self.interrupt = Some(vector);
            }
            can
        }
        fn inject_nmi(&mut self) -> bool {
            let can = !self.nmi;
            self.nmi = true;
            can
        }
        fn restart(&mut self, entry: RealEntry) {
            *self = Self {
                rip: entry.ip.into(),
                efer: 0,
                cr0: 0,
                restarted: Some(entry),
                ..Self::default()
            };
            self.bases[Segment::Cs as usize] = entry.base;
            (self.code.long, self.code.default32) = (false, false);
        }
        fn inject_exception(&mut self, exception: Exception) {
            self.exception = Some(exception);
        }
        fn request_interrupt_window(&mut self) {
            self.window = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_two_bit_writes_clear_the_upper_half() {
        let mut gprs = Gprs([u64::MAX; 16]);
        gprs.set32(Gpr::R9, 7);
        assert_eq!((gprs.get(Gpr::R9), gprs.get(Gpr::R8)), (7, u64::MAX));
    }

    #[test]
    fn the_fake_takes_one_interrupt_and_only_when_it_can() {
        let mut vcpu = fake::FakeVcpu::default();
        assert!(!vcpu.inject_interrupt(0x40));
        vcpu.rflags |= rflags::IF;
        assert!(vcpu.inject_interrupt(0x40));
        assert!(!vcpu.inject_interrupt(0x41));
    }
}
