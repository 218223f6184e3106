//! Whatever a guest does with its objects.

use proptest::prelude::*;

use super::*;
use crate::testing::cases;

/// What a guest may do to a device.
#[derive(Clone, Debug)]
enum Act {
    Frame(Vec<u8>),
    Command(u16, u16, u32, u8),
    Irq(u32, u32, u32, u8),
}

fn act() -> impl Strategy<Value = Act> {
    let known = [
        0x801_u16, 0x803, 0x805, 0x80b, 0x800, 0x005, 0x010, 0x15f, 0x159, 0x15a, 0x15e, 0x16c, 0x901, 0x985,
        0x003,
    ];
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80).prop_map(Act::Frame),
        (
            proptest::sample::select(known.to_vec()),
            0..6_u16,
            0..8_u32,
            0..4_u8
        )
            .prop_map(|(id, token, number, status)| {
                Act::Command(id, token, number, if status == 0 { 0 } else { 1 })
            }),
        (0..3_u32, 0..2_u32, 0..3_u32, 0..6_u8)
            .prop_map(|(index, start, count, action)| { Act::Irq(index, start, count, action) }),
    ]
}

proptest! {
    #![proptest_config(cases(192))]

    /// Whatever a guest does: nothing outside its container is opened or touched, interrupts are accounted for, and a close
    /// leaves nothing behind.
    #[test]
    fn a_guest_reaches_nothing_outside_its_container(
        acts in proptest::collection::vec(act(), 0..60), container in any::<bool>(),
    ) {
        let mc = complex();
        let world = World::new(&mc, 3);
        let mut device = world.trapped(if container { DPRC } else { DPMCP });
        for act in acts {
            match act {
                Act::Frame(bytes) => {
                    let sent = device.write(0, 0, &bytes);
                    prop_assert_eq!(sent.is_ok(), bytes.len() == 64);
                }
                Act::Command(id, token, number, status) => {
                    let id = crate::fsl_mc::spec::CommandId(id);
                    let mut header = Header::request(CommandWord::standard(id), token);
                    header.status = Status::from_code(status);
                    let mut frame = Frame::with(header, &common::Open { number });
                    frame.put::<32, ObjectType>(ObjectType::Dpni);
                    prop_assert_eq!(device.write(0, 0, frame.bytes()), Ok(()));
                }
                Act::Irq(index, start, count, action) => {
                    let sinks = vec![action == 0; count as usize];
                    let action = match action {
                        0 | 1 => IrqAction::Signal(&sinks),
                        2 => IrqAction::Trigger,
                        3 => IrqAction::Disable,
                        4 => IrqAction::Mask,
                        _ => IrqAction::Unmask,
                    };
                    let _ = device.set_irqs(&IrqRequest { index, range: IrqRange { start, count }, action });
                }
            }
            let world_now = mc.world.borrow();
            let allowed = [DPRC, DPMCP, DPIO, DPNI];
            prop_assert!(world_now.tokens.values().all(|open| allowed.contains(open)));
            prop_assert_eq!(world_now.containers[&1].resets, 0);
            prop_assert_eq!(world.irqs.free() + world.platform.connected.borrow().len(), 3);
        }
        prop_assert_eq!(device.close(), Ok(()));
        prop_assert!(mc.world.borrow().tokens.is_empty());
        prop_assert!(world.platform.connected.borrow().is_empty());
        let foreign = mc.world.borrow_mut().object(FOREIGN).unwrap().clone();
        prop_assert!(foreign.enabled && foreign.resets == 0 && foreign.irq.is_empty());
    }

    /// The filter takes any bytes.
    #[test]
    fn the_filter_never_lets_a_foreign_open_through(bytes in proptest::collection::vec(any::<u8>(), 64)) {
        let filter = CommandFilter::new(vec![DPNI]);
        let frame = Frame::from_bytes(&bytes).unwrap();
        if let Ok(passed) = filter.check(&frame) {
            let id = passed.header().command.id();
            match id::typed(id) {
                Some(id::Typed::Open(kind)) => {
                    let number = common::Open::get(&passed).unwrap().number;
                    prop_assert_eq!(ObjectId { kind, number }, DPNI);
                }
                Some(id::Typed::ApiVersion(_)) => {}
                _ => prop_assert!(id == id::GET_CONTAINER_ID || id == id::GET_FIRMWARE_VERSION),
            }
            prop_assert_eq!(passed.header().source, 0);
        }
    }
}
