//! Finding a function's expansion ROM.

use super::{Bar, BarKind, ConfigAccess, Registers};
use crate::pci::Bdf;
use crate::pci::spec::{Command, header};

/// Index of the ROM, behind the six BARs.
pub const ROM: u8 = 6;
/// Bit of the ROM's register: it answers.
pub(in crate::pci) const ROM_ENABLE: u32 = 1;
/// Address bits of the ROM's register (PCI Express 7.5.1.2.4).
const ADDRESS: u32 = !0x7ff;

/// The expansion ROM of an endpoint that nobody uses: decoding is off meanwhile, and everything is put back. `None` if it has none
/// or if its register makes no sense.
pub fn find_rom<C: ConfigAccess + ?Sized>(config: &C, bdf: Bdf) -> Option<Bar> {
    let registers = Registers::new(config, bdf);
    let command = registers.command();
    let value = registers.u32(header::ROM_ENDPOINT);
    if command.bits() == u16::MAX || value == u32::MAX {
        return None;
    }
    registers.set_command(command - (Command::IO | Command::MEMORY));
    registers.set_u32(header::ROM_ENDPOINT, ADDRESS);
    let sticks = registers.u32(header::ROM_ENDPOINT) & ADDRESS;
    registers.set_u32(header::ROM_ENDPOINT, value);
    registers.set_command(command);
    let size = u64::from((!sticks).wrapping_add(1));
    let address = u64::from(value & ADDRESS);
    (sticks != 0 && size.is_power_of_two() && address & (size - 1) == 0).then_some(Bar {
        index: ROM,
        kind: BarKind::Memory {
            wide: false,
            prefetchable: false,
        },
        address,
        size,
    })
}
