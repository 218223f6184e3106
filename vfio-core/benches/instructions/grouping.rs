//! From a list of functions to cohorts: what each function costs in small and in large machines.

use vfio_core::cohort::Cohorts;
use vfio_core::pci::Topology;

use crate::Case;
use crate::callgrind::measured;
use crate::fakes::machine;
use crate::table::Table;

pub(crate) const TABLES: &[Table] = &[Table {
    name: "grouping",
    title: "instructions for each function, in a machine of so many",
    sizes: &[64, 256, 1_024, 4_096],
    rows: &["topology", "cohorts"],
    aim: 1.5,
}];

pub(crate) const CASES: &[Case] = &[("topology", topology), ("cohorts", cohorts)];

fn topology(size: u32) -> u32 {
    let functions = machine(size);
    assert!(
        measured(|| Topology::new(functions)).is_ok(),
        "the machine is sound"
    );
    size
}

fn cohorts(size: u32) -> u32 {
    let Ok(topology) = Topology::new(machine(size)) else {
        panic!("the machine is sound")
    };
    let cohorts = measured(|| Cohorts::new(&topology));
    assert!(cohorts.iter().count() > 1);
    size
}
