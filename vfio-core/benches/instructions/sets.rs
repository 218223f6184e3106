//! The set table: what an operation costs in tables of few and of many devices. It must not grow with the table.

use std::hint::black_box;

use vfio_core::set::{Registration, SetTable};
use vfio_core::{Owner, SetId};

use crate::Case;
use crate::callgrind::measured;
use crate::fakes::{Nothing, device};
use crate::table::Table;

/// Operations that a figure is the mean of.
const OPERATIONS: u32 = 256;

const OWNER: Owner = Owner::Guest(1);

pub(crate) const TABLES: &[Table] = &[Table {
    name: "sets",
    title: "instructions for each operation, in a table of so many devices, in slots of eight",
    sizes: &[1, 64, 4_096, 65_536],
    rows: &[
        "join",
        "join-first",
        "leave",
        "look-up",
        "open",
        "open-again",
        "close",
    ],
    aim: 1.2,
}];

pub(crate) const CASES: &[Case] = &[
    ("join", join),
    ("join-first", join_first),
    ("leave", leave),
    ("look-up", look_up),
    ("open", open),
    ("open-again", open_again),
    ("close", close),
];

fn table(size: u32) -> (SetTable, Vec<Registration>) {
    let table = SetTable::new();
    let registrations = (0..size).filter_map(|number| {
        let (device, set) = device(number);
        table.register(device, Some(set)).ok()
    });
    let registrations: Vec<Registration> = registrations.collect();
    assert_eq!(registrations.len(), size as usize, "every device is registered");
    (table, registrations)
}

/// Numbers of devices all over a table of `size`.
fn spread(size: u32) -> impl Iterator<Item = u32> {
    (0..OPERATIONS).map(move |turn| (turn * 7_919) % size)
}

/// A device that is not in the table.
const NEW: u32 = 0x0100_0000;

/// Registers one more device and takes it back, `OPERATIONS` times, in `set(turn)`; `count_join` says which of the two
/// is counted. Each is done once before it is counted, so that growth of a set or of the table is not.
fn come_and_go(size: u32, count_join: bool, set: impl Fn(u32) -> SetId) -> u32 {
    let (table, registrations) = table(size);
    for turn in spread(size) {
        let (device, set) = (device(NEW + turn).0, set(turn));
        let once = table
            .register(device, Some(set))
            .is_ok_and(|member| table.unregister(member).is_ok());
        assert!(once, "the device comes and goes");
        let join = || table.register(device, Some(set));
        let member = if count_join { measured(join) } else { join() };
        let Ok(member) = member else {
            panic!("the device comes again")
        };
        let leave = || table.unregister(member);
        let left = if count_join { leave() } else { measured(leave) };
        assert!(left.is_ok(), "the device goes again");
    }
    drop(registrations);
    OPERATIONS
}

/// Joins a set that there is.
fn join(size: u32) -> u32 {
    come_and_go(size, true, |turn| device(turn).1)
}

/// Joins a set that there is not yet.
fn join_first(size: u32) -> u32 {
    come_and_go(size, true, |turn| device(NEW + turn).1)
}

fn leave(size: u32) -> u32 {
    come_and_go(size, false, |turn| device(turn).1)
}

fn look_up(size: u32) -> u32 {
    let (table, _registrations) = table(size);
    for number in spread(size) {
        let set = device(number).1;
        assert!(measured(|| table.set(black_box(set))).is_some());
    }
    OPERATIONS
}

fn open_and_close(size: u32, count_open: bool) -> u32 {
    let (_table, registrations) = table(size);
    for number in spread(size) {
        let member = &registrations[number as usize];
        let open = || member.open(OWNER, &Nothing);
        let token = if count_open { measured(open) } else { open() };
        let Ok(token) = token else {
            panic!("the device opens")
        };
        let close = || token.close(&Nothing);
        let closed = if count_open { close() } else { measured(close) };
        assert!(closed.is_ok(), "the device closes");
    }
    OPERATIONS
}

fn open(size: u32) -> u32 {
    open_and_close(size, true)
}

fn close(size: u32) -> u32 {
    open_and_close(size, false)
}

/// A further open of a device that is open.
fn open_again(size: u32) -> u32 {
    let (_table, registrations) = table(size);
    for number in spread(size) {
        let member = &registrations[number as usize];
        let first = member.open(OWNER, &Nothing);
        let second = measured(|| member.open(OWNER, &Nothing));
        for token in [second, first] {
            assert!(
                token.is_ok_and(|token| token.close(&Nothing).is_ok()),
                "it opens and closes"
            );
        }
    }
    OPERATIONS
}
