//! Commands that a guest sends by a trapped portal, and those that go no further.

use super::*;
use crate::clock::MILLISECOND;
use crate::fsl_mc::spec::dprc::{GetObj, ResetContainer, ResetOptions};
use crate::fsl_mc::spec::{Nothing, Refused, irq as spec_irq};
use crate::testing::{Waits, scaled};

fn refused(why: Refused) -> Status {
    Status::Refused(why)
}

#[test]
fn only_whole_frames_at_the_start_are_commands() {
    let mc = complex();
    let world = World::new(&mc, 4);
    let mut device = world.trapped(DPMCP);
    let commands = mc.commands();
    for (offset, len) in [(0, 8), (0, 63), (0, 65), (8, 64), (64, 64), (0, 0)] {
        let shape = AccessError::Shape { offset, len };
        assert_eq!(device.write(0, offset, &vec![0; len]), Err(shape));
        assert_eq!(device.read(0, offset, &mut vec![0; len]), Err(shape));
    }
    let outside = AccessError::Outside {
        offset: u64::MAX,
        size: 0x1_0000,
    };
    assert_eq!(device.write(0, u64::MAX, &[0; 64]), Err(outside));
    assert_eq!(device.write(1, 0, &[0; 64]), Err(AccessError::NoRegion(1)));
    assert_eq!(
        device.read(u32::MAX, 0, &mut [0; 64]),
        Err(AccessError::NoRegion(u32::MAX))
    );
    assert_eq!(mc.commands(), commands);
}

#[test]
fn a_guest_works_with_what_is_in_its_container_and_with_nothing_else() {
    let mc = complex();
    let world = World::new(&mc, 4);
    let mut device = world.trapped(DPMCP);
    let opened = open_by(&mut device, DPNI);
    assert_eq!(opened.header().status, Status::Ok);
    let token = opened.header().token;
    let disabled = command(&mut device, CommandWord::standard(id::DISABLE), token, &Nothing);
    assert_eq!(disabled.header().status, Status::Ok);
    assert!(!mc.world.borrow_mut().object(DPNI).unwrap().enabled);

    let commands = mc.commands();
    let refusals = [
        (open_by(&mut device, FOREIGN), Refused::NoPrivilege),
        (
            open_by(&mut device, object(ObjectType::Dprc, 1)),
            Refused::NoPrivilege,
        ),
        (
            command(&mut device, CommandWord::standard(id::RESET), token + 1, &Nothing),
            Refused::Authentication,
        ),
    ];
    for (answer, why) in refusals {
        assert_eq!(answer.header().status, refused(why));
    }
    assert_eq!(
        device.take_refusal(),
        Some(CommandRefusal::ForeignToken(token + 1))
    );
    assert_eq!(device.take_refusal(), None);
    assert_eq!(mc.commands(), commands, "none of these reached the complex");
    device.close().unwrap();
    assert!(
        mc.world.borrow().tokens.is_empty(),
        "what the guest left open is closed"
    );
}

#[test]
fn a_guest_neither_moves_interrupts_nor_changes_its_container() {
    let mc = complex();
    let world = World::new(&mc, 4);
    let mut device = world.trapped(DPRC);
    let token = open_by(&mut device, DPRC).header().token;
    let ni = open_by(&mut device, DPNI).header().token;
    let irq = spec_irq::SetIrq {
        value: 1,
        index: 0,
        address: 2,
        number: 3,
    };
    let send = |device: &mut Open<'_, '_>, id, token, body: &dyn Fn(&mut Frame)| {
        let mut frame = Frame::with(Header::request(CommandWord::standard(id), token), &Nothing);
        body(&mut frame);
        device.write(0, 0, frame.bytes()).unwrap();
        device.take_refusal().map(|refusal| refusal.status())
    };
    let none = |_: &mut Frame| {};
    let unsupported = Some(refused(Refused::Unsupported));
    for (number, token) in [
        (id::SET_IRQ, ni),
        (id::SET_IRQ, token),
        (id::SET_OBJ_IRQ, token),
        (id::GET_IRQ, ni),
    ] {
        assert_eq!(
            send(&mut device, number, token, &|frame| irq.put(frame)),
            unsupported
        );
    }
    for kind in ObjectType::ALL {
        assert_eq!(send(&mut device, id::create(kind), token, &none), unsupported);
        assert_eq!(send(&mut device, id::destroy(kind), token, &none), unsupported);
    }
    for number in [0x151, 0x155, 0x167, 0x16d, 0x832, 0x900, 0xfff] {
        let number = crate::fsl_mc::spec::CommandId(number);
        assert_eq!(send(&mut device, number, token, &none), unsupported, "{number}");
    }
    let reset = |number| ResetContainer {
        container: number,
        options: ResetOptions::empty(),
    };
    let foreign = Some(refused(Refused::NoPrivilege));
    assert_eq!(
        send(&mut device, id::RESET, token, &|frame| reset(1).put(frame)),
        foreign
    );
    assert_eq!(
        send(&mut device, id::RESET, token, &|frame| reset(2).put(frame)),
        None
    );
    assert_eq!(mc.world.borrow().containers[&2].resets, 1);
    assert_eq!(mc.world.borrow().containers[&1].resets, 0);
    let listed = command(
        &mut device,
        CommandWord::standard(id::GET_OBJ),
        token,
        &GetObj { index: 0 },
    );
    assert_eq!(listed.header().status, Status::Ok);
}

#[test]
fn a_guest_sees_no_answer_to_anybody_before_it() {
    let mc = complex();
    let world = World::new(&mc, 4);
    let mut first = world.trapped(DPMCP);
    assert_eq!(open_by(&mut first, DPNI).header().status, Status::Ok);
    first.close().unwrap();
    let mut answer = [1; 64];
    world.trapped(DPMCP).read(0, 0, &mut answer).unwrap();
    assert_eq!(answer, [0; 64]);
}

#[test]
fn a_guest_that_waits_for_a_silent_complex_is_told_so_and_its_close_fails() {
    let mc = complex();
    let world = World::new(&mc, 4);
    let mut device = world.trapped(DPMCP);
    mc.fail(0, Misbehaviour::Silent);
    let frame = Frame::with(
        Header::request(CommandWord::standard(id::open(ObjectType::Dpni)), 0),
        &common::Open { number: 1 },
    );
    let start = mc.now();
    assert_eq!(
        device.write(0, 0, frame.bytes()),
        Err(AccessError::Fault(Fault::TimedOut))
    );
    assert!(mc.now() - start <= GUEST_TIMEOUT + scaled(1, Waits::COARSE) * MILLISECOND);
    assert_eq!(
        device.write(0, 0, frame.bytes()),
        Err(AccessError::Fault(Fault::TimedOut))
    );
    assert_eq!(device.close(), Err(Fault::TimedOut));
    assert_eq!(
        mc.world.borrow_mut().object(DPMCP).unwrap().resets,
        1,
        "it is reset all the same"
    );
}
