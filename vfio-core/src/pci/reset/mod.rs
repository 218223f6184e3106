//! Resets of a function or of a bus, each bounded, each ending with proof that the function answers again.
//!
//! A function that is being reset must not be used: bus mastering off is the caller's first act (quiesce), and stays
//! off afterwards. Waits go through [`Clock`], never under a lock.

mod saved;
#[cfg(all(test, not(loom)))]
mod tests;

pub use saved::SavedConfig;

use super::config::{ConfigAccess, Function, Registers};
use crate::clock::{Clock, MILLISECOND};
use crate::pci::spec::{BRIDGE_SECONDARY_RESET, af, express, header, pm};
use crate::pci::{Bdf, FunctionReset, PortKind};
use alloc::vec::Vec;

/// How long a function may have transactions pending before a function level reset (section 6.6.2 leaves it to the
/// completion time-out, which is 50 ms by default).
const PENDING_LIMIT: u64 = 100 * MILLISECOND;
/// How long a function need not answer after a reset (sections 6.6.1, 6.6.2).
const RESET_TIME: u64 = 100 * MILLISECOND;
/// How long to wait for the first answer. One second is what the specification allows a device that does not ask for
/// more; some do.
const ANSWER_LIMIT: u64 = 5_000 * MILLISECOND;
/// How long D3hot must last, and how long the way back may take (section 5.9).
const D3HOT_TIME: u64 = 10 * MILLISECOND;
/// How long the secondary bus is held in reset: at least 1 ms (section 7.5.1.3.13).
const HOLD_TIME: u64 = 2 * MILLISECOND;
/// How long the link may take to come up again.
const LINK_LIMIT: u64 = 1_000 * MILLISECOND;
/// Between two looks.
const POLL: u64 = MILLISECOND;

/// Why a reset did not work. The function's state is then unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// The function has no such reset.
    #[error("{0} has no such reset")]
    Unsupported(Bdf),
    /// Its transactions do not end.
    #[error("{0} still has transactions pending after {limit} ms", limit = PENDING_LIMIT / MILLISECOND)]
    Pending(Bdf),
    /// It does not answer after the reset.
    #[error("{0} does not answer {limit} ms after its reset", limit = (RESET_TIME + ANSWER_LIMIT) / MILLISECOND)]
    NoAnswer(Bdf),
    /// Something else answers after the reset.
    #[error("{function} is another device after its reset: {found:#010x} instead of {expected:#010x}")]
    Changed {
        /// Where.
        function: Bdf,
        /// Device and vendor id before.
        expected: u32,
        /// Device and vendor id now.
        found: u32,
    },
    /// It stays in a low-power state.
    #[error("{0} does not come back from D3hot")]
    Asleep(Bdf),
    /// The link below the port stays down.
    #[error("the link below {0} is still down {limit} ms after the reset", limit = LINK_LIMIT / MILLISECOND)]
    LinkDown(Bdf),
    /// The port does not obey.
    #[error("{0} does not take the reset bit")]
    Stuck(Bdf),
}

/// Looks until `done`, at most `limit` nanoseconds.
fn until(clock: &impl Clock, limit: u64, mut done: impl FnMut() -> bool) -> bool {
    let start = clock.now();
    // A clock that stands still must not turn the bound into a hang, so looks are counted as well.
    for _ in 0..=limit / POLL {
        if done() {
            return true;
        }
        if clock.now().saturating_sub(start) >= limit {
            break;
        }
        clock.wait(POLL);
    }
    done()
}

/// Waits until `function` answers, and checks that it is still the same device.
fn answers(config: &impl ConfigAccess, clock: &impl Clock, function: &Function) -> Result<(), ResetError> {
    let registers = Registers::new(config, function.bdf);
    let mut found = u32::MAX;
    // All ones is no answer; vendor 0x0001 is a request to try again (section 2.3.2).
    let answered = until(clock, ANSWER_LIMIT, || {
        found = registers.u32(header::VENDOR_ID);
        found != u32::MAX && found as u16 != 1
    });
    let expected = u32::from(function.device) << 16 | u32::from(function.vendor);
    match answered {
        false => Err(ResetError::NoAnswer(function.bdf)),
        true if found != expected => Err(ResetError::Changed {
            function: function.bdf,
            expected,
            found,
        }),
        true => Ok(()),
    }
}

/// Resets one function by `method`.
///
/// # Errors
///
/// See [`ResetError`]; the function's configuration may then be lost.
pub fn reset_function(
    config: &impl ConfigAccess,
    clock: &impl Clock,
    function: &Function,
    method: FunctionReset,
) -> Result<(), ResetError> {
    match method {
        FunctionReset::Flr | FunctionReset::AfFlr => flr(config, clock, function),
        FunctionReset::Pm => pm_reset(config, clock, function),
    }
}

/// Function level reset, by PCI Express (section 6.6.2) or else by advanced features.
///
/// # Errors
///
/// See [`ResetError`].
pub fn flr(config: &impl ConfigAccess, clock: &impl Clock, function: &Function) -> Result<(), ResetError> {
    let registers = Registers::new(config, function.bdf);
    let by_express = function
        .express
        .filter(|_| function.resets.contains(crate::pci::ResetMethods::FLR))
        .map(|found| found.offset);
    let by_features = function.af.filter(|found| found.flr).map(|found| found.offset);
    let saved = SavedConfig::read(config, function);
    if let Some(offset) = by_express {
        let pending = || registers.u16(offset + express::DEVICE_STATUS) & express::DEVICE_STATUS_PENDING != 0;
        if !until(clock, PENDING_LIMIT, || !pending()) {
            return Err(ResetError::Pending(function.bdf));
        }
        let control = registers.u16(offset + express::DEVICE_CONTROL);
        registers.set_u16(
            offset + express::DEVICE_CONTROL,
            control | express::DEVICE_CONTROL_FLR,
        );
    } else if let Some(offset) = by_features {
        if !until(clock, PENDING_LIMIT, || {
            registers.u8(offset + af::STATUS) & 1 == 0
        }) {
            return Err(ResetError::Pending(function.bdf));
        }
        registers.set_u8(offset + af::CONTROL, 1);
    } else {
        return Err(ResetError::Unsupported(function.bdf));
    }
    clock.wait(RESET_TIME);
    answers(config, clock, function)?;
    saved.restore(config, function);
    Ok(())
}

/// Reset by going to D3hot and back, for functions that lose their state on the way (section 5.3.1.4.1).
///
/// # Errors
///
/// See [`ResetError`].
pub fn pm_reset(
    config: &impl ConfigAccess,
    clock: &impl Clock,
    function: &Function,
) -> Result<(), ResetError> {
    let found = function.pm.filter(|found| !found.no_soft_reset);
    let offset = found.ok_or(ResetError::Unsupported(function.bdf))?.offset + pm::CONTROL;
    let saved = SavedConfig::read(config, function);
    let registers = Registers::new(config, function.bdf);
    // Writing zero to the status bit leaves it as it is; the enable bits go off.
    registers.set_u16(offset, pm::STATE_D3HOT);
    clock.wait(D3HOT_TIME);
    registers.set_u16(offset, 0);
    clock.wait(D3HOT_TIME);
    answers(config, clock, function)?;
    if registers.u16(offset) & pm::STATE_MASK != 0 {
        return Err(ResetError::Asleep(function.bdf));
    }
    saved.restore(config, function);
    Ok(())
}

/// Resets everything behind `port`: `below` must be all functions there, since each needs its configuration back.
///
/// # Errors
///
/// See [`ResetError`]. Functions that came back before the one that did not have their configuration again.
pub fn secondary_bus_reset(
    config: &impl ConfigAccess,
    clock: &impl Clock,
    port: &Function,
    below: &[&Function],
) -> Result<(), ResetError> {
    if !port.kind.is_bridge() || port.buses.is_none() {
        return Err(ResetError::Unsupported(port.bdf));
    }
    let saved: Vec<SavedConfig> = below
        .iter()
        .map(|function| SavedConfig::read(config, function))
        .collect();
    let registers = Registers::new(config, port.bdf);
    // QEMU 7.2's root ports say that they report the link and never report it active, so a link that was not active
    // before is not waited for: those behind it must answer in any case.
    let leads_to_a_link = matches!(port.kind, PortKind::RootPort | PortKind::DownstreamPort);
    let active = port
        .express
        .filter(|found| leads_to_a_link && found.reports_link)
        .map(|found| {
            let status = found.offset + express::LINK_STATUS;
            let registers = Registers::new(config, port.bdf);
            move || registers.u16(status) & express::LINK_STATUS_ACTIVE != 0
        });
    let was_active = active.filter(|active| active());
    let control = registers.u16(header::BRIDGE_CONTROL) & !BRIDGE_SECONDARY_RESET;
    registers.set_u16(header::BRIDGE_CONTROL, control | BRIDGE_SECONDARY_RESET);
    let held = registers.u16(header::BRIDGE_CONTROL) & BRIDGE_SECONDARY_RESET != 0;
    clock.wait(HOLD_TIME);
    registers.set_u16(header::BRIDGE_CONTROL, control);
    if !held || registers.u16(header::BRIDGE_CONTROL) & BRIDGE_SECONDARY_RESET != 0 {
        return Err(ResetError::Stuck(port.bdf));
    }
    if let Some(active) = was_active
        && !until(clock, LINK_LIMIT, active)
    {
        return Err(ResetError::LinkDown(port.bdf));
    }
    clock.wait(RESET_TIME);
    // Bridges first: those behind them answer only when bus numbers are back.
    for wants_bridge in [true, false] {
        for (function, saved) in below.iter().zip(&saved) {
            if function.kind.is_bridge() == wants_bridge {
                answers(config, clock, function)?;
                saved.restore(config, function);
            }
        }
    }
    Ok(())
}
