//! I/O ports: console, exit, power, reset, panic, and what a PC without the rest would answer.

use super::{Platform, Verdict};
use crate::guest::policy::port::{PANICKED, SLEEP_ENABLE, SLEEP_SOFT_OFF};
use crate::guest::policy::{PortAction, absent, port};
use crate::guest::{GuestEnd, GuestFault};
use crate::pci::Width;
use crate::virt::{Gpr, IoDirection, IoExit, VcpuState};
use cohort_abi::end::ResetBy;

/// In the reset register: do it.
const RESET_NOW: u8 = 1 << 2;
/// To the keyboard controller: pulse the reset line, which is bit 0 of its output port.
const PULSE_RESET: u8 = 0xfe;

impl Platform {
    pub(super) fn io(&mut self, io: IoExit, vcpu: &mut impl VcpuState, emit: impl FnOnce(&str)) -> Verdict {
        let write = io.direction == IoDirection::Out;
        let denied = GuestFault::DeniedPort {
            port: io.port,
            write,
            bytes: io.width.bytes(),
            rip: vcpu.rip(),
        };
        let simple = !io.string && !io.rep;
        let absent_port = self.lenient().then_some(PortAction::Absent);
        let Some(action) = port(io.port).or(absent_port).filter(|_| simple) else {
            return Verdict::Stop(denied.into());
        };
        let value = vcpu.gprs().get(Gpr::Rax);
        let read = match (action, io.width) {
            (PortAction::Exit, Width::Byte) if write => return Verdict::Stop(GuestEnd::Exit(value as u8)),
            (PortAction::Console(offset), Width::Byte) if write => {
                self.board
                    .with_console(|console| console.write(offset, value as u8, emit));
                0
            }
            (PortAction::Console(offset), Width::Byte) => {
                self.board.with_console(|console| console.read(offset)).into()
            }
            (PortAction::Sleep, Width::Byte) if write => {
                let kind = value as u8 >> 2 & 7;
                if value as u8 & SLEEP_ENABLE != 0 && kind == SLEEP_SOFT_OFF {
                    return Verdict::Stop(GuestEnd::PowerOff);
                }
                0
            }
            (PortAction::Reset, Width::Byte) if write => {
                if value as u8 & RESET_NOW != 0 {
                    return Verdict::Stop(GuestEnd::Reset(ResetBy::Register));
                }
                0
            }
            (PortAction::Keyboard, Width::Byte) if write && value as u8 == PULSE_RESET => {
                return Verdict::Stop(GuestEnd::Reset(ResetBy::Keyboard));
            }
            (PortAction::Keyboard, Width::Byte) => u64::MAX,
            (PortAction::Panic, Width::Byte) if write => {
                if value as u8 & PANICKED != 0 {
                    return Verdict::Stop(GuestEnd::Panic);
                }
                0
            }
            (PortAction::Panic, Width::Byte) => PANICKED.into(),
            (PortAction::Sleep | PortAction::SleepStatus | PortAction::Reset, Width::Byte) => 0,
            (PortAction::Absent, _) => absent(io.port),
            // A register of one byte, and more than one: nothing is behind it.
            (_, _) if self.lenient() => u64::MAX,
            (_, _) => return Verdict::Stop(denied.into()),
        };
        if !write {
            let new = match io.width {
                Width::Byte => value & !0xff | read & 0xff,
                Width::Word => value & !0xffff | read & 0xffff,
                Width::Dword => read & 0xffff_ffff,
            };
            vcpu.gprs_mut().set(Gpr::Rax, new);
        }
        self.skip(vcpu)
            .map_or_else(|fault| Verdict::Stop(fault.into()), |()| Verdict::Resume)
    }
}
