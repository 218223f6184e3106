//! Reset of everything behind a port, by holding its secondary bus in reset.

use super::alive::{Mark, answers};
use super::{HOLD_TIME, Host, LINK_LIMIT, RESET_TIME, ResetError, SavedConfig, until};
use crate::pci::PortKind;
use crate::pci::config::{Function, Registers};
use crate::pci::spec::{BRIDGE_SECONDARY_RESET, express, header};
use alloc::vec::Vec;

/// Resets everything behind `port`: `below` must be all functions there, since each needs its configuration back.
///
/// # Errors
///
/// See [`ResetError`]. Every function that came back has its configuration again, whatever became of the others.
pub fn secondary_bus_reset(
    host: &impl Host,
    port: &Function,
    below: &[(&Function, &SavedConfig)],
) -> Result<(), ResetError> {
    if !port.kind.is_bridge() || port.buses.is_none() {
        return Err(ResetError::Unsupported(port.bdf));
    }
    let marked: Vec<(&Function, &SavedConfig, Mark)> = below
        .iter()
        .map(|(function, saved)| (*function, *saved, Mark::make(host, function)))
        .collect();
    let mut result = hold(host, port);
    let start = host.now();
    // Bridges first: those behind them answer only when bus numbers are back. A lower bus is nearer to the root.
    for wants_bridge in [true, false] {
        for (function, saved, mark) in &marked {
            if function.kind.is_bridge() == wants_bridge {
                // One time limit for all: a slot full of dead functions does not multiply it.
                let spent = host.now().saturating_sub(start);
                let back = answers(host, host, function, spent)
                    .and_then(|()| mark.wiped(host, function).and(saved.restore(host, function)));
                result = result.and(back);
            }
        }
    }
    result
}

/// Holds the bus in reset, lets go, and waits for the link.
fn hold(host: &impl Host, port: &Function) -> Result<(), ResetError> {
    let registers = Registers::new(host, port.bdf);
    // QEMU 7.2's root ports say that they report the link and never report it active, so a link that was not active
    // before is not waited for: those behind it must answer in any case.
    let leads_to_a_link = matches!(port.kind, PortKind::RootPort | PortKind::DownstreamPort);
    let link = port
        .express
        .filter(|found| leads_to_a_link && found.reports_link)
        .map(|found| found.offset + express::LINK_STATUS);
    let active = |status| registers.u16(status) & express::LINK_STATUS_ACTIVE != 0;
    let was_active = link.filter(|&status| active(status));
    let control = registers.u16(header::BRIDGE_CONTROL) & !BRIDGE_SECONDARY_RESET;
    registers.set_u16(header::BRIDGE_CONTROL, control | BRIDGE_SECONDARY_RESET);
    let held = registers.u16(header::BRIDGE_CONTROL) & BRIDGE_SECONDARY_RESET != 0;
    host.wait(HOLD_TIME);
    registers.set_u16(header::BRIDGE_CONTROL, control);
    if !held || registers.u16(header::BRIDGE_CONTROL) & BRIDGE_SECONDARY_RESET != 0 {
        return Err(ResetError::Stuck(port.bdf));
    }
    if let Some(status) = was_active
        && !until(host, LINK_LIMIT, || active(status))
    {
        return Err(ResetError::LinkDown(port.bdf));
    }
    host.wait(RESET_TIME);
    Ok(())
}
