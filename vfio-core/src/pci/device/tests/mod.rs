//! The life of functions on a machine that obeys and on one that does not.

mod failing;
mod life;
mod order;
mod random;
mod sets;

use super::*;
use crate::fault::Fault;
use crate::pci::Bdf;
use crate::pci::config::{Function, Registers};
use crate::pci::spec::express::DEVICE_CAPABILITIES_FLR;
use crate::pci::spec::{Command, header};
use crate::testing::pci::{Machine, Model, bdf, found};
use std::cell::{Cell, RefCell};

const ALONE: &str = "00:01.0";
const PORT: &str = "00:05.0";
/// A slot of three: one with FLR, one with PM, one that only the bus resets.
const SLOT: [&str; 3] = ["01:00.0", "01:00.1", "01:00.2"];
/// Offset of MSI-X in [`device`].
const MSIX: u16 = 0x7c;
/// Offset of power management in [`device`].
const PM: u16 = 0x88;

/// An NVMe controller with a BAR, MSI-X, INTx and power management.
fn device(capabilities: u32, keeps_state: bool) -> Model {
    let mut model = Model::endpoint()
        .bar(0, 4, 0x4000, 0xfe60_0000)
        .express(0, capabilities)
        .capability(0x11, &[3, 0, 0x00, 0x20, 0, 0, 0x00, 0x30, 0, 0])
        .writable(MSIX, 0xc000_0000)
        .power_management(keeps_state);
    model.bytes[usize::from(header::INTERRUPT_PIN)] = 1;
    model
}

fn machine() -> Machine {
    Machine::new([
        (bdf(ALONE), device(DEVICE_CAPABILITIES_FLR, false)),
        (bdf(PORT), Model::bridge(Some(4), 1, 1)),
        (
            bdf(SLOT[0]),
            device(DEVICE_CAPABILITIES_FLR, true).multi_function(),
        ),
        (bdf(SLOT[1]), device(0, false).multi_function()),
        (bdf(SLOT[2]), device(0, true).multi_function()),
    ])
}

fn table(machine: &Machine) -> FunctionTable {
    let scan = found(machine);
    assert_eq!(scan.problems, []);
    FunctionTable::new(scan.functions)
}

fn slot() -> Vec<Bdf> {
    SLOT.map(bdf).to_vec()
}

fn command(machine: &Machine, at: Bdf) -> Command {
    Registers::new(machine, at).command()
}

fn needs_reset(table: &FunctionTable, at: Bdf) -> bool {
    table.with(at, |function| function.needs_reset()) == Ok(true)
}

/// What an owner does to a function that it holds.
fn use_it(machine: &Machine, at: Bdf) {
    let registers = Registers::new(machine, at);
    registers.set_command(Command::MEMORY | Command::BUS_MASTER);
    registers.set_u16(MSIX + 2, 0x8000);
    registers.set_u16(0x48, 0x0810);
    registers.set_u8(header::INTERRUPT_LINE, 0x77);
}

/// Registers that owners see, with one that cannot be taken away.
#[derive(Default)]
struct Shown {
    hidden: RefCell<Vec<Bdf>>,
    stubborn: Cell<Option<Bdf>>,
}

impl Exposure for Shown {
    fn withdraw(&self, function: Bdf) -> Result<(), Fault> {
        if self.stubborn.get() == Some(function) {
            return Err(Fault::Busy);
        }
        assert!(!self.hidden.borrow().contains(&function), "taken away twice");
        self.hidden.borrow_mut().push(function);
        Ok(())
    }

    fn give_back(&self, function: Bdf) {
        assert_eq!(
            self.hidden.borrow_mut().pop(),
            Some(function),
            "given back in reverse"
        );
    }
}

/// P19: nothing of the owner is left that could act.
fn assert_quiet(machine: &Machine, at: Bdf) {
    assert_eq!(command(machine, at), Command::INTX_DISABLE, "{at}");
    let control = Registers::new(machine, at).u16(MSIX + 2);
    assert_eq!(control & 0x8000, 0, "{at}: MSI-X");
}
