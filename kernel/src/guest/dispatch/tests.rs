//! Exits against a fake vCPU whose code lies in memory that is a vector.

#![expect(unsafe_code, reason = "guest memory over a vector")]

use super::*;
use crate::addr::HostPhys;
use crate::pci::Width;
use crate::virt::fake::FakeVcpu;
use crate::virt::{ContextMsr, IoDirection, IoExit, NestedFault, efer, rflags};
use cohort_abi::end::ResetBy;
use core::ptr::NonNull;

const RIP: u64 = 0x1000;

struct World {
    platform: Platform,
    vcpu: FakeVcpu,
    register: u32,
    lines: Vec<String>,
    _ram: Vec<u64>,
}

/// One 32-bit register at 0xd0000000.
struct OneRegister<'a>(&'a mut u32);

impl Devices for OneRegister<'_> {
    fn has(&self, gpa: GuestPhys) -> bool {
        gpa.0 & !0xfff == 0xd000_0000
    }
    fn read(&mut self, gpa: GuestPhys, bytes: u8) -> Option<u64> {
        (gpa.0 == 0xd000_0000 && bytes == 4).then_some((*self.0).into())
    }
    fn write(&mut self, gpa: GuestPhys, bytes: u8, value: u64) -> bool {
        let here = gpa.0 == 0xd000_0000 && bytes == 4;
        if here {
            *self.0 = value as u32;
        }
        here
    }
}

impl World {
    /// A vCPU about to execute `code`, in 32-bit mode without paging.
    fn new(code: &[u8]) -> Self {
        Self::answering(code, Denied::Stop)
    }

    fn answering(code: &[u8], denied: Denied) -> Self {
        let mut ram = vec![0u64; (4 << 20) / 8];
        let base = NonNull::new(ram.as_mut_ptr().cast::<u8>()).unwrap();
        // SAFETY: the vector lives as long as the world does, and nobody else touches it.
        let memory = unsafe { GuestMemory::new(base, HostPhys(0), 4 << 20) }.unwrap();
        memory.write(GuestPhys(RIP), code).unwrap();
        let mut vcpu = FakeVcpu {
            rip: RIP,
            efer: 0,
            ..FakeVcpu::default()
        };
        vcpu.code.long = false;
        vcpu.code.default32 = true;
        Self {
            platform: Platform::new(Arc::new(Board::new(memory, 1).answering(denied)), 0),
            vcpu,
            register: 7,
            lines: Vec::new(),
            _ram: ram,
        }
    }

    fn handle(&mut self, exit: Exit) -> Verdict {
        let ones = |_, _| Registers {
            eax: u32::MAX,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
        };
        let mut devices = OneRegister(&mut self.register);
        let lines = &mut self.lines;
        self.platform
            .handle(exit, &mut self.vcpu, &mut devices, 1234, ones, |line| {
                lines.push(line.to_owned())
            })
    }

    fn fault(&mut self, exit: Exit) -> GuestFault {
        match self.handle(exit) {
            Verdict::Stop(GuestEnd::Fault(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }
}

fn io(port: u16, direction: IoDirection, width: Width) -> Exit {
    Exit::Io(IoExit {
        port,
        width,
        direction,
        string: false,
        rep: false,
    })
}

fn at(gpa: u64, write: bool) -> NestedFault {
    NestedFault {
        gpa: GuestPhys(gpa),
        write,
        fetch: false,
        present: false,
        table_walk: false,
    }
}

#[test]
fn a_denied_port_or_register_is_the_guests_fault() {
    for port in [0xcf8, 0x60, 0x604, 0xffff] {
        let fault = World::new(&[0xee]).fault(io(port, IoDirection::Out, Width::Byte));
        assert!(matches!(fault, GuestFault::DeniedPort { port: found, .. } if found == port));
    }
    let mut world = World::new(&[0x6e]);
    let string = IoExit {
        port: 0x3f8,
        width: Width::Byte,
        direction: IoDirection::Out,
        string: true,
        rep: false,
    };
    assert!(
        matches!(world.fault(Exit::Io(string)), GuestFault::DeniedPort { .. }),
        "OUTS"
    );
    for write in [false, true] {
        let mut world = World::new(&[0x0f, 0x30]);
        world.vcpu.gprs.set(Gpr::Rcx, 0xc001_0117);
        assert_eq!(
            world.fault(Exit::Msr { write }),
            GuestFault::DeniedMsr {
                msr: 0xc001_0117,
                write,
                rip: RIP
            }
        );
    }
}

#[test]
fn what_it_prints_arrives_by_lines_and_the_exit_port_ends_it() {
    let mut world = World::new(&[0xee, 0xee, 0xee]);
    for byte in *b"A\n" {
        world.vcpu.gprs.set(Gpr::Rax, byte.into());
        assert_eq!(
            world.handle(io(0x3f8, IoDirection::Out, Width::Byte)),
            Verdict::Resume
        );
    }
    assert_eq!(
        (&world.lines[..], world.vcpu.rip),
        (&["A".to_owned()][..], RIP + 2)
    );
    world.vcpu.gprs.set(Gpr::Rax, 0x10);
    assert_eq!(
        world.handle(io(0xf4, IoDirection::Out, Width::Byte)),
        Verdict::Stop(GuestEnd::Exit(0x10))
    );
}

#[test]
fn reads_of_a_port_replace_what_they_are_wide() {
    for (width, expected) in [
        (Width::Byte, 0x1122_33ff),
        (Width::Word, 0x1122_ffff),
        (Width::Dword, 0xffff_ffff),
    ] {
        let mut world = World::new(&[0xec]);
        world.vcpu.gprs.set(Gpr::Rax, 0x1122_3344);
        assert_eq!(world.handle(io(0x80, IoDirection::In, width)), Verdict::Resume);
        assert_eq!(world.vcpu.gprs.get(Gpr::Rax), expected);
    }
}

#[test]
fn a_device_register_is_read_and_written() {
    let mut world = World::new(&[0xa1, 0, 0, 0, 0xd0]); // mov eax, [0xd0000000]
    assert_eq!(
        world.handle(Exit::NestedFault(at(0xd000_0000, false))),
        Verdict::Resume
    );
    assert_eq!((world.vcpu.gprs.get(Gpr::Rax), world.vcpu.rip), (7, RIP + 5));
    let mut world = World::new(&[0xc7, 5, 0, 0, 0, 0xd0, 9, 0, 0, 0]); // mov dword [0xd0000000], 9
    assert_eq!(
        world.handle(Exit::NestedFault(at(0xd000_0000, true))),
        Verdict::Resume
    );
    assert_eq!(world.register, 9);
    let fault = World::new(&[0xa0, 0, 0, 0, 0xd0]).fault(Exit::NestedFault(at(0xd000_0000, false)));
    assert!(
        matches!(fault, GuestFault::DeviceAccess { bytes: 1, .. }),
        "{fault:?}"
    );
}

#[test]
fn memory_that_is_not_there_ends_the_guest() {
    let mut world = World::new(&[0xa1, 0, 0, 0, 0x50]);
    assert!(matches!(
        world.fault(Exit::NestedFault(at(0x5000_0000, false))),
        GuestFault::Unmapped { .. }
    ));
    let fetch = NestedFault {
        fetch: true,
        ..at(0x5000_0000, false)
    };
    assert!(matches!(
        world.fault(Exit::NestedFault(fetch)),
        GuestFault::Unmapped { fetch: true, .. }
    ));
    let rom = NestedFault {
        present: true,
        ..at(0xe_0000, true)
    };
    assert!(matches!(
        world.fault(Exit::NestedFault(rom)),
        GuestFault::ReadOnly { .. }
    ));
    let mut world = World::new(&[0x0f, 0x11, 5, 0, 0, 0, 0xd0]); // movups [0xd0000000], xmm0
    assert!(matches!(
        world.fault(Exit::NestedFault(at(0xd000_0000, true))),
        GuestFault::Instruction { .. }
    ));
}

#[test]
fn hlt_waits_only_where_something_can_wake() {
    let mut world = World::new(&[0xf4]);
    assert_eq!(world.handle(Exit::Hlt), Verdict::Halt);
    assert_eq!(
        world.platform.before_entry(&mut world.vcpu, 0),
        Entry::Never(GuestFault::HaltForever { rip: RIP })
    );
    let mut world = World::new(&[0xf4]);
    world.vcpu.rflags |= rflags::IF;
    assert_eq!(world.handle(Exit::Hlt), Verdict::Halt);
    assert_eq!(world.vcpu.rip, RIP + 1);
    assert_eq!(world.platform.before_entry(&mut world.vcpu, 0), Entry::Wait);
    world.vcpu.interrupt = Some(0x40);
    assert_eq!(
        world.platform.before_entry(&mut world.vcpu, 0),
        Entry::Run,
        "what was injected before is delivered"
    );
}

#[test]
fn context_registers_keep_what_the_processor_would_refuse_out() {
    let mut world = World::new(&[0x0f, 0x30]);
    world.vcpu.gprs.set(Gpr::Rcx, 0xc000_0080);
    world.vcpu.gprs.set(Gpr::Rax, efer::SVME);
    assert_eq!(world.handle(Exit::Msr { write: true }), Verdict::Resume);
    assert_eq!(world.vcpu.exception, Some(Exception::PROTECTION));
    assert_eq!(
        (world.vcpu.context_msr(ContextMsr::Efer), world.vcpu.rip),
        (0, RIP),
        "unchanged, and not skipped"
    );
}

#[test]
fn an_interrupt_goes_in_as_soon_as_it_can() {
    let mut world = World::new(&[0xc7, 5, 0xf0, 0, 0xe0, 0xfe, 0xff, 1, 0, 0]); // mov dword [0xfee000f0], 0x1ff
    assert_eq!(
        world.handle(Exit::NestedFault(at(0xfee0_00f0, true))),
        Verdict::Resume,
        "the APIC is turned on"
    );
    world.platform.interrupt(0, 0x40);
    world.platform.before_entry(&mut world.vcpu, 0);
    assert!(world.vcpu.window && world.vcpu.interrupt.is_none(), "IF is clear");
    world.vcpu.rflags |= rflags::IF;
    world.platform.before_entry(&mut world.vcpu, 0);
    assert_eq!(
        (world.vcpu.interrupt, world.platform.interrupts()),
        (Some(0x40), 1)
    );
}

#[test]
fn the_other_ends_are_named() {
    let fault = World::new(&[]).fault(Exit::MachineCheck);
    assert_eq!(fault, GuestFault::MachineCheck { rip: RIP });
    assert_eq!(
        World::new(&[]).fault(Exit::Shutdown),
        GuestFault::Shutdown { rip: RIP }
    );
    assert!(matches!(
        World::new(&[]).fault(Exit::Hypercall),
        GuestFault::Hypercall { .. }
    ));
    assert!(matches!(
        World::new(&[]).fault(Exit::InvalidState),
        GuestFault::InvalidState { .. }
    ));
    let mut world = World::new(&[]);
    assert_eq!(world.handle(Exit::UndefinedInstruction), Verdict::Resume);
    assert_eq!(world.vcpu.exception, Some(Exception::UNDEFINED));
    assert_eq!(
        world.platform.exits().collect::<Vec<_>>(),
        [(ExitKind::UndefinedInstruction, 1)]
    );
}

fn lenient(code: &[u8]) -> World {
    World::answering(code, Denied::Hardware)
}

#[test]
fn where_hardware_answers_an_absent_port_reads_as_ones() {
    let mut world = lenient(&[0xec]);
    world.vcpu.next_rip = Some(RIP + 1);
    for (port, width, value) in [
        (0x61, Width::Byte, 0xff),
        (0x71, Width::Byte, 0),
        (0xcf8, Width::Dword, 0xffff_ffff),
        (0x43, Width::Byte, 0),
        (0x3f8, Width::Word, 0xffff),
    ] {
        world.vcpu.gprs = Default::default();
        assert_eq!(world.handle(io(port, IoDirection::In, width)), Verdict::Resume);
        assert_eq!(world.vcpu.gprs.get(Gpr::Rax), value, "{port:#x}");
        assert_eq!(world.handle(io(port, IoDirection::Out, width)), Verdict::Resume);
    }
    let string = IoExit {
        port: 0x71,
        width: Width::Byte,
        direction: IoDirection::In,
        string: true,
        rep: true,
    };
    assert!(matches!(
        world.fault(Exit::Io(string)),
        GuestFault::DeniedPort { port: 0x71, .. }
    ));
}

#[test]
fn where_hardware_answers_an_absent_register_is_an_exception() {
    for (number, write) in [(0x6e0, false), (0xc001_0117, true), (0x8b, true)] {
        let mut world = lenient(&[0x0f, 0x32]);
        world.vcpu.gprs.set(Gpr::Rcx, number);
        assert_eq!(world.handle(Exit::Msr { write }), Verdict::Resume);
        assert_eq!(world.vcpu.exception, Some(Exception::PROTECTION));
        assert_eq!(world.vcpu.rip, RIP, "the instruction did not complete");
    }
    let mut world = lenient(&[0x0f, 1, 0xd9]);
    assert_eq!(world.handle(Exit::Hypercall), Verdict::Resume);
    assert_eq!(world.vcpu.exception, Some(Exception::UNDEFINED));
}

#[test]
fn where_hardware_answers_nothing_on_the_bus_reads_as_ones() {
    // mov eax, [0xc0000]; mov [0xc0000], eax
    let mut world = lenient(&[0xa1, 0, 0, 0xc, 0, 0xa3, 0, 0, 0xc, 0]);
    assert_eq!(
        world.handle(Exit::NestedFault(at(0xc_0000, false))),
        Verdict::Resume
    );
    assert_eq!(
        (world.vcpu.gprs.get(Gpr::Rax), world.vcpu.rip),
        (0xffff_ffff, RIP + 5)
    );
    assert_eq!(
        world.handle(Exit::NestedFault(at(0xc_0000, true))),
        Verdict::Resume
    );
    assert_eq!(world.vcpu.rip, RIP + 10);
    for fault in [
        NestedFault {
            fetch: true,
            ..at(0xc_0000, false)
        },
        NestedFault {
            table_walk: true,
            ..at(0xc_0000, true)
        },
    ] {
        assert!(matches!(
            lenient(&[0x90]).fault(Exit::NestedFault(fault)),
            GuestFault::Unmapped { .. }
        ));
    }
}

#[test]
fn the_power_goes_off_and_the_machine_resets_when_the_registers_say_so() {
    let write = |port, value| {
        let mut world = World::new(&[0xee]);
        world.vcpu.next_rip = Some(RIP + 1);
        world.vcpu.gprs.set(Gpr::Rax, value);
        world.handle(io(port, IoDirection::Out, Width::Byte))
    };
    assert_eq!(write(0x600, 0x34), Verdict::Stop(GuestEnd::PowerOff));
    assert_eq!(write(0xcf9, 6), Verdict::Stop(GuestEnd::Reset(ResetBy::Register)));
    assert_eq!(
        write(0x64, 0xfe),
        Verdict::Stop(GuestEnd::Reset(ResetBy::Keyboard))
    );
    assert_eq!(write(0x64, 0xaa), Verdict::Resume);
    assert_eq!(write(0x505, 1), Verdict::Stop(GuestEnd::Panic));
    // Without the enable bit, another state, without the reset bit, the status register, a kernel that dumps its memory.
    for (port, value) in [
        (0x600, 0x14),
        (0x600, 0x24),
        (0xcf9, 2),
        (0x601, 0x80),
        (0x505, 2),
    ] {
        assert_eq!(write(port, value), Verdict::Resume, "{port:#x} {value:#x}");
    }
    let mut world = World::new(&[0xec]);
    world.vcpu.next_rip = Some(RIP + 1);
    world.vcpu.gprs.set(Gpr::Rax, 0xff);
    assert_eq!(
        world.handle(io(0x601, IoDirection::In, Width::Byte)),
        Verdict::Resume
    );
    assert_eq!(world.vcpu.gprs.get(Gpr::Rax), 0);
}

#[test]
fn a_guest_can_ask_how_often_it_left() {
    use cohort_abi::statistics::{CPUID, EXITS, LEAF, NAMES, STARTED};
    let names = ExitKind::ALL.map(ExitKind::name);
    assert_eq!(NAMES[EXITS..], names, "host tool and guest have the same names");
    let mut world = World::new(&[0x0f, 0xa2]);
    world.platform.before_entry(&mut world.vcpu, 1 << 40);
    world.platform.before_entry(&mut world.vcpu, 1 << 41);
    let mut ask = |number: usize| {
        world.vcpu.next_rip = Some(RIP + 2);
        world.vcpu.gprs.set(Gpr::Rax, LEAF.into());
        world.vcpu.gprs.set(Gpr::Rcx, number as u64);
        assert_eq!(world.handle(Exit::Cpuid), Verdict::Resume);
        let [low, high, count] = [Gpr::Rax, Gpr::Rbx, Gpr::Rcx].map(|register| world.vcpu.gprs.get(register));
        assert_eq!(count, NAMES.len() as u64);
        high << 32 | low
    };
    assert_eq!(ask(STARTED), 1 << 40, "the first entry counts");
    assert_eq!((ask(1), ask(CPUID), ask(CPUID)), (0, 3, 4));
    assert_eq!((ask(EXITS), ask(NAMES.len()), ask(1 << 31)), (0, 0, 0));
}
