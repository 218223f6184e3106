//! A guest that reads and writes its function's virtual configuration space as it likes, over a function that may lie as well.

use vfio_core::pci::Bdf;
use vfio_core::pci::config::{Function, SegmentWindow, Width, scan};
use vfio_core::pci::vconfig::{BarPolicy, Effect, Offer, Options, VirtualBar, VirtualConfig, Windows};

use super::capabilities::function;
use super::hostile::{Machine, behaviour};
use super::input::Input;

/// How many accesses; then five bytes for each; then the function, as in `capabilities`.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (offer, options, count) = (input.u8(), input.u8(), usize::from(input.below(64)));
    let mut accesses = Input::new(input.bytes(7 * count));
    let Some(hostile) = function(&mut input) else {
        return;
    };
    let keeps = hostile.behaviour & behaviour::ALL_WRITABLE == 0;
    let machine = Machine::default();
    machine
        .functions
        .borrow_mut()
        .insert(Bdf::new(0, 0, 1, 0), hostile);
    let window = SegmentWindow {
        segment: 0,
        bus_start: 0,
        bus_end: 0,
    };
    let found = scan(&machine, &[window]);
    let Some(function) = found
        .functions
        .first()
        .filter(|function| function.kind.is_endpoint())
    else {
        return;
    };
    let bars: Vec<VirtualBar> = function
        .bars
        .iter()
        .map(|&host| VirtualBar {
            host,
            address: host.size,
        })
        .collect();
    let windows = Windows {
        memory: 0x1000_0000..0x8000_0000,
        high: 0x1_0000_0000..0x100_0000_0000,
        io: 0x1000..0x8000,
    };
    let mut space = VirtualConfig::new(
        &machine,
        function,
        &Options {
            offer: Offer::from_bits_truncate(offer),
            multi_function: options & 1 != 0,
            virtual_function: options & 2 != 0,
            bars: &bars,
            policy: if options & 4 != 0 {
                BarPolicy::Movable(windows)
            } else {
                BarPolicy::Fixed
            },
            serial: (options & 8 != 0).then_some(7),
            msi_vectors: options >> 4,
            ..Options::default()
        },
    );
    let before = machine.bytes();
    for _ in 0..count {
        access(&mut space, &machine, &mut accesses);
    }
    if machine.is_reliable() {
        list_ends(&space, &machine);
        untouched(function, &before[0], &machine.bytes()[0], keeps);
    }
}

/// One access: how, where, what.
fn access(space: &mut VirtualConfig, machine: &Machine, input: &mut Input<'_>) {
    let how = input.u8();
    let offset = input.u16() & 0x11ff;
    let value = u32::from(input.u16()) | u32::from(input.u16()) << 16;
    let width = [Width::Byte, Width::Word, Width::Dword][usize::from(how >> 1) % 3];
    let inside = offset.is_multiple_of(width.bytes()) && offset + width.bytes() <= space.size();
    if how & 1 == 0 {
        let read = space.read(machine, offset, width);
        assert_eq!(read.is_ok(), inside, "{offset:#x}");
        let most = u32::MAX >> (32 - 8 * width.bytes());
        assert!(read.is_ok_and(|value| value <= most) || !inside);
        let mut bytes = [0; 4];
        let bytes = &mut bytes[..usize::from(how >> 3) % 5];
        let fits = usize::from(offset) + bytes.len() <= space.size().into();
        assert_eq!(space.read_bytes(machine, offset.into(), bytes).is_ok(), fits);
        return;
    }
    let turns_off = space.turns_memory_off(offset, width, value);
    let memory = space.decode().0;
    let written = space.write(machine, offset, width, value);
    assert_eq!(written.is_ok(), inside, "{offset:#x}");
    assert_eq!(
        turns_off,
        memory && !space.decode().0,
        "told before that memory goes off"
    );
    for effect in written.unwrap_or_default() {
        match effect {
            Effect::Power(state) => space.set_power_state(state),
            Effect::Reset => space.reset(),
            Effect::Vpd(access) => space.vpd_done(access, value),
            _ => {}
        }
    }
    let _ = (space.msi(), space.msix(), space.check_reset(machine));
    for index in 0..8 {
        let _ = space.bar_address(index);
    }
}

/// The list of capabilities that the guest sees has an end, and is inside.
fn list_ends(space: &VirtualConfig, machine: &Machine) {
    let byte = |offset| space.read(machine, offset, Width::Byte).unwrap_or(0) as u16;
    let mut offset = byte(0x34);
    for _ in 0..48 {
        if offset == 0 {
            break;
        }
        assert!((0x40..0x100).contains(&offset), "{offset:#x}");
        offset = byte(offset + 1);
    }
    assert_eq!(offset, 0, "the list goes on for ever");
    if space.size() > 0x100 {
        let dword = |offset| space.read(machine, offset, Width::Dword).unwrap_or(0);
        let mut offset = 0x100;
        for _ in 0..960 {
            offset = (dword(offset) >> 20) as u16;
            if offset == 0 {
                break;
            }
            assert!((0x100..0x1000).contains(&offset), "{offset:#x}");
        }
        assert_eq!(offset, 0, "the extended list goes on for ever");
    }
}

/// No write of the guest reached the BARs, MSI or MSI-X of the hardware, as long as the hardware keeps what it is told.
fn untouched(function: &Function, before: &[u8], after: &[u8], keeps: bool) {
    let mut ranges = vec![(0x00, 4), (0x08, 4)];
    if keeps {
        ranges.push((0x10, 0x18));
    }
    ranges.extend(
        function
            .msi
            .map(|msi| (usize::from(msi.offset), usize::from(msi.bytes()))),
    );
    ranges.extend(function.msix.map(|msix| (usize::from(msix.offset), 12)));
    for (at, bytes) in ranges {
        assert_eq!(
            before[at..at + bytes],
            after[at..at + bytes],
            "the guest reached {at:#x}"
        );
    }
}
