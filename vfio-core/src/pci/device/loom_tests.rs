//! Functions that several CPUs want to work on, under every interleaving that loom finds.

use alloc::vec::Vec;
use loom::sync::Arc;
use loom::thread;

use super::table::FunctionTable;
use super::*;
use crate::pci::config::Function;
use crate::pci::{Bdf, PortKind, ResetMethods};

fn function(number: u8) -> Function {
    Function {
        bdf: Bdf::new(0, 1, 0, number),
        vendor: 0x1af4,
        device: 0x1041,
        class: 0,
        revision: 0,
        subsystem: 0,
        interrupt_pin: 0,
        kind: PortKind::Endpoint,
        parent: None,
        buses: None,
        bars: Vec::new(),
        bar_faults: Vec::new(),
        rom: None,
        capabilities: Vec::new(),
        extended: Vec::new(),
        express: None,
        acs: None,
        pm: None,
        af: None,
        msi: None,
        msix: None,
        sriov: None,
        physical_function: None,
        virtio: None,
        resets: ResetMethods::FLR,
        not_assignable: None,
    }
}

/// Works on a function: nobody else does meanwhile, and what it went through is not lost.
fn work(table: &FunctionTable, bdf: Bdf) -> bool {
    let worked = table.with(bdf, |function| {
        function.life.needs_reset = !function.life.needs_reset;
    });
    match worked {
        Ok(()) => true,
        Err(FunctionError::Busy(busy)) => {
            assert_eq!(busy, bdf);
            false
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn loom_one_cpu_works_on_a_function() {
    loom::model(|| {
        let table = Arc::new(FunctionTable::new(Vec::from([function(0)])));
        let bdf = table.functions()[0].bdf;
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || work(&table, bdf))
        };
        let mine = work(&table, bdf);
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "somebody must get it");
        // It needs a reset at the beginning, and each that worked on it has turned that round.
        let needs_reset = table.with(bdf, |function| function.needs_reset()).unwrap();
        assert_eq!(needs_reset, mine == theirs);
    });
}

/// A whole set against one of its functions: all of the set or none of it is taken, and all is given back.
#[test]
fn loom_a_set_against_a_function() {
    loom::model(|| {
        let table = Arc::new(FunctionTable::new(Vec::from([function(0), function(1)])));
        let all: Vec<Bdf> = table.functions().iter().map(|function| function.bdf).collect();
        let other = {
            let (table, last) = (Arc::clone(&table), all[1]);
            thread::spawn(move || work(&table, last))
        };
        let mine = match table.take_all(&all) {
            Ok(taken) => {
                assert!(!work(&table, all[0]) && !work(&table, all[1]), "all are taken");
                drop(taken);
                true
            }
            Err(FunctionError::Busy(_)) => false,
            Err(other) => panic!("{other}"),
        };
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "somebody must get it");
        assert!(all.iter().all(|&bdf| work(&table, bdf)), "all are given back");
    });
}

/// Two whole sets that share their functions.
#[test]
fn loom_a_set_against_itself() {
    loom::model(|| {
        let table = Arc::new(FunctionTable::new(Vec::from([function(0), function(1)])));
        let all: Vec<Bdf> = table.functions().iter().map(|function| function.bdf).collect();
        let take = |table: &FunctionTable, all: &[Bdf]| table.take_all(all).is_ok();
        let other = {
            let (table, all) = (Arc::clone(&table), all.clone());
            thread::spawn(move || take(&table, &all))
        };
        let mine = take(&table, &all);
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "in one order, so that one of them gets all");
        assert!(all.iter().all(|&bdf| work(&table, bdf)), "all are given back");
    });
}
