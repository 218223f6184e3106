//! One function whose configuration space is the input: its capability lists, and what the capabilities claim.

use vfio_core::pci::Bdf;
use vfio_core::pci::config::{Function, SegmentWindow, scan};

use super::config_scan::{check_bounds, use_it};
use super::hostile::{Hostile, Machine, SIZE};
use super::input::Input;

/// How it behaves, the sizes of its BARs, then its configuration space from the start. `None` if its vendor says that it is
/// not there.
pub(super) fn function(input: &mut Input<'_>) -> Option<Hostile> {
    let behaviour = input.u8();
    let mut function = Hostile::new(&[], behaviour);
    function.bars = std::array::from_fn(|_| input.below(33));
    for (to, from) in function.bytes.iter_mut().zip(input.bytes(SIZE)) {
        *to = *from;
    }
    let absent = matches!(function.bytes[..2], [0xff, 0xff] | [0 | 1, 0]);
    (!absent).then_some(function)
}

pub(super) fn run(data: &[u8]) {
    let Some(function) = function(&mut Input::new(data)) else {
        return;
    };
    let machine = Machine::default();
    machine
        .functions
        .borrow_mut()
        .insert(Bdf::new(0, 0, 1, 0), function);
    let before = machine.bytes();
    let window = SegmentWindow {
        segment: 0,
        bus_start: 0,
        bus_end: 0,
    };
    let found = scan(&machine, &[window]);
    assert!(
        machine.accesses.get() < 12_000,
        "{} accesses",
        machine.accesses.get()
    );
    if machine.is_reliable() {
        assert_eq!(machine.bytes(), before, "a scan leaves everything as it was");
        assert!(!found.functions.is_empty(), "the function is found");
    }
    for function in &found.functions {
        check_bounds(function);
        check_order(function);
        use_it(&machine, function);
    }
}

/// No entry of a list is there twice.
fn check_order(function: &Function) {
    let mut offsets: Vec<u16> = function.capabilities.iter().map(|entry| entry.offset).collect();
    offsets.extend(function.extended.iter().map(|entry| entry.offset));
    let all = offsets.len();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), all, "an entry is there twice");
}
