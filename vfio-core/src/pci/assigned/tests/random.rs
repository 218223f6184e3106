//! Any calls in any order on a function of which every bit could be written: what no row allows is never written, and nothing
//! is left on after the close.

use super::*;
use crate::testing::cases;
use crate::testing::pci::Vice;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Act {
    Config(u16, Vec<u8>),
    Write(u32, u64, Vec<u8>),
    Read(u32, u64, usize),
    Irqs(u32, u32, u32, u8),
    Arrived(u8, u32),
    Reset,
    /// A reset that nobody announced, found at once.
    BackDoor,
    /// The backend fails at this call.
    Fail(u32),
    Turn(Vice),
    Stubborn(bool),
}

/// Registers with a meaning, and any others.
fn offset() -> impl Strategy<Value = u16> {
    let known = [
        4, 5, 6, 0x0c, 0x10, 0x14, 0x18, 0x30, 0x3c, 0x48, 0x49, 0x4a, 0x7c, 0x7e, 0x7f, 0x8c, 0x8d, 0x92,
        0x94, 0x9c, 0xa0, 0xaa,
    ];
    prop_oneof![
        4 => prop::sample::select(known.to_vec()),
        1 => 0..0x1000_u16,
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..9);
    let place = || {
        prop_oneof![
            (TABLE..TABLE + 0x48).prop_map(|at| at & !3),
            0..0x4002_u64,
            Just(PENDING),
            any::<u64>()
        ]
    };
    let vice = prop_oneof![
        3 => Just(Vice::None),
        1 => Just(Vice::IgnoresReset),
        1 => Just(Vice::KeepsMastering),
        1 => Just(Vice::StaysAsleep),
        1 => Just(Vice::StaysAwake),
    ];
    prop_oneof![
        2 => Just(Act::Config(4, [6, 0].to_vec())),
        1 => Just(Act::Config(MSIX + 2, [0, 0x80].to_vec())),
        1 => Just(Act::Config(MSI + 2, [0x21, 0].to_vec())),
        1 => (0..4_u8).prop_map(|state| Act::Config(PM + 4, [state, 0].to_vec())),
        1 => Just(Act::Config(EXPRESS + 8, [0, 0x80].to_vec())),
        6 => (offset(), bytes()).prop_map(|(at, bytes)| Act::Config(at, bytes)),
        1 => (0..VECTORS, any::<u8>()).prop_map(|(vector, mask)| {
            Act::Write(0, TABLE + 16 * vector + 8, [1, 0, 0, 0, mask & 1, 0, 0, 0].to_vec())
        }),
        4 => (0..10_u32, place(), bytes()).prop_map(|(region, at, bytes)| Act::Write(region, at, bytes)),
        3 => (0..10_u32, place(), 0..12_usize).prop_map(|(region, at, len)| Act::Read(region, at, len)),
        4 => (0..6_u32, 0..3_u32, 0..5_u32, any::<u8>())
            .prop_map(|(index, start, count, action)| Act::Irqs(index, start, count, action)),
        2 => (0..3_u8, 0..6_u32).prop_map(|(kind, vector)| Act::Arrived(kind, vector)),
        1 => Just(Act::Reset),
        1 => Just(Act::BackDoor),
        1 => (0..4_u32).prop_map(Act::Fail),
        1 => vice.prop_map(Act::Turn),
        1 => any::<bool>().prop_map(Act::Stubborn),
    ]
}

/// Bits that may differ from what they were at the opening: what rows pass on, and what the hypervisor itself turns.
fn may_change(register: u16) -> u32 {
    const fn at(offset: u16) -> u16 {
        offset & !3
    }
    match register {
        // Decoding, bus mastering, INTx; special cycles, MWI, snooping, fast back-to-back.
        header::COMMAND => 0x0407 | 0x0238,
        header::CACHE_LINE_SIZE => 0xffff,
        // While the ROM is read.
        header::ROM_ENDPOINT => 1,
        // Device control but payload and phantom functions; a reset that is ignored stays in the fake. Status bits that
        // ones clear.
        r if r == at(EXPRESS + 8) => 0xffff_0000 | 0xffff & !0x0200 & !0x00e0,
        MSIX => 0xc000_0000,
        MSI => 0x0071_0000,
        // The power state, and the status bit that each change of it clears.
        r if r == at(PM + 4) => 0x8003,
        // The address of vital product data, which only its hardware reads.
        VPD => 0xffff_0000,
        _ => 0,
    }
}

fn fixed(world: &World) -> Vec<(u16, u32)> {
    let bytes = &world.fake.bytes()[&bdf(AT)];
    (0..0x1000)
        .step_by(4)
        .map(|register| {
            let four: [u8; 4] = bytes[usize::from(register)..][..4].try_into().unwrap();
            (register, u32::from_le_bytes(four) & !may_change(register))
        })
        .collect()
}

fn run(device: &mut Open<'_>, world: &World, act: Act) {
    match act {
        Act::Config(at, bytes) => {
            let _ = set(device, at, &bytes);
        }
        Act::Write(region, at, bytes) => {
            let _ = Device::write(device, region, at, &bytes);
        }
        Act::Read(region, at, len) => {
            let _ = Device::read(device, region, at, &mut [0; 12][..len]);
        }
        Act::Irqs(index, start, count, action) => {
            let sinks = [
                action & 8 != 0,
                action & 16 != 0,
                action & 32 != 0,
                action & 64 != 0,
            ];
            let action = match action & 7 {
                0 => IrqAction::Disable,
                1 => IrqAction::Mask,
                2 => IrqAction::Unmask,
                3 => IrqAction::Trigger,
                _ => IrqAction::Signal(sinks.get(..count as usize).unwrap_or(&sinks)),
            };
            let range = IrqRange { start, count };
            let _ = device.set_irqs(&IrqRequest { index, range, action });
        }
        Act::Arrived(kind, vector) => {
            let kinds = [IrqKind::Intx, IrqKind::Msi, IrqKind::MsiX];
            device.arrived(kinds[usize::from(kind)], vector);
        }
        Act::Reset => {
            let _ = Device::reset(device);
        }
        Act::BackDoor => {
            world.registers().set_u16(EXPRESS + 8, 0x8000);
            let _ = device.check_reset();
        }
        Act::Fail(at) => device.backend().fails_in = Some(at),
        Act::Turn(vice) => world.fake.change(bdf(AT), |model| model.vice = vice),
        Act::Stubborn(stubborn) => world.shown.stubborn.set(stubborn),
    }
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn any_calls_write_only_what_rows_allow_and_leave_nothing_on(
        keeps_state in any::<bool>(),
        acts in prop::collection::vec(act(), 1..40),
        now in any::<bool>(),
    ) {
        let world = World::new(model(keeps_state));
        let behind = world.behind();
        let mut device = world.open(&behind);
        // From here on the hardware would take anything.
        world.fake.change(bdf(AT), |model| {
            let mut open = core::mem::take(model);
            // The two controls are written whole by the hypervisor, which puts back what a reset took.
            for register in (0..0x1000).step_by(4).filter(|at| ![MSI, MSIX].contains(at)) {
                open = open.writable(register, u32::MAX);
            }
            *model = open;
        });
        let before = fixed(&world);
        for act in acts {
            let said = std::format!("{act:?}");
            let began = world.fake.time.get();
            run(&mut device, &world, act);
            let wrong = fixed(&world).into_iter().zip(&before).find(|(now, before)| now != *before);
            prop_assert_eq!(wrong, None, "{}", said);
            prop_assert!(world.fake.time.get() - began < 10_000_000_000, "{}", said);
            // Mapped only while the hardware answers.
            prop_assert_eq!(device.is_shown(), world.shown.any());
            if device.is_shown() {
                prop_assert!(world.registers().command().contains(Command::MEMORY), "{}", said);
                prop_assert_eq!(world.registers().u16(PM + 4) & 3, 0, "{}", said);
            }
            // What the hardware has set up is what was asked for.
            let active = device.irqs().active();
            let sinks: BTreeSet<u32> = (0..8).filter(|vector| device.irqs().has_sink(*vector)).collect();
            let backend = device.backend();
            prop_assert_eq!(backend.kind, active, "{}", said);
            prop_assert_eq!(&backend.connected, &sinks, "{}", said);
        }
        world.shown.stubborn.set(false);
        let keeps = world.fake.functions.borrow()[&bdf(AT)].vice == Vice::KeepsMastering;
        let when = if now { LastReset::Now } else { LastReset::Later };
        let closed = device.close(when);
        prop_assert!(!world.shown.any());
        prop_assert_eq!(world.registers().u16(MSIX + 2) & 0x8000, 0);
        prop_assert_eq!(world.registers().u16(MSI + 2) & 1, 0);
        if closed.is_ok() {
            prop_assert!(!keeps);
            assert_closed(&world);
        }
    }
}
