//! A Management Complex whose every answer is the input: portals and the scan end, and believe nothing impossible.

use std::cell::Cell;
use std::collections::BTreeSet;

use vfio_core::addr::HostPhys;
use vfio_core::clock::{Clock, MILLISECOND};
use vfio_core::fsl_mc::ObjectId;
use vfio_core::fsl_mc::portal::{Portal, PortalRegisters};
use vfio_core::fsl_mc::scan::{
    Change, Endpoint, MAX_CONTAINERS, MAX_DEPTH, MAX_OBJECTS, RegionKind, Tree, Window, connection, diff,
    scan, take_events,
};

use super::input::Input;

/// Where regions may be.
const WINDOWS: [Window; 2] = [
    Window {
        kind: RegionKind::Command,
        offset: 0,
        address: HostPhys(0x8_0c00_0000),
        size: 0x400_0000,
    },
    Window {
        kind: RegionKind::Queue,
        offset: 0,
        address: HostPhys(0x8_1800_0000),
        size: 0x400_0000,
    },
];

/// A time that passes only by waiting.
#[derive(Default)]
struct Time(Cell<u64>);

impl Clock for Time {
    fn now(&self) -> u64 {
        self.0.get()
    }

    fn wait(&self, nanoseconds: u64) {
        self.0.set(self.0.get() + nanoseconds);
    }
}

/// The registers: the parameters of each answer are the input's. Its header is that of an answer to the command, unless the input
/// says otherwise, since a scan ends at the first one that is none.
struct Complex<'a> {
    input: Input<'a>,
    frame: [u64; 8],
    commands: u32,
}

impl PortalRegisters for Complex<'_> {
    fn read(&mut self, index: usize) -> u64 {
        self.frame[index]
    }

    fn write(&mut self, index: usize, value: u64) {
        self.frame[index] = value;
        if index != 0 {
            return;
        }
        self.commands += 1;
        let status = match self.input.u8() {
            // No answer, a refusal, another command's answer; else it worked.
            0xff => return,
            odd @ 0xf0..0xff => u64::from(odd & 0xf),
            0xef => {
                self.frame[0] = u64::MAX;
                return;
            }
            0xee => {
                self.frame[0] ^= 1 << 52;
                0
            }
            _ => 0,
        };
        self.frame[0] = self.frame[0] & !0xff_0000 | status << 16;
        let token = u64::from(self.input.u8());
        self.frame[0] = self.frame[0] & !0xffff_0000_0000 | token << 32;
        for quadword in &mut self.frame[1..] {
            // Small numbers, which most fields are, take few bytes.
            let form = self.input.u8();
            let count = usize::from(form >> 4).min(8);
            let bytes = self.input.bytes(count);
            let value = bytes
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte));
            *quadword = value << (8 * (u32::from(form) & 7));
        }
    }
}

pub(super) fn run(data: &[u8]) {
    let clock = Time::default();
    let mut complex = Complex {
        input: Input::new(data),
        frame: [0; 8],
        commands: 0,
    };
    let mut trees = Vec::new();
    let mut portal = Portal::new(&mut complex, &clock).with_limit(500 * MILLISECOND);
    for _ in 0..2 {
        if let Ok(tree) = scan(&mut portal, &WINDOWS) {
            check(&tree);
            trees.push(tree);
        }
    }
    if let [before, after] = trees.as_slice() {
        let same = diff(before, before);
        assert!(
            same.iter().all(|change| matches!(change, Change::Unsure(_))),
            "{same:?}"
        );
        let _ = diff(before, after);
    }
    let root = trees.first().and_then(Tree::root);
    if let Some((object, mut session)) = root.and_then(|root| Some((root, portal.open(root).ok()?))) {
        let endpoint = Endpoint { object, interface: 0 };
        let _ = take_events(&mut session);
        let _ = connection(&mut session, endpoint);
    }
    let most = 2 * (MAX_CONTAINERS as u32) * (4 * MAX_OBJECTS + 16);
    assert!(complex.commands <= most, "{} commands", complex.commands);
}

/// A tree: each container once and below the one it is in, no deeper and no more than allowed; each object once among the
/// containers that are in order; each region in its window.
fn check(tree: &Tree) {
    let mut good: BTreeSet<ObjectId> = BTreeSet::new();
    for container in tree
        .containers
        .iter()
        .filter(|container| container.problem.is_none())
    {
        for object in &container.objects {
            assert!(good.insert(object.id), "{} is in two places", object.id);
        }
    }
    assert!(!tree.containers.is_empty() && tree.containers.len() <= MAX_CONTAINERS);
    let mut seen: BTreeSet<ObjectId> = BTreeSet::new();
    for container in &tree.containers {
        assert!(
            container.parent.is_none_or(|parent| seen.contains(&parent)),
            "{container:?}"
        );
        assert!(seen.insert(container.id), "{container:?} is there twice");
        assert!(
            container.depth <= MAX_DEPTH || container.problem.is_some(),
            "{container:?}"
        );
        assert!(container.objects.len() <= MAX_OBJECTS as usize);
        for object in &container.objects {
            assert_eq!(object.container, container.id);
            for region in &object.regions {
                let inside = WINDOWS.iter().any(|window| {
                    let start = region.address.0.checked_sub(window.address.0);
                    let end = start.and_then(|start| start.checked_add(region.size));
                    window.kind == region.kind && end.is_some_and(|end| end <= window.size)
                });
                assert!(inside && region.size > 0, "{region:?}");
            }
        }
    }
}
