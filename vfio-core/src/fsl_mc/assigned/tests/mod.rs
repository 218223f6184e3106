//! Open objects: what is around them, and the subjects of their tests.

#![expect(
    clippy::unwrap_used,
    reason = "a test that asks for what is not there should panic"
)]

mod close;
mod commands;
mod interrupts;
mod random;
mod regions;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::vec::Vec;

use super::*;
use crate::addr::HostPhys;
use crate::device::{IrqAction, IrqRange};
use crate::fsl_mc::filter::scope;
use crate::fsl_mc::portal::Portal;
use crate::fsl_mc::scan::{Tree, Window, scan};
use crate::fsl_mc::spec::{CommandWord, Frame, Header, Layout, Status, common, id};
use crate::testing::fsl_mc::{FakeContainer, FakeMc, FakeObject, FakePortal, Misbehaviour, PORTALS};

const fn object(kind: ObjectType, number: u32) -> ObjectId {
    ObjectId { kind, number }
}

const DPRC: ObjectId = object(ObjectType::Dprc, 2);
const DPMCP: ObjectId = object(ObjectType::Dpmcp, 1);
const DPIO: ObjectId = object(ObjectType::Dpio, 1);
const DPNI: ObjectId = object(ObjectType::Dpni, 1);
const FOREIGN: ObjectId = object(ObjectType::Dpni, 7);

struct Platform<'a> {
    mc: &'a FakeMc,
    connected: RefCell<BTreeMap<u16, (ObjectId, u8)>>,
    signals: RefCell<Vec<(DeviceId, u32, u32)>>,
    fails: Cell<bool>,
}

impl<'a> ObjectPlatform for Platform<'a> {
    type Registers = FakePortal<'a>;

    fn registers(&self, region: &ObjectRegion) -> Result<FakePortal<'a>, Fault> {
        Ok(self.mc.portal((region.address.0 - PORTALS) as u32 >> 16))
    }

    fn connect(&self, object: ObjectId, index: u8, slot: u16) -> Result<Message, Fault> {
        if self.fails.get() {
            return Err(Fault::NoResources);
        }
        assert_eq!(self.connected.borrow_mut().insert(slot, (object, index)), None);
        Ok(Message {
            address: 0xfee0_0000,
            value: slot.into(),
        })
    }

    fn disconnect(&self, object: ObjectId, index: u8, slot: u16) -> Result<(), Fault> {
        if self.fails.get() {
            return Err(Fault::TimedOut);
        }
        assert_eq!(self.connected.borrow_mut().remove(&slot), Some((object, index)));
        Ok(())
    }
}

impl IrqSink for Platform<'_> {
    fn signal(&self, device: DeviceId, index: u32, number: u32) {
        self.signals.borrow_mut().push((device, index, number));
    }
}

fn complex() -> FakeMc {
    let inside = vec![
        FakeObject::new("dpmcp", 1).region(0x3_0000, 0x1_0000, 0),
        FakeObject::new("dpio", 1).region(0x400_0000, 0x1_0000, 3),
        FakeObject {
            irqs: 2,
            ..FakeObject::new("dpni", 1)
        },
    ];
    let root = vec![
        FakeObject {
            irqs: 1,
            ..FakeObject::new("dprc", 2).region(0x1_0000, 0x1_0000, 0)
        },
        FakeObject::new("dpni", 7),
    ];
    FakeMc::new([
        (
            1,
            FakeContainer {
                icid: 1,
                objects: root,
                resets: 0,
            },
        ),
        (
            2,
            FakeContainer {
                icid: 2,
                objects: inside,
                resets: 0,
            },
        ),
    ])
}

fn scanned(mc: &FakeMc) -> Tree {
    let windows = [(RegionKind::Command, 0), (RegionKind::Queue, 0x400_0000)].map(|(kind, offset)| Window {
        kind,
        offset,
        address: HostPhys(PORTALS + offset),
        size: 0x400_0000,
    });
    scan(&mut Portal::new(mc.portal(0), mc), &windows).unwrap()
}

/// Everything around an open object.
struct World<'a> {
    mc: &'a FakeMc,
    tree: Tree,
    portal: SharedPortal<FakePortal<'a>, &'a FakeMc>,
    platform: Platform<'a>,
    irqs: Irqs,
}

type Open<'w, 'a> = Assigned<'w, FakePortal<'a>, &'a FakeMc, Platform<'a>>;

impl<'a> World<'a> {
    fn new(mc: &'a FakeMc, irqs: u16) -> Self {
        Self {
            mc,
            tree: scanned(mc),
            portal: SharedPortal::new(Portal::new(mc.portal(0), mc)),
            platform: Platform {
                mc,
                connected: RefCell::default(),
                signals: RefCell::default(),
                fails: Cell::new(false),
            },
            irqs: Irqs::new(IrqPool::new(irqs)),
        }
    }

    fn open(&self, id: ObjectId, access: PortalAccess) -> Result<Open<'_, 'a>, Fault> {
        let shared = Shared {
            portal: &self.portal,
            platform: &self.platform,
            sink: &self.platform,
            irqs: &self.irqs,
            clock: self.mc,
            api: self.tree.api,
        };
        Assigned::open(
            self.tree.object(id).unwrap(),
            &scope(&self.tree, &[DPRC]),
            access,
            shared,
        )
    }

    fn trapped(&self, id: ObjectId) -> Open<'_, 'a> {
        self.open(id, PortalAccess::Trapped).unwrap()
    }
}

/// Sends a frame as a guest does, and reads the answer.
fn command(device: &mut Open<'_, '_>, word: CommandWord, token: u16, body: &impl Layout) -> Frame {
    let frame = Frame::with(Header::request(word, token), body);
    device.write(0, 0, frame.bytes()).unwrap();
    let mut answer = [0; 64];
    device.read(0, 0, &mut answer).unwrap();
    Frame::new(answer)
}

fn open_by(device: &mut Open<'_, '_>, id: ObjectId) -> Frame {
    let word = CommandWord::standard(id::open(id.kind));
    command(device, word, 0, &common::Open { number: id.number })
}

fn request(index: u32, action: IrqAction<'_>) -> IrqRequest<'_> {
    let count = u32::from(!matches!(action, IrqAction::Disable));
    IrqRequest {
        index,
        range: IrqRange { start: 0, count },
        action,
    }
}

#[test]
fn what_something_is_wrong_with_is_not_opened() {
    let mc = complex();
    let mut world = World::new(&mc, 4);
    for container in &mut world.tree.containers {
        for object in &mut container.objects {
            object.problem = Some(crate::fsl_mc::scan::ObjectProblem::Regions(9));
        }
    }
    assert_eq!(
        world.open(DPMCP, PortalAccess::Mapped).err(),
        Some(Fault::Rejected)
    );
}
