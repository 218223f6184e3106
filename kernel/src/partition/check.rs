//! The configuration against the machine: CPUs, memory, names, images. Devices are `vfio-core`'s to judge.
//!
//! The host tool has checked the same, but what arrives here came through a file that anybody could have written.

use crate::memory::regions::FreeMemory;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use cohort_abi::bundle::{Bundle, Guest, OnExit};

/// Most guests of one machine.
pub const MAX_GUESTS: usize = 16;
/// Most CPUs of one guest: all but the hypervisor's.
const MAX_VCPUS: usize = 31;
/// Smallest and largest RAM of a guest in bytes: what the ROM at 1 MiB needs, and the 3 GiB below the device window.
const RAM: core::ops::RangeInclusive<u64> = 2 << 20..=3 << 30;

/// What is wrong with a guest's part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// More guests than there may be.
    #[error("{0} guests are configured; at most {MAX_GUESTS} fit")]
    TooManyGuests(usize),
    /// The name.
    #[error("a name is 1 to {} printable characters without spaces", Guest::MAX_NAME)]
    Name,
    /// Two guests of one name.
    #[error("two guests have this name; give each its own")]
    NameTwice,
    /// The command line.
    #[error(
        "the command line is longer than {} bytes or has a zero byte",
        Guest::MAX_CMDLINE
    )]
    Cmdline,
    /// Restarts that are none, or too many.
    #[error("{0} restarts; write restarts = N with 1 to {max}, or on-exit = \"stop\"", max = Guest::MAX_RESTARTS)]
    Restarts(u32),
    /// No CPU, or more than there can be.
    #[error("{0} CPUs are given; a guest has 1 to {MAX_VCPUS}; write cpus = [1]")]
    CpuCount(usize),
    /// A CPU that the guest is given twice.
    #[error("CPU {0} is given twice; each runs one vCPU; name it once")]
    CpuTwice(u32),
    /// CPU 0.
    #[error("CPU 0 is the hypervisor's; give the guest another")]
    CpuZero,
    /// A CPU that is not there.
    #[error(
        "CPU {cpu} is not there or did not start; the machine has {have}; give the guest a lower one, or raise `cpus` under [machine]"
    )]
    CpuAbsent {
        /// Which.
        cpu: u32,
        /// CPUs of the machine, which are numbered from 0.
        have: usize,
    },
    /// A CPU that another guest has.
    #[error("CPU {cpu} belongs to {other}; a CPU runs one guest")]
    CpuTaken {
        /// Which.
        cpu: u32,
        /// Who has it.
        other: String,
    },
    /// RAM that is too small, too large, or not whole pieces.
    #[error("memory of {0:#x} bytes; write a multiple of 2M from 2M to 3G")]
    MemorySize(u64),
    /// RAM at a place that another guest fixed as well.
    #[error(
        "memory {at:#x} to {end:#x} overlaps the memory of {other}; move one of them, or leave out `memory-at`"
    )]
    MemoryTaken {
        /// First byte.
        at: u64,
        /// One past the last byte.
        end: u64,
        /// Who has it.
        other: String,
    },
    /// RAM that cannot be given.
    #[error("{0}")]
    Memory(crate::memory::regions::MemoryError),
    /// The image is not in the bundle.
    #[error("the image lies outside the bundle; build the bundle again")]
    Image,
}

/// A guest's resources, taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The CPUs that run it: its vCPUs, in order.
    pub cpus: Vec<usize>,
    /// Host physical address of its RAM.
    pub ram: u64,
    /// Bytes of RAM.
    pub bytes: u64,
}

/// Checks every guest and takes its memory from `free`. `up` says of each CPU whether it runs.
///
/// # Errors
/// All problems, each with the index of its guest. Fixed places are taken first, so that a guest without one does
/// not lie in the way.
pub fn grants(
    bundle: &Bundle<'_>,
    up: &[bool],
    free: &mut FreeMemory,
) -> Result<Vec<Grant>, Vec<(usize, Problem)>> {
    let guests = &bundle.config.guests;
    let mut problems = Vec::new();
    if guests.len() > MAX_GUESTS {
        return Err(alloc::vec![(0, Problem::TooManyGuests(guests.len()))]);
    }
    let mut grants = Vec::new();
    for (index, guest) in guests.iter().enumerate() {
        problems.extend(
            check(bundle, up, index, guest)
                .into_iter()
                .map(|problem| (index, problem)),
        );
        grants.push(Grant {
            cpus: guest.cpus.iter().map(|cpu| *cpu as usize).collect(),
            ram: 0,
            bytes: guest.memory,
        });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for fixed in [true, false] {
        for (index, (guest, grant)) in guests.iter().zip(&mut grants).enumerate() {
            let taken = match guest.memory_at {
                _ if fixed != guest.memory_at.is_some() => continue,
                Some(at) => free.take_at(at, guest.memory),
                None => free.take(guest.memory),
            };
            match taken {
                Ok(at) => grant.ram = at,
                Err(error) => problems.push((index, Problem::Memory(error))),
            }
        }
    }
    if problems.is_empty() {
        Ok(grants)
    } else {
        Err(problems)
    }
}

fn check(bundle: &Bundle<'_>, up: &[bool], index: usize, guest: &Guest) -> Vec<Problem> {
    let mut problems = Vec::new();
    let earlier = bundle.config.guests.get(..index).unwrap_or_default();
    if !(1..=Guest::MAX_NAME).contains(&guest.name.len())
        || !guest.name.bytes().all(|byte| byte.is_ascii_graphic())
    {
        problems.push(Problem::Name);
    }
    if earlier.iter().any(|other| other.name == guest.name) {
        problems.push(Problem::NameTwice);
    }
    if guest.cmdline.len() > Guest::MAX_CMDLINE || guest.cmdline.contains('\0') {
        problems.push(Problem::Cmdline);
    }
    if let OnExit::Restart { times } = guest.on_exit
        && !(1..=Guest::MAX_RESTARTS).contains(&times)
    {
        problems.push(Problem::Restarts(times));
    }
    if !(1..=MAX_VCPUS).contains(&guest.cpus.len()) {
        problems.push(Problem::CpuCount(guest.cpus.len()));
        return problems;
    }
    for (at, &cpu) in guest.cpus.iter().enumerate() {
        if guest.cpus.iter().take(at).any(|other| *other == cpu) {
            problems.push(Problem::CpuTwice(cpu));
        } else if cpu == 0 {
            problems.push(Problem::CpuZero);
        } else if !up.get(cpu as usize).copied().unwrap_or(false) {
            problems.push(Problem::CpuAbsent { cpu, have: up.len() });
        } else if let Some(other) = earlier.iter().find(|other| other.cpus.contains(&cpu)) {
            problems.push(Problem::CpuTaken {
                cpu,
                other: other.name.to_string(),
            });
        }
    }
    if !RAM.contains(&guest.memory) || !guest.memory.is_multiple_of(crate::memory::regions::LARGE) {
        problems.push(Problem::MemorySize(guest.memory));
    }
    if let Some((at, end)) = fixed(guest) {
        let meets = |other: &&Guest| fixed(other).is_some_and(|(start, stop)| start < end && at < stop);
        if let Some(other) = earlier.iter().find(meets) {
            problems.push(Problem::MemoryTaken {
                at,
                end,
                other: other.name.to_string(),
            });
        }
    }
    let inside = |image| bundle.image(image).is_some();
    if !inside(guest.image) || !guest.initrd.is_none_or(inside) {
        problems.push(Problem::Image);
    }
    problems
}

/// The range that the configuration fixes for a guest's RAM.
fn fixed(guest: &Guest) -> Option<(u64, u64)> {
    guest.memory_at.map(|at| (at, at.saturating_add(guest.memory)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::regions::{Kind, Region};
    use cohort_abi::bundle::{Config, Denied, Expect, Image, Mode, OnFault, build};

    fn guest(name: &str, cpu: u32, memory_at: Option<u64>) -> Guest {
        Guest {
            name: name.to_string(),
            cpus: alloc::vec![cpu],
            memory: 4 << 20,
            memory_at,
            image: Image { offset: 0, len: 4 },
            initrd: None,
            denied: Denied::Stop,
            on_fault: OnFault::Report,
            cmdline: String::new(),
            devices: Vec::new(),
            expect: Expect::Success,
            on_exit: OnExit::Stop,
        }
    }

    fn problems(guests: Vec<Guest>) -> Vec<(usize, Problem)> {
        let config = Config {
            mode: Mode::Run,
            allow_unsafe_interrupts: false,
            split_unsafe: Vec::new(),
            deadline_ms: 0,
            guests,
        };
        let bytes = build(&config, b"code").unwrap();
        let bundle = Bundle::parse(&bytes).unwrap();
        let map = [Region {
            start: 0,
            end: 64 << 20,
            kind: Kind::Usable,
        }];
        let mut free = FreeMemory::new(&map, &[]);
        grants(&bundle, &[true, true, true, false], &mut free)
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn what_fits_is_granted_with_fixed_places_first() {
        let config = Config {
            mode: Mode::Run,
            allow_unsafe_interrupts: false,
            split_unsafe: Vec::new(),
            deadline_ms: 0,
            guests: alloc::vec![
                guest("a", 1, None),
                Guest {
                    cpus: alloc::vec![2, 3],
                    ..guest("b", 2, Some(0))
                }
            ],
        };
        let bytes = build(&config, b"code").unwrap();
        let map = [Region {
            start: 0,
            end: 64 << 20,
            kind: Kind::Usable,
        }];
        let mut free = FreeMemory::new(&map, &[]);
        let grants = grants(&Bundle::parse(&bytes).unwrap(), &[true; 4], &mut free).unwrap();
        assert_eq!((grants[0].ram, grants[1].ram), (4 << 20, 0));
        assert_eq!(
            (&grants[0].cpus[..], &grants[1].cpus[..]),
            (&[1][..], &[2, 3][..])
        );
        assert_eq!(free.bytes(), 56 << 20);
    }

    #[test]
    fn each_fault_is_named() {
        let bad = |change: fn(&mut Guest)| {
            let mut one = guest("a", 1, None);
            change(&mut one);
            problems(alloc::vec![one])
                .into_iter()
                .map(|(_, problem)| problem)
                .collect::<Vec<_>>()
        };
        assert_eq!(bad(|guest| guest.name.clear()), [Problem::Name]);
        assert_eq!(bad(|guest| guest.name = "a\x1b[2J".into()), [Problem::Name]);
        assert_eq!(bad(|guest| guest.cmdline = "x".repeat(3000)), [Problem::Cmdline]);
        for times in [0, 10_001, u32::MAX] {
            let mut one = guest("a", 1, None);
            one.on_exit = OnExit::Restart { times };
            assert_eq!(problems(alloc::vec![one]), [(0, Problem::Restarts(times))]);
        }
        assert_eq!(
            bad(|guest| guest.cpus = alloc::vec![1, 2, 1]),
            [Problem::CpuTwice(1)]
        );
        assert_eq!(bad(|guest| guest.cpus.clear()), [Problem::CpuCount(0)]);
        assert_eq!(
            bad(|guest| guest.cpus = alloc::vec![1; 32]),
            [Problem::CpuCount(32)]
        );
        assert_eq!(bad(|guest| guest.cpus = alloc::vec![0]), [Problem::CpuZero]);
        assert_eq!(
            bad(|guest| guest.cpus = alloc::vec![3]),
            [Problem::CpuAbsent { cpu: 3, have: 4 }]
        );
        assert_eq!(
            bad(|guest| guest.cpus = alloc::vec![u32::MAX]),
            [Problem::CpuAbsent {
                cpu: u32::MAX,
                have: 4
            }]
        );
        assert_eq!(bad(|guest| guest.memory = 0), [Problem::MemorySize(0)]);
        assert_eq!(
            bad(|guest| guest.memory = u64::MAX),
            [Problem::MemorySize(u64::MAX)]
        );
        assert_eq!(bad(|guest| guest.image.len = 5), [Problem::Image]);
        assert_eq!(
            bad(|guest| guest.initrd = Some(Image { offset: 4, len: 1 })),
            [Problem::Image]
        );
        assert!(matches!(
            bad(|guest| guest.memory_at = Some(1 << 40))[..],
            [Problem::Memory(_)]
        ));
    }

    #[test]
    fn nothing_is_given_twice() {
        let twice = problems(alloc::vec![guest("a", 1, Some(0)), guest("a", 1, Some(2 << 20))]);
        assert!(
            matches!(
                &twice[..],
                [
                    (1, Problem::NameTwice),
                    (1, Problem::CpuTaken { cpu: 1, .. }),
                    (1, Problem::MemoryTaken { at: 0x20_0000, .. })
                ]
            ),
            "{twice:?}"
        );
        assert_eq!(
            problems((0..17).map(|n| guest(&n.to_string(), 1, None)).collect()),
            [(0, Problem::TooManyGuests(17))]
        );
    }
}
