//! `faulty`: does one forbidden thing, which `mode` on the command line names.
//!
//! | mode | what it does | keys |
//! |---|---|---|
//! | `success` | nothing, and succeeds | |
//! | `failure` | nothing, and fails | |
//! | `triple-fault` | an exception without an IDT | |
//! | `power-off` | turns its power off | |
//! | `reset` | resets itself by the reset register | |
//! | `keyboard` | resets itself by the keyboard controller | |
//! | `unmapped` | reads (or with `write=1` writes) memory that is not there | `address`, default 0x30000000 |
//! | `msr` | writes a model-specific register | `msr`, default 0xc0010117 (VM_HSAVE_PA) |
//! | `port` | writes an I/O port | `port`, default 0xcf8 |
//! | `spin` | loops with interrupts off | |
//! | `hlt` | halts with interrupts off | |
//! | `ud` | an undefined instruction, which its own handler reports; fails | |
//! | `cpuid-loop` | executes CPUID again and again | `count`; 0, the default, is for ever |
//! | `pci` | writes ones to all configuration registers of all functions and beyond; succeeds | |
//! | `dma-storm` | lets `edu` write to unmapped memory again and again; succeeds | `count`, default 20 |
//! | `dma-exit` | begins a transfer to its own memory and ends before it does, as `end` says | `end`, default `success` |
#![expect(unsafe_code, reason = "misbehaves")]

use core::arch::asm;
use core::arch::x86_64::__cpuid;

use crate::cmdline::Cmdline;
use crate::edu::{self, Direction, Edu};
use crate::rt::dma::DmaBuffer;
use crate::rt::{Failure, Machine, exit};

/// Memory that no guest of this size has.
const NOWHERE: u64 = 0x3000_0000;

/// The register that holds the address of the host's state for SVM.
const VM_HSAVE_PA: u64 = 0xc001_0117;

/// The address port of PCI configuration mechanism #1, which a guest has no use for.
const CONFIG_ADDRESS: u64 = 0xcf8;

/// The program.
///
/// # Errors
/// The forbidden thing had no consequence, or the command line asks for none.
pub fn run(machine: &Machine) -> Result<(), Failure> {
    let cmdline = machine.cmdline();
    let mode = cmdline
        .text("mode")
        .ok_or("there is no mode= on the command line")?;
    println!("about to do: {mode}");
    match mode {
        "success" => return Ok(()),
        "failure" => return Err("as the command line asks".into()),
        "triple-fault" | "power-off" | "reset" | "keyboard" => return exit::end(mode),
        "unmapped" => unmapped(&cmdline)?,
        "msr" => write_msr(cmdline.number("msr")?.unwrap_or(VM_HSAVE_PA) as u32),
        "port" => write_port(cmdline.number("port")?.unwrap_or(CONFIG_ADDRESS) as u16),
        "spin" => loop {
            core::hint::spin_loop();
        },
        // SAFETY: nothing comes after it; interrupts are off here.
        "hlt" => unsafe { asm!("cli", "hlt", options(nomem, nostack)) },
        // SAFETY: raises #UD, whose handler ends the guest.
        "ud" => unsafe { asm!("ud2", options(nomem, nostack)) },
        "cpuid-loop" => return cpuid_loop(cmdline.number("count")?.unwrap_or(0)),
        "pci" => return pci(machine),
        "dma-storm" => return dma_storm(machine, cmdline.number("count")?.unwrap_or(20)),
        "dma-exit" => return dma_exit(machine),
        _ => {
            return Err(
                format_args!("mode={mode} is unknown; faulty's documentation lists the modes").into(),
            );
        }
    }
    Err(format_args!("{mode} had no consequence: this guest still runs").into())
}

fn unmapped(cmdline: &Cmdline<'_>) -> Result<(), Failure> {
    let address = cmdline.number("address")?.unwrap_or(NOWHERE) as usize;
    let write = cmdline.number("write")?.unwrap_or(0) != 0;
    // SAFETY: the address is to be outside of this guest's memory; a configuration that names its own memory
    // damages only this guest.
    unsafe {
        match write {
            true => asm!("mov dword ptr [{}], 0", in(reg) address, options(nostack)),
            false => asm!("mov {0:e}, [{1}]", out(reg) _, in(reg) address, options(nostack)),
        }
    }
    Ok(())
}

fn write_msr(msr: u32) {
    // SAFETY: denied by a hypervisor; without one, a register that only matters once SVM is on.
    unsafe { asm!("wrmsr", in("ecx") msr, in("eax") 0, in("edx") 0, options(nostack)) };
}

fn write_port(port: u16) {
    // SAFETY: denied by a hypervisor.
    unsafe { asm!("out dx, al", in("dx") port, in("al") 0_u8, options(nostack)) };
}

fn cpuid_loop(count: u64) -> Result<(), Failure> {
    let mut done = 0;
    while count == 0 || done < count {
        core::hint::black_box(__cpuid(0));
        done += 1;
    }
    println!("{done} times CPUID");
    Ok(())
}

/// Ones into every register of every function, then into the function after the last and at the window's end.
fn pci(machine: &Machine) -> Result<(), Failure> {
    let mut functions = 0;
    for function in machine.pci.functions() {
        for register in (0..function.config.len()).step_by(4) {
            let _ = function.config.read32(register);
            function.config.write32(register, u32::MAX);
        }
        functions += 1;
    }
    let window = machine.pci.window();
    for at in [0x1f << 15 | 7 << 12, window.len() - 4] {
        window.write32(at, u32::MAX);
        let _ = (window.read8(at + 1), window.read16(at + 2), window.read32(at));
    }
    println!("wrote ones to {functions} functions, and still runs");
    Ok(())
}

fn edu(machine: &Machine) -> Result<Edu, Failure> {
    let function = machine.pci.functions().find(|function| function.id() == edu::ID);
    Ok(Edu::start(function.ok_or(
        "there is no edu (1234:11e8); assign one to this guest",
    )?)?)
}

fn dma_storm(machine: &Machine, count: u64) -> Result<(), Failure> {
    let edu = edu(machine)?;
    for attempt in 0..count {
        edu.transfer(Direction::Write, (1 << 40) + attempt * 4096)?;
    }
    println!("{count} transfers to unmapped memory, and still runs");
    Ok(())
}

fn dma_exit(machine: &Machine) -> Result<(), Failure> {
    let buffer = DmaBuffer::new(edu::LEN);
    edu(machine)?.begin(Direction::Write, buffer.address());
    exit::end(machine.cmdline().text("end").unwrap_or("success"))
}
