//! What is known of particular devices, as far as it concerns what may be planned with them: `vfio-core` has the list.

use super::Function;
use alloc::vec::Vec;
use vfio_core::pci::quirk::{Quirk, Quirks};
use vfio_core::pci::reset::ResetQuirks;
use vfio_core::pci::{Bdf, NotAssignable};

/// Takes from `functions` the resets that do not work or do harm, those by a port that does not stand it included, and gives those
/// that are known to get out to nobody.
pub fn apply_quirks(functions: &mut [Function]) {
    let mut frail: Vec<Bdf> = Vec::new();
    for function in functions.iter_mut() {
        let known = Quirks::of(function);
        if known == Quirks::default() {
            continue;
        }
        function.resets = known.resets().usable(function.resets);
        if known.flags.contains(Quirk::DENIED) {
            function.not_assignable.get_or_insert(NotAssignable::Denied);
        }
        if known.flags.contains(Quirk::NO_BUS_RESET) {
            frail.push(function.bdf);
        }
    }
    for function in functions {
        if function.parent.is_some_and(|port| frail.contains(&port)) {
            function.resets = ResetQuirks::NO_BUS.usable(function.resets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::fixture::function;
    use vfio_core::pci::{PortKind, ResetMethods as M};

    #[test]
    fn resets_that_do_harm_are_taken_away_and_what_gets_out_is_given_to_nobody() {
        let port = Bdf::new(0, 0, 1, 0);
        let known = |vendor, device, parent| {
            function(|f| {
                (f.vendor, f.device, f.parent) = (vendor, device, parent);
                f.resets = M::FLR | M::PM | M::BUS;
            })
        };
        let bridge = function(|f| {
            (f.vendor, f.device, f.kind, f.bdf) = (0x177d, 0xa100, PortKind::RootPort, port);
        });
        let mut functions = [
            known(0x8086, 0x1502, None),
            known(0x8086, 0x37c8, None),
            known(0x1b36, 0x0010, Some(port)),
            known(0x1b36, 0x0010, Some(Bdf::new(0, 0, 2, 0))),
            bridge,
        ];
        apply_quirks(&mut functions);
        let resets: Vec<_> = functions.iter().map(|function| function.resets).collect();
        let all = M::FLR | M::PM | M::BUS;
        assert_eq!(resets, [M::PM | M::BUS, all, M::FLR | M::PM, all, M::empty()]);
        let denied: Vec<_> = functions.iter().map(|function| function.not_assignable).collect();
        assert_eq!(denied, [None, Some(NotAssignable::Denied), None, None, None]);
    }

    #[test]
    fn what_was_known_before_counts() {
        let mut functions = [function(|f| {
            (f.vendor, f.device) = (0x8086, 0x37c8);
            f.not_assignable = Some(NotAssignable::Malformed);
        })];
        apply_quirks(&mut functions);
        assert_eq!(functions[0].not_assignable, Some(NotAssignable::Malformed));
    }
}
