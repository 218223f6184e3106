//! From an exit code to the vendor-neutral exit.

use crate::addr::GuestPhys;
use crate::pci::Width;
use crate::virt::{Exit, IoDirection, IoExit, NestedFault};
use spec::svm::{Vmcb, exit_code, ioio, npf};

/// Vectors of exceptions that push an error code, as a bit mask.
const WITH_ERROR: u32 = 1 << 8 | 0x1f << 10 | 1 << 17 | 1 << 21;
const MACHINE_CHECK: u64 = 18;

/// What the processor says in `vmcb` of the last exit.
pub(super) fn decode(vmcb: &Vmcb) -> Exit {
    let (code, info1, info2) = (vmcb.exit_code, vmcb.exit_info1, vmcb.exit_info2);
    match code {
        exit_code::EXCEPTION..exit_code::INTR => match code - exit_code::EXCEPTION {
            MACHINE_CHECK => Exit::MachineCheck,
            vector => Exit::Exception {
                vector: vector as u8,
                error: (WITH_ERROR >> vector & 1 != 0).then_some(info1 as u32),
            },
        },
        exit_code::INTR => Exit::ExternalInterrupt,
        exit_code::NMI => Exit::Nmi,
        exit_code::INIT => Exit::Init,
        // IRET opens the window for the next non-maskable interrupt.
        exit_code::VINTR | exit_code::IRET => Exit::InterruptWindow,
        exit_code::CPUID => Exit::Cpuid,
        exit_code::HLT => Exit::Hlt,
        exit_code::IOIO => Exit::Io(IoExit {
            port: (info1 >> ioio::PORT_SHIFT) as u16,
            width: match info1 {
                wide if wide & ioio::SIZE32 != 0 => Width::Dword,
                word if word & ioio::SIZE16 != 0 => Width::Word,
                _ => Width::Byte,
            },
            direction: if info1 & ioio::IN != 0 {
                IoDirection::In
            } else {
                IoDirection::Out
            },
            string: info1 & ioio::STRING != 0,
            rep: info1 & ioio::REP != 0,
        }),
        exit_code::MSR => Exit::Msr {
            write: info1 & 1 != 0,
        },
        exit_code::SHUTDOWN => Exit::Shutdown,
        exit_code::VMMCALL => Exit::Hypercall,
        exit_code::INVD | exit_code::WBINVD => Exit::CacheFlush,
        exit_code::RSM
        | exit_code::INVLPGA
        | exit_code::VMRUN..=exit_code::SKINIT
        | exit_code::MONITOR..=exit_code::MWAIT_ARMED
        | exit_code::XSETBV
        | exit_code::RDPMC => Exit::UndefinedInstruction,
        exit_code::NPF => Exit::NestedFault(NestedFault {
            gpa: GuestPhys(info2),
            write: info1 & npf::WRITE != 0,
            fetch: info1 & npf::FETCH != 0,
            present: info1 & npf::PRESENT != 0,
            table_walk: info1 & npf::TABLE_WALK != 0,
        }),
        exit_code::INVALID => Exit::InvalidState,
        exit_code::TASK_SWITCH => Exit::Unsupported {
            code,
            name: "task switch",
        },
        0x00..=0x1f => Exit::Unsupported {
            code,
            name: "control register access",
        },
        _ => Exit::Unsupported {
            code,
            name: "unknown",
        },
    }
}

/// Where the next instruction is, where the exit says so: port accesses always do (section 15.10.2), others only
/// with next-RIP saving.
pub(super) fn next_rip(vmcb: &Vmcb, nrip_save: bool) -> Option<u64> {
    match vmcb.exit_code {
        exit_code::IOIO => Some(vmcb.exit_info2),
        _ if nrip_save && vmcb.nrip != 0 => Some(vmcb.nrip),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virt::ExitKind;

    fn exit(code: u64, info1: u64, info2: u64) -> Exit {
        let mut vmcb = Vmcb::EMPTY;
        (vmcb.exit_code, vmcb.exit_info1, vmcb.exit_info2) = (code, info1, info2);
        decode(&vmcb)
    }

    #[test]
    fn every_code_decodes() {
        for code in (0..0x500).chain([u64::MAX, u64::MAX - 1]) {
            let kind = exit(code, u64::MAX, u64::MAX).kind();
            if kind == ExitKind::InvalidState {
                assert_eq!(code, u64::MAX);
            }
        }
    }

    #[test]
    fn fields_are_where_the_manual_has_them() {
        let out = exit(exit_code::IOIO, 0x3f8 << 16 | 1 << 4, 0x1002);
        let Exit::Io(io) = out else { panic!("{out:?}") };
        assert_eq!(
            (io.port, io.width, io.direction),
            (0x3f8, Width::Byte, IoDirection::Out)
        );
        let fault = exit(exit_code::NPF, 0x1_0000_0006, 0xfee0_0020);
        let Exit::NestedFault(fault) = fault else {
            panic!("{fault:?}")
        };
        assert!(fault.write && !fault.present && !fault.table_walk && fault.gpa == GuestPhys(0xfee0_0020));
        assert_eq!(
            exit(0x40 + 14, 5, 0),
            Exit::Exception {
                vector: 14,
                error: Some(5)
            }
        );
        assert_eq!(
            exit(0x40 + 6, 5, 0),
            Exit::Exception {
                vector: 6,
                error: None
            }
        );
        assert_eq!(exit(0x40 + 18, 0, 0), Exit::MachineCheck);
    }
}
