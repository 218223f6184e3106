//! Several vCPUs of one guest, in one thread: who starts, stops, wakes and interrupts whom.

use super::*;
use crate::guest::lines::{Line, LineSource};
use crate::guest::memory::fake::memory;
use crate::virt::fake::FakeVcpu;
use crate::virt::{NestedFault, RealEntry, rflags};
use spec::lapic::register;
use spec::msr::{APIC_BASE, APIC_BASE_X2APIC};

struct Nothing;

impl Devices for Nothing {
    fn has(&self, _: GuestPhys) -> bool {
        false
    }
    fn read(&mut self, _: GuestPhys, _: u8) -> Option<u64> {
        None
    }
    fn write(&mut self, _: GuestPhys, _: u8, _: u64) -> bool {
        false
    }
}

/// vCPUs with their platforms on one board.
struct Guest(Vec<(Platform, FakeVcpu)>);

impl Guest {
    fn new(cpus: u8) -> Self {
        let board = Arc::new(Board::new(memory(2 << 20), cpus).answering(Denied::Hardware));
        let vcpu = |id| (Platform::new(board.clone(), id), FakeVcpu::default());
        Self((0..cpus).map(vcpu).collect())
    }

    fn enter(&mut self, id: usize) -> Entry {
        let (platform, vcpu) = &mut self.0[id];
        platform.before_entry(vcpu, 0)
    }

    fn write(&mut self, id: usize, offset: u16, value: u32) {
        let (platform, _) = &mut self.0[id];
        let effect = platform.apic.write(offset, value, 0);
        platform.apply(effect);
    }

    /// The vCPU `id` sends `low` to the local APIC `to`.
    fn command(&mut self, id: usize, to: u32, low: u32) {
        self.write(id, register::ICR_HIGH, to << 24);
        self.write(id, register::ICR_LOW, low);
    }

    fn exit(&mut self, id: usize, exit: Exit) -> Verdict {
        let (platform, vcpu) = &mut self.0[id];
        vcpu.next_rip = Some(vcpu.rip + 2);
        let ones = |_, _| Registers {
            eax: u32::MAX,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
        };
        platform.handle(exit, vcpu, &mut Nothing, 0, ones, |_| {})
    }

    /// HLT of the vCPU `id`.
    fn halt(&mut self, id: usize, interrupts: bool) {
        self.0[id].1.rflags = if interrupts { rflags::IF } else { 0 };
        assert_eq!(self.exit(id, Exit::Hlt), Verdict::Halt);
    }

    fn wrmsr(&mut self, id: usize, msr: u32, value: u64) -> Option<Exception> {
        let gprs = self.0[id].1.gprs_mut();
        gprs.set32(Gpr::Rcx, msr);
        gprs.set32(Gpr::Rax, value as u32);
        gprs.set32(Gpr::Rdx, (value >> 32) as u32);
        assert_eq!(self.exit(id, Exit::Msr { write: true }), Verdict::Resume);
        self.0[id].1.exception.take()
    }

    fn kicks(&self) -> u64 {
        self.0[0].0.board().take_kicks()
    }
}

const INIT: u32 = 0x4500;
const START_UP: u32 = 0x4600;
const NMI: u32 = 0x4400;

#[test]
fn a_second_cpu_waits_for_its_start_up_and_begins_where_that_says() {
    let mut guest = Guest::new(2);
    assert_eq!((guest.enter(0), guest.enter(1)), (Entry::Run, Entry::Wait));
    guest.command(0, 1, INIT);
    assert_eq!((guest.kicks(), guest.enter(1)), (0b10, Entry::Wait));
    guest.command(0, 1, START_UP | 0x9a);
    assert_eq!((guest.kicks(), guest.enter(1)), (0b10, Entry::Run));
    assert_eq!(guest.0[1].1.restarted, Some(RealEntry::start_up(0x9a)));
    guest.0[1].1.rip = 0x77;
    guest.command(0, 1, START_UP | 8);
    assert_eq!(
        (guest.enter(1), guest.0[1].1.rip),
        (Entry::Run, 0x77),
        "it runs already"
    );
}

#[test]
fn init_stops_a_running_cpu_until_the_next_start_up() {
    let mut guest = Guest::new(2);
    guest.command(0, 1, START_UP | 8);
    guest.enter(1);
    guest.write(1, register::SPURIOUS, 0x1ff);
    guest.command(0, 1, 0x40);
    guest.command(0, 1, NMI);
    guest.command(0, 1, INIT);
    assert_eq!(guest.enter(1), Entry::Wait);
    assert!(!guest.0[1].0.apic.pending() && !guest.0[1].0.awaits_nmi());
    guest.command(0, 1, NMI);
    assert_eq!(guest.enter(1), Entry::Wait, "an NMI does not start it");
    guest.command(0, 1, START_UP | 9);
    assert_eq!(guest.enter(1), Entry::Run);
    assert!(!guest.0[1].1.nmi, "nor does it come later");
}

#[test]
fn init_to_the_first_cpu_leads_to_the_reset_vector_and_to_another_to_itself_into_the_wait() {
    let mut guest = Guest::new(2);
    guest.command(0, 0, INIT);
    assert_eq!(guest.enter(0), Entry::Run);
    assert_eq!(guest.0[0].1.restarted, Some(RealEntry::RESET));
    let fetch = NestedFault {
        gpa: GuestPhys(0xffff_fff0),
        write: false,
        fetch: true,
        present: false,
        table_walk: false,
    };
    let end = guest.exit(0, Exit::NestedFault(fetch));
    assert!(matches!(
        end,
        Verdict::Stop(GuestEnd::Fault(GuestFault::Unmapped { .. }))
    ));

    let mut guest = Guest::new(2);
    guest.command(0, 1, START_UP | 8);
    guest.enter(1);
    guest.command(1, 1, INIT);
    assert_eq!(guest.enter(1), Entry::Wait);
}

#[test]
fn messages_to_absent_cpus_change_nothing() {
    let mut guest = Guest::new(2);
    for command in [INIT, START_UP | 8, NMI, 0x40] {
        for to in [2, 7, 64, 0xfe] {
            guest.command(0, to, command);
        }
    }
    assert_eq!(
        (guest.kicks(), guest.enter(0), guest.enter(1)),
        (0, Entry::Run, Entry::Wait)
    );
    assert_eq!(guest.0[0].1.restarted, None);
}

#[test]
fn interrupts_of_others_wake_and_arrive_by_priority() {
    let mut guest = Guest::new(3);
    guest.command(0, 1, START_UP | 8);
    guest.enter(1);
    guest.write(1, register::SPURIOUS, 0x1ff);
    guest.halt(1, true);
    assert_eq!(guest.enter(1), Entry::Wait);
    guest.write(0, register::ICR_LOW, 0xc_0041);
    guest.command(0, 1, 0x52);
    assert_eq!(
        guest.kicks(),
        0b110,
        "all but the sender, and the one that waits too"
    );
    assert_eq!((guest.enter(1), guest.0[1].1.interrupt), (Entry::Run, Some(0x52)));
    guest.0[1].1.interrupt = None;
    guest.enter(1);
    assert_eq!(guest.0[1].1.interrupt, None, "of a lower class");
    guest.write(1, register::EOI, 0);
    guest.enter(1);
    assert_eq!(guest.0[1].1.interrupt, Some(0x41));
    assert_eq!(guest.enter(2), Entry::Wait, "an interrupt does not start it");
}

#[test]
fn an_nmi_wakes_what_no_interrupt_does_and_waits_for_its_turn() {
    let mut guest = Guest::new(2);
    guest.command(0, 1, START_UP | 8);
    guest.enter(1);
    guest.write(1, register::SPURIOUS, 0x1ff);
    guest.halt(1, false);
    guest.command(0, 1, 0x40);
    assert_eq!(guest.enter(1), Entry::Wait);
    guest.command(0, 1, NMI);
    assert_eq!((guest.enter(1), guest.0[1].1.nmi), (Entry::Run, true));
    guest.command(0, 1, NMI);
    guest.enter(1);
    assert!(
        guest.0[1].0.awaits_nmi(),
        "the first one's handler has not returned"
    );
    guest.0[1].1.nmi = false;
    guest.enter(1);
    assert!(guest.0[1].1.nmi && !guest.0[1].0.awaits_nmi());
}

#[test]
fn the_guest_ends_when_all_sleep_for_good_and_nothing_is_on_its_way() {
    let mut guest = Guest::new(2);
    guest.0[0].1.rip = 0x1234;
    guest.halt(0, false);
    let over = Entry::Never(GuestFault::HaltForever { rip: 0x1234 });
    assert_eq!(guest.enter(0), over, "the other was never started");

    let mut guest = Guest::new(2);
    guest.command(0, 1, START_UP | 8);
    guest.enter(1);
    guest.halt(0, false);
    assert_eq!(guest.enter(0), Entry::Wait, "the other runs");
    guest.command(1, 0, NMI);
    guest.0[1].1.rip = 0x5678;
    guest.halt(1, false);
    assert_eq!(guest.enter(1), Entry::Wait, "an NMI is on its way");
    assert_eq!(guest.enter(0), Entry::Run);
    assert_eq!(guest.enter(1), Entry::Wait);
    guest.halt(0, true);
    assert_eq!((guest.enter(0), guest.enter(1)), (Entry::Wait, Entry::Wait));
    guest.halt(0, false);
    assert!(matches!(guest.enter(0), Entry::Never(_)));
}

#[test]
fn a_storm_of_messages_is_one_of_each_kind() {
    let mut guest = Guest::new(2);
    guest.command(0, 1, START_UP | 8);
    guest.enter(1);
    guest.write(1, register::SPURIOUS, 0x1ff);
    guest.kicks();
    for _ in 0..1000 {
        guest.command(0, 1, 0x40);
        guest.command(0, 1, NMI);
        guest.command(0, 1, START_UP | 1);
    }
    assert_eq!((guest.kicks(), guest.kicks()), (0b10, 0));
    guest.0[1].1.rflags = rflags::IF;
    guest.enter(1);
    assert_eq!((guest.0[1].1.nmi, guest.0[1].0.awaits_nmi()), (true, false));
    guest.enter(1);
    guest.write(1, register::EOI, 0);
    assert!(!guest.0[1].0.apic.pending());
}

#[test]
fn x2apic_mode_by_model_specific_registers() {
    let mut guest = Guest::new(2);
    assert_eq!(
        guest.wrmsr(0, 0x80f, 0x1ff),
        Some(Exception::PROTECTION),
        "not in this mode"
    );
    let base = guest.0[0].0.apic.base();
    assert_eq!(
        guest.wrmsr(0, APIC_BASE, base & !0x800 | APIC_BASE_X2APIC),
        Some(Exception::PROTECTION)
    );
    assert_eq!(
        guest.wrmsr(0, APIC_BASE, base + 0x1000),
        Some(Exception::PROTECTION)
    );
    assert_eq!(guest.wrmsr(0, APIC_BASE, base | APIC_BASE_X2APIC), None);
    assert_eq!(guest.wrmsr(0, 0x80f, 0x1ff), None);
    assert_eq!(guest.wrmsr(0, 0x802, 5), Some(Exception::PROTECTION), "read only");
    assert_eq!(guest.wrmsr(0, 0x830, 1 << 32 | u64::from(START_UP | 8)), None);
    assert_eq!((guest.kicks(), guest.enter(1)), (0b10, Entry::Run));
    guest.0[0].1.gprs_mut().set32(Gpr::Rcx, 0x802);
    assert_eq!(guest.exit(0, Exit::Msr { write: false }), Verdict::Resume);
    assert_eq!(guest.0[0].1.gprs.get32(Gpr::Rax), 0);
    // Nothing is in memory any more, which reads as ones.
    assert!(!guest.0[0].0.apic.in_memory());
}

#[test]
fn a_line_reaches_the_cpu_that_the_io_apic_says_until_it_is_served() {
    let mut guest = Guest::new(2);
    guest.command(0, 1, START_UP | 8);
    guest.enter(1);
    guest.write(1, register::SPURIOUS, 0x1ff);
    guest.0[1].1.rflags = rflags::IF;
    let board = guest.0[0].0.board().clone();
    for (index, value) in [(0x10 + 11, 1 << 24), (0x10 + 10, 0x8061)] {
        let mut io = board.ioapic.lock();
        let mut send = |message, level| board.bus.send(None, message, level);
        io.write(0, index, &mut send);
        io.write(0x10, value, &mut send);
    }
    guest.kicks();
    board.lines().raise(Line(5), LineSource(1));
    assert_eq!(guest.kicks(), 0b10);
    guest.enter(1);
    assert_eq!(guest.0[1].1.interrupt.take(), Some(0x61));
    guest.write(1, register::EOI, 0);
    guest.enter(1);
    assert_eq!(guest.0[1].1.interrupt.take(), Some(0x61), "asserted still");
    board.lines().lower(Line(5), LineSource(1));
    guest.write(1, register::EOI, 0);
    guest.enter(1);
    assert_eq!(guest.0[1].1.interrupt, None);
}

#[test]
fn an_intx_line_that_has_ended_is_looked_at_before_it_comes_again() {
    let mut guest = Guest::new(1);
    guest.write(0, register::SPURIOUS, 0x1ff);
    guest.0[0].1.rflags = rflags::IF;
    let board = guest.0[0].0.board().clone();
    for (index, value) in [(0x10 + 35, 0), (0x10 + 34, 0xa061)] {
        let mut io = board.ioapic.lock();
        let mut send = |message, level| board.bus.send(None, message, level);
        io.write(0, index, &mut send);
        io.write(0x10, value, &mut send);
    }
    for _ in 0..2 {
        board.lines().raise(Line(17), LineSource(1));
        guest.enter(0);
        assert_eq!(guest.0[0].1.interrupt.take(), Some(0x61));
        assert_eq!(board.take_ended(), 0);
        guest.write(0, register::EOI, 0);
        guest.enter(0);
        assert_eq!(guest.0[0].1.interrupt, None, "who asserts it says so again");
        assert_eq!((board.take_ended(), board.take_ended()), (1 << 17, 0));
    }
}

#[test]
fn each_cpu_sees_its_own_number() {
    let mut guest = Guest::new(2);
    guest.0[1].1.gprs_mut().set32(Gpr::Rax, 1);
    assert_eq!(guest.exit(1, Exit::Cpuid), Verdict::Resume);
    assert_eq!(guest.0[1].1.gprs.get32(Gpr::Rbx) >> 16, 1 << 8 | 2);
    guest.0[1].1.gprs_mut().set32(Gpr::Rcx, APIC_BASE);
    assert_eq!(guest.exit(1, Exit::Msr { write: false }), Verdict::Resume);
    assert_eq!(
        guest.0[1].1.gprs.get32(Gpr::Rax),
        0xfee0_0800,
        "not the bootstrap processor"
    );
}
