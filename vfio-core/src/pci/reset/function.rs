//! Resets of one function: which there are, and each of them.

use super::alive::{Mark, alive, answers};
use super::{
    ANSWER_LIMIT, D3HOT_TIME, Host, PENDING_LIMIT, RESET_TIME, ResetError, ResetQuirks, SavedConfig,
    secondary_bus_reset, until,
};
use crate::pci::ResetMethods;
use crate::pci::config::{Function, Registers, set_memory_decode};
use crate::pci::spec::{Command, af, express, pm};

/// A way to reset one function and nothing else, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResetMethod {
    /// One that only this kind of device has.
    Specific,
    /// Function level reset of the PCI Express capability.
    Flr,
    /// Function level reset of the Advanced Features capability.
    AfFlr,
    /// From D0 to D3hot and back.
    Pm,
    /// Reset of the bus, which has no other function.
    Bus,
}

/// The methods that `function` has, in the order in which they are tried; `port` leads to its bus and to nothing else.
///
/// Linux takes them in this order (`pci_reset_fn_methods`), with ACPI's `_RST` after the first one.
pub fn methods(
    host: &impl Host,
    function: &Function,
    port: Option<&Function>,
) -> impl Iterator<Item = ResetMethod> {
    let quirks = host.quirks(function);
    let left = quirks.usable(function.resets);
    let port_allows = port.is_some_and(|port| !host.quirks(port).contains(ResetQuirks::NO_BUS));
    [
        (ResetMethod::Specific, host.has_specific_reset(function)),
        (
            ResetMethod::Flr,
            left.contains(ResetMethods::FLR) && function.express.is_some(),
        ),
        (
            ResetMethod::AfFlr,
            left.contains(ResetMethods::AF_FLR) && function.af.is_some_and(|af| af.flr),
        ),
        (
            ResetMethod::Pm,
            left.contains(ResetMethods::PM) && function.pm.is_some_and(|pm| !pm.no_soft_reset),
        ),
        (
            ResetMethod::Bus,
            left.intersects(ResetMethods::BUS | ResetMethods::SLOT) && port_allows,
        ),
    ]
    .into_iter()
    .filter_map(|(method, there)| there.then_some(method))
}

/// Resets one function by the first of its [`methods`] that can be started, and puts `saved` back. Returns which.
///
/// The function is in D0. Its registers stop decoding and its INTx is masked before. A function that still has
/// transactions pending is reset only from above, which ends them; one that does not answer, too. If a method turns out to
/// do nothing, the next one is tried.
///
/// # Errors
///
/// See [`ResetError`]. If the function answers nevertheless, it has its configuration again.
pub fn reset_function(
    host: &impl Host,
    function: &Function,
    port: Option<&Function>,
    saved: &SavedConfig,
) -> Result<ResetMethod, ResetError> {
    let mut result = alive(host, function).and(Err(ResetError::Unsupported(function.bdf)));
    if let Err(ResetError::Changed { .. }) = result {
        return result;
    }
    let mark = Mark::make(host, function);
    for method in methods(host, function, port) {
        let from_above_only = matches!(result, Err(ResetError::Pending(_) | ResetError::Gone(_)));
        if from_above_only && method != ResetMethod::Bus {
            continue;
        }
        let done = match method {
            ResetMethod::Specific => specific(host, function),
            ResetMethod::Flr => flr(host, function),
            ResetMethod::AfFlr => af_flr(host, function),
            ResetMethod::Pm => pm_reset(host, function),
            ResetMethod::Bus => {
                let port = port.ok_or(ResetError::Unsupported(function.bdf))?;
                return secondary_bus_reset(host, port, &[(function, saved)]).map(|()| method);
            }
        };
        let done = done.and_then(|()| mark.wiped(host, function));
        let ended = !done.is_err_and(|error| error.is_untouched());
        result = done.map(|()| method);
        if ended {
            break;
        }
    }
    // What can be put back is put back, whatever became of the reset.
    let restored = alive(host, function).and_then(|()| saved.restore(host, function));
    let method = result?;
    restored.map(|()| method)
}

fn specific(host: &impl Host, function: &Function) -> Result<(), ResetError> {
    let bdf = function.bdf;
    host.specific_reset(function)
        .map_err(|fault| ResetError::Specific { function: bdf, fault })?;
    answers(host, host, function, 0)
}

/// Function level reset of the PCI Express capability (section 6.6.2).
fn flr(host: &impl Host, function: &Function) -> Result<(), ResetError> {
    let offset = function
        .express
        .ok_or(ResetError::Unsupported(function.bdf))?
        .offset;
    let registers = Registers::new(host, function.bdf);
    let quirks = host.quirks(function);
    if quirks.contains(ResetQuirks::DISABLE_BEFORE_FLR) {
        set_memory_decode(host, function.bdf, true);
        // One that does not stop may still be reset; whether it was shows in its answer.
        let _ = host.disable(function);
        registers.set_command(Command::INTX_DISABLE);
    }
    let pending = || registers.u16(offset + express::DEVICE_STATUS) & express::DEVICE_STATUS_PENDING != 0;
    if !until(host, PENDING_LIMIT, || !pending()) {
        return Err(ResetError::Pending(function.bdf));
    }
    let control = registers.u16(offset + express::DEVICE_CONTROL);
    registers.set_u16(
        offset + express::DEVICE_CONTROL,
        control | express::DEVICE_CONTROL_FLR,
    );
    settled(host, function)
}

/// Function level reset of the Advanced Features capability.
fn af_flr(host: &impl Host, function: &Function) -> Result<(), ResetError> {
    let offset = function.af.ok_or(ResetError::Unsupported(function.bdf))?.offset;
    let registers = Registers::new(host, function.bdf);
    let idle = || registers.u8(offset + af::STATUS) & af::STATUS_PENDING == 0;
    if !until(host, PENDING_LIMIT, idle) {
        return Err(ResetError::Pending(function.bdf));
    }
    registers.set_u8(offset + af::CONTROL, af::CONTROL_FLR);
    settled(host, function)
}

fn settled(host: &impl Host, function: &Function) -> Result<(), ResetError> {
    host.wait(RESET_TIME + host.slowness(function).min(ANSWER_LIMIT));
    answers(host, host, function, 0)
}

/// Reset by going to D3hot and back, for functions that lose their state on the way (section 5.3.1.4.1).
fn pm_reset(host: &impl Host, function: &Function) -> Result<(), ResetError> {
    let offset = function.pm.ok_or(ResetError::Unsupported(function.bdf))?.offset + pm::CONTROL;
    let registers = Registers::new(host, function.bdf);
    // Writing zero to the status bit leaves it as it is; the enable bits go off.
    registers.set_u16(offset, pm::STATE_D3HOT);
    host.wait(D3HOT_TIME);
    let slept = registers.u16(offset) & pm::STATE_MASK == pm::STATE_D3HOT;
    registers.set_u16(offset, 0);
    host.wait(D3HOT_TIME);
    answers(host, host, function, 0)?;
    if registers.u16(offset) & pm::STATE_MASK != 0 {
        return Err(ResetError::Asleep(function.bdf));
    }
    // One that never went to D3hot was not reset on the way back.
    if slept {
        Ok(())
    } else {
        Err(ResetError::NotReset(function.bdf))
    }
}
