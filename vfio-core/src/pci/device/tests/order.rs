//! In which order a function is opened and closed, as its registers see it.

use super::*;
use crate::clock::Clock;
use crate::pci::config::{ConfigAccess, Width};
use crate::pci::reset::ResetHooks;

/// Offset of PCI Express in [`device`].
const EXPRESS: u16 = 0x40;

/// What the registers are told, or asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Awake,
    MasterOff,
    MessagesOff,
    /// The BAR is read, as it is for every copy of the configuration.
    Copied,
    /// Nothing but INTX_DISABLE is left of COMMAND.
    Quiet,
    Reset,
    /// The BAR is written.
    Restored,
    /// INTX_DISABLE is toggled after the copy, and nothing else.
    IntxTried,
}

/// A machine whose functions' registers note what happens to them; the same thing several times in a row is one.
struct Watched<'m> {
    machine: &'m Machine,
    seen: RefCell<Vec<Seen>>,
}

impl Watched<'_> {
    fn note(&self, seen: Seen) {
        let mut all = self.seen.borrow_mut();
        if all.last() != Some(&seen) {
            all.push(seen);
        }
    }
}

impl ConfigAccess for Watched<'_> {
    fn read(&self, function: Bdf, offset: u16, width: Width) -> u32 {
        if offset == header::BAR0 {
            self.note(Seen::Copied);
        }
        self.machine.read(function, offset, width)
    }

    fn write(&self, function: Bdf, offset: u16, width: Width, value: u32) {
        let registers = Registers::new(self.machine, function);
        let old = registers.u16(offset);
        let clears = |bits: u16| old & !(value as u16) & bits != 0;
        let (was, is) = (
            Command::from_bits_retain(old),
            Command::from_bits_retain(value as u16),
        );
        let copied = self.seen.borrow().last() == Some(&Seen::Copied);
        let seen = match offset {
            header::COMMAND if clears(Command::BUS_MASTER.bits()) => Some(Seen::MasterOff),
            header::COMMAND if copied && was ^ is == Command::INTX_DISABLE => Some(Seen::IntxTried),
            header::COMMAND if is == Command::INTX_DISABLE && was != is => Some(Seen::Quiet),
            header::BAR0 => Some(Seen::Restored),
            _ if offset == PM + 4 && clears(3) => Some(Seen::Awake),
            _ if offset == MSIX + 2 && clears(0x8000) => Some(Seen::MessagesOff),
            _ if offset == EXPRESS + 8 && value & 0x8000 != 0 => Some(Seen::Reset),
            _ => None,
        };
        if let Some(seen) = seen {
            self.note(seen);
        }
        self.machine.write(function, offset, width, value);
    }
}

impl Clock for Watched<'_> {
    fn now(&self) -> u64 {
        self.machine.now()
    }

    fn wait(&self, nanoseconds: u64) {
        self.machine.wait(nanoseconds);
    }
}

impl ResetHooks for Watched<'_> {}

/// Somebody left it mastering the bus, sending messages, and asleep in the end.
fn left_behind(machine: &Machine) {
    use_it(machine, bdf(SLOT[0]));
    Registers::new(machine, bdf(SLOT[0])).set_u16(PM + 4, 3);
}

#[test]
fn a_function_is_opened_and_closed_in_the_order_of_vfio() {
    let machine = machine();
    let function = found(&machine).functions[2].clone();
    assert_eq!(function.bdf, bdf(SLOT[0]));
    let host = Watched {
        machine: &machine,
        seen: RefCell::default(),
    };
    let mut assigned = AssignedFunction::new(&function);
    left_behind(&machine);
    assigned.enable(&host, None).unwrap();
    assert_eq!(
        host.seen.take(),
        [
            Seen::Awake,
            Seen::MasterOff,
            Seen::MessagesOff,
            // For the reset, which takes all away.
            Seen::Copied,
            Seen::Quiet,
            Seen::Reset,
            Seen::Quiet,
            Seen::Restored,
            // For the close.
            Seen::Copied,
            Seen::IntxTried,
        ]
    );
    left_behind(&machine);
    assigned.disable(&host, None, LastReset::Now).unwrap();
    let seen = host.seen.take();
    let written: Vec<Seen> = seen.into_iter().filter(|seen| *seen != Seen::Copied).collect();
    assert_eq!(
        written,
        [
            Seen::Awake,
            Seen::MasterOff,
            Seen::MessagesOff,
            Seen::Quiet,
            Seen::Reset,
            Seen::Quiet,
            Seen::Restored,
            Seen::Quiet,
        ]
    );
}
