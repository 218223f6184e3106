//! Virtual functions that somebody has turned on, and physical functions that lie about them.

use super::*;
use crate::pci::config::{SrIovFault, to_topology};
use crate::pci::reset::{ResetError, ResetMethod, SavedConfig, alive, reset_function};
use crate::pci::{ResetMethods, Topology};

const PORT: &str = "00:05.0";
const PHYSICAL: &str = "01:00.0";
const WINDOW_AT: u64 = 0x80_0000_0000;

fn physical(count: u16, steps: (u16, u16)) -> Model {
    Model::endpoint()
        .express(0, 0)
        .sriov(count, steps, 0xabcd, (0x4000, WINDOW_AT))
}

/// The physical function behind a port to the buses 1 and 2, with virtual functions at `at`.
fn machine(model: Model, at: &[&str]) -> Machine {
    let virtual_functions = at.iter().map(|at| (bdf(at), Model::virtual_function()));
    Machine::new(
        [
            (bdf(PORT), Model::bridge(Some(4), 1, 2).acs(0x1f)),
            (bdf(PHYSICAL), model),
        ]
        .into_iter()
        .chain(virtual_functions),
    )
}

#[test]
fn virtual_functions_are_what_their_physical_function_says() {
    let at = ["01:10.0", "01:18.0", "02:00.0"];
    let machine = machine(physical(3, (0x80, 0x40)), &at);
    let before = machine.bytes();
    let scan = found(&machine);
    assert_eq!(scan.problems, []);
    assert_eq!(machine.bytes(), before, "sizing puts everything back");
    for (number, at) in at.into_iter().enumerate() {
        let function = &scan.functions[2 + number];
        assert_eq!(function.bdf, bdf(at));
        assert_eq!((function.vendor, function.device), (0x1b36, 0xabcd));
        assert_eq!(function.physical_function, Some(bdf(PHYSICAL)));
        assert_eq!(function.resets, ResetMethods::FLR, "never by the bus");
        let bar = function.bar(0).unwrap();
        assert_eq!(
            (bar.address, bar.size),
            (WINDOW_AT + 0x4000 * number as u64, 0x4000)
        );
    }
    let topology = Topology::new(to_topology(&scan.functions)).unwrap();
    assert_eq!(topology.not_assignable(bdf(PHYSICAL)), None);
    assert_eq!(topology.not_assignable(bdf("02:00.0")), None);
    assert_ne!(topology.set_id(bdf("01:10.0")), topology.set_id(bdf("01:18.0")));
}

#[test]
fn a_virtual_function_is_known_and_reset_without_ids_of_its_own() {
    let machine = machine(physical(1, (0x80, 0)), &["01:10.0"]);
    let function = found(&machine).functions[2].clone();
    let saved = SavedConfig::read(&machine, &function).unwrap();
    assert_eq!(
        reset_function(&machine, &function, None, &saved),
        Ok(ResetMethod::Flr)
    );
    assert_eq!(machine.resets(function.bdf), 1);
    machine.change(function.bdf, |model| model.put32(8, 0x0300_0001));
    assert!(matches!(
        alive(&machine, &function),
        Err(ResetError::Changed { .. })
    ));
    machine.change(function.bdf, |model| model.absent_until = u64::MAX);
    assert_eq!(alive(&machine, &function), Err(ResetError::Gone(function.bdf)));
}

#[test]
fn claims_that_cannot_be_true_list_nothing_and_make_the_physical_function_unassignable() {
    let refused = |model: Model, fault: SrIovFault| {
        let machine = machine(model, &["02:08.0"]);
        let scan = found(&machine);
        let problem = scan.problems[0];
        assert_eq!(problem.function, bdf(PHYSICAL));
        assert_eq!(problem.kind, ProblemKind::VirtualFunctions(fault));
        assert_eq!(scan.functions.len(), 2);
        assert!(scan.functions[1].not_assignable.is_some());
        assert!(Topology::new(to_topology(&scan.functions)).is_ok());
    };
    refused(physical(0, (1, 1)), SrIovFault::Count { enabled: 0, total: 0 });
    let mut more = physical(4, (1, 1));
    let at = 0x100;
    more.put16(at + 0x0e, 3);
    refused(more, SrIovFault::Count { enabled: 4, total: 3 });
    refused(physical(2, (0, 1)), SrIovFault::Step { first: 0, stride: 1 });
    refused(physical(2, (1, 0)), SrIovFault::Step { first: 1, stride: 0 });
    refused(physical(600, (1, 1)), SrIovFault::TooMany(600));
    refused(physical(3, (0x100, 0x80)), SrIovFault::Beyond { number: 2 });
    refused(physical(2, (0xff00, 0x8000)), SrIovFault::Beyond { number: 0 });
    let wide = Model::endpoint()
        .express(0, 0)
        .sriov(3, (1, 1), 1, (1 << 62, 1 << 62));
    refused(wide, SrIovFault::Bar { index: 0, enabled: 3 });
}

#[test]
fn an_address_that_is_taken_is_not_given_again() {
    let taken = |extra: &[(&str, Model)], steps, at: &str| {
        let functions = [
            (bdf(PORT), Model::bridge(Some(4), 1, 4)),
            (bdf(PHYSICAL), physical(1, steps).multi_function()),
        ];
        let extra = extra.iter().map(|(at, model)| (bdf(at), model.clone()));
        let scan = found(&Machine::new(functions.into_iter().chain(extra)));
        let fault = SrIovFault::Taken {
            number: 0,
            at: bdf(at),
        };
        assert_eq!(scan.problems[0].kind, ProblemKind::VirtualFunctions(fault));
    };
    taken(&[("01:00.1", Model::endpoint())], (1, 1), "01:00.1");
    let bridge = Model::bridge(None, 3, 3);
    taken(&[("01:02.0", bridge)], (0x200, 1), "03:00.0");
    let other = physical(1, (0x7f, 1)).multi_function();
    taken(
        &[("01:00.1", other), ("01:10.0", Model::virtual_function())],
        (0x80, 1),
        "01:10.0",
    );
}

#[test]
fn a_virtual_function_that_is_not_there_is_told_and_the_others_are_listed() {
    let machine = machine(physical(2, (0x80, 0x40)), &["01:18.0"]);
    let scan = found(&machine);
    assert_eq!(scan.problems.len(), 1);
    assert_eq!(scan.problems[0].function, bdf("01:10.0"));
    assert_eq!(
        scan.problems[0].kind,
        ProblemKind::NotVirtual {
            physical: bdf(PHYSICAL)
        }
    );
    assert_eq!(scan.functions[2].bdf, bdf("01:18.0"));
    assert!(Topology::new(to_topology(&scan.functions)).is_ok());
}

proptest! {
    #![proptest_config(cases(256))]

    /// Whatever physical functions claim, the walk ends, and what it lists makes a topology in which no two functions
    /// have one address.
    #[test]
    fn any_claim_is_survived(
        claims in prop::collection::vec((any::<u16>(), 0u16..40, any::<bool>(), 0u16..0x300, 0u16..0x90, any::<u64>()), 1..4),
        there in prop::collection::btree_set(0x100u16..0x400, 0..40),
    ) {
        let claims = claims.into_iter().enumerate().map(|(number, (wild, count, is_wild, first, stride, address))| {
            let count = if is_wild { wild } else { count };
            let at = Bdf::new(0, 1, 0, number as u8);
            let size = 1u64 << (12 + wild % 52);
            let model = Model::endpoint().multi_function().express(0, 0);
            (at, model.sriov(count, (first, stride), wild, (size, address & !(size - 1))))
        });
        let there = there.into_iter().map(|id| (Bdf::from_requester_id(0, id), Model::virtual_function()));
        let port = (bdf(PORT), Model::bridge(Some(4), 1, 3));
        let machine = Machine::new(there.chain(claims).chain([port]));
        let before = machine.bytes();
        let scan = found(&machine);
        prop_assert_eq!(machine.bytes(), before);
        prop_assert!(Topology::new(to_topology(&scan.functions)).is_ok());
        for function in scan.functions.iter().filter(|function| function.physical_function.is_some()) {
            prop_assert!((1..=3).contains(&function.bdf.bus()));
        }
    }
}
