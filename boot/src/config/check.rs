//! The rules of a configuration: each is checked for each guest, and everything that does not hold is told.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use cohort_abi::bundle::{Denied, Expect, Guest as Limits, OnExit, OnFault};
use vfio_core::pci::Bdf;

use super::cause::Cause;
use super::problem::{Problem, Refused};
use super::{
    BUILT_IN_IMAGES, Guest, HYPERVISOR_END, Image, MAX_DEVICES, MAX_GUESTS, MAX_RESTARTS, MAX_SPLIT, Machine,
    Plan, RESERVED, Source, USUAL_RESTARTS, schema,
};
use crate::image;
use crate::linux::Flavour;

const LARGE_PAGE: u64 = 2 << 20;

/// Turns the file into a plan, or says all that is wrong with it.
pub(super) fn check(file: schema::File, source: Source) -> Result<Plan, Refused> {
    let mut problems = Vec::new();
    let deadline = file
        .deadline
        .as_ref()
        .map(|deadline| (*deadline.get_ref(), deadline.span()));
    if let Some((seconds, at)) = deadline.clone()
        && !(1..=3600).contains(&seconds)
    {
        problems.push(Problem::new(Cause::Deadline(seconds), at));
    }
    if file.guest.is_empty() {
        problems.push(Problem::new(Cause::NoGuest, 0..0));
    }
    if let Some(guest) = file.guest.get(MAX_GUESTS) {
        problems.push(Problem::new(
            Cause::TooManyGuests(file.guest.len()),
            guest.name.span(),
        ));
    }
    let names: Vec<_> = file
        .guest
        .iter()
        .map(|g| (g.name.get_ref().as_str(), g.image.get_ref().as_str()))
        .collect();
    let machine = Machine::read(file.machine, &names, &mut problems);
    let mut check = Check::new(&machine, &source, problems);
    let guests: Vec<Guest> = file.guest.iter().map(|guest| check.guest(guest)).collect();
    check.memory(&guests, &file.guest);
    let split_unsafe = check.split(file.split_unsafe.as_ref());
    let mut problems = check.problems;
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.at.start);
        return Err(Refused::new(&source, problems));
    }
    let deadline_ms = deadline.map_or(0, |(seconds, _)| {
        u32::try_from(seconds * 1000).unwrap_or(u32::MAX)
    });
    Ok(Plan {
        allow_unsafe_interrupts: file.allow_unsafe_interrupts,
        split_unsafe,
        deadline_ms,
        guests,
        machine,
        source,
    })
}

/// Where a thing was given first, and to whom.
type Taken<K> = BTreeMap<K, (String, Range<usize>)>;

struct Check<'a> {
    machine: &'a Machine,
    source: &'a Source,
    problems: Vec<Problem>,
    names: Taken<String>,
    cpus: Taken<u32>,
    devices: Taken<Bdf>,
}

impl<'a> Check<'a> {
    fn new(machine: &'a Machine, source: &'a Source, problems: Vec<Problem>) -> Self {
        let (names, cpus, devices) = (Taken::new(), Taken::new(), Taken::new());
        Self {
            machine,
            source,
            problems,
            names,
            cpus,
            devices,
        }
    }

    fn say(&mut self, cause: Cause, at: Range<usize>) {
        self.problems.push(Problem::new(cause, at));
    }

    /// Checks what concerns one guest, and what it takes from those before it.
    fn guest(&mut self, guest: &schema::Guest) -> Guest {
        let name = guest.name.get_ref().clone();
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > Limits::MAX_NAME || !name.bytes().all(word) {
            self.say(Cause::Name(name.clone()), guest.name.span());
        }
        if let Some((_, first)) = self.names.insert(name.clone(), (name.clone(), guest.name.span())) {
            self.problems.push(Problem::between(
                Cause::NameTwice(name.clone()),
                first,
                guest.name.span(),
            ));
        }
        self.cpus(guest, &name);
        let memory = self.size(&guest.memory).unwrap_or(LARGE_PAGE);
        if memory == 0 || !memory.is_multiple_of(LARGE_PAGE) {
            self.say(
                Cause::MemoryGranule {
                    guest: name.clone(),
                    memory,
                },
                guest.memory.span(),
            );
        }
        let memory_at = guest.memory_at.as_ref().and_then(|at| {
            let address = self.size(at)?;
            if !address.is_multiple_of(LARGE_PAGE) {
                self.say(
                    Cause::MemoryAtGranule {
                        guest: name.clone(),
                        at: address,
                    },
                    at.span(),
                );
            }
            Some(address)
        });
        let cmdline = guest
            .cmdline
            .as_ref()
            .map_or(String::new(), |line| line.get_ref().clone());
        if let Some(line) = &guest.cmdline
            && (cmdline.len() > Limits::MAX_CMDLINE || cmdline.bytes().any(|b| !(0x20..0x7f).contains(&b)))
        {
            self.say(Cause::Cmdline(name.clone()), line.span());
        }
        let expect = match guest
            .expect
            .as_ref()
            .map(|expect| (expect.get_ref().as_str(), expect.span()))
        {
            None | Some(("success", _)) => Expect::Success,
            Some(("stopped", _)) => Expect::Stopped,
            Some(("reset", _)) => Expect::Reset,
            Some(("any", _)) => Expect::Any,
            Some((other, at)) => {
                self.say(Cause::Expect(other.into()), at);
                Expect::Any
            }
        };
        let denied = guest
            .denied
            .as_ref()
            .and_then(|denied| match denied.get_ref().as_str() {
                "stop" => Some(Denied::Stop),
                "hardware" => Some(Denied::Hardware),
                other => {
                    self.say(Cause::Denied(other.into()), denied.span());
                    None
                }
            });
        let on_fault = match guest
            .on_fault
            .as_ref()
            .map(|word| (word.get_ref().as_str(), word.span()))
        {
            None | Some(("report", _)) => OnFault::Report,
            Some(("quarantine", _)) => OnFault::Quarantine,
            Some(("stop", _)) => OnFault::Stop,
            Some((other, at)) => {
                self.say(Cause::OnFault(other.into()), at);
                OnFault::Report
            }
        };
        Guest {
            denied,
            on_fault,
            initrd: self.initrd(guest, &name),
            cpus: guest.cpus.get_ref().iter().map(|cpu| *cpu.get_ref()).collect(),
            memory,
            memory_at,
            image: self.image(guest, &name),
            cmdline,
            devices: self.devices(guest, &name),
            expect,
            on_exit: self.on_exit(guest, &name),
            devices_at: guest
                .devices
                .as_ref()
                .map_or(guest.name.span(), toml::Spanned::span),
            name,
        }
    }

    /// What is done when it ends, and how often.
    fn on_exit(&mut self, guest: &schema::Guest, name: &str) -> OnExit {
        let restarts = match guest.on_exit.as_ref().map(|word| word.get_ref().as_str()) {
            None | Some("stop") => false,
            Some("restart") => true,
            Some(other) => {
                let at = guest.on_exit.as_ref().map_or(0..0, toml::Spanned::span);
                self.say(Cause::OnExit(other.into()), at);
                return OnExit::Stop;
            }
        };
        let Some(times) = &guest.restarts else {
            return if restarts {
                OnExit::Restart {
                    times: USUAL_RESTARTS,
                }
            } else {
                OnExit::Stop
            };
        };
        let number = *times.get_ref();
        if !restarts {
            self.say(Cause::RestartsOfNone(name.into()), times.span());
        } else if !(1..=MAX_RESTARTS).contains(&number) {
            self.say(Cause::Restarts(number), times.span());
        }
        OnExit::Restart { times: number }
    }

    fn size(&mut self, size: &toml::Spanned<schema::Size>) -> Option<u64> {
        size.get_ref()
            .bytes()
            .map_err(|text| self.say(Cause::Size(text), size.span()))
            .ok()
    }

    fn cpus(&mut self, guest: &schema::Guest, name: &str) {
        if guest.cpus.get_ref().is_empty() {
            self.say(Cause::NoCpu(name.into()), guest.cpus.span());
        }
        for cpu in guest.cpus.get_ref() {
            let (cpu, at) = (*cpu.get_ref(), cpu.span());
            if cpu == 0 {
                self.say(Cause::CpuZero(name.into()), at);
            } else if cpu >= self.machine.cpus {
                let cpus = self.machine.cpus;
                self.say(
                    Cause::CpuBeyond {
                        guest: name.into(),
                        cpu,
                        cpus,
                    },
                    at,
                );
            } else if let Some((first, there)) = self.cpus.get(&cpu) {
                let cause = Cause::CpuTwice {
                    cpu,
                    first: first.clone(),
                    second: name.into(),
                };
                self.problems.push(Problem::between(cause, there.clone(), at));
            } else {
                self.cpus.insert(cpu, (name.into(), at));
            }
        }
    }

    fn devices(&mut self, guest: &schema::Guest, name: &str) -> Vec<Bdf> {
        let Some(list) = &guest.devices else {
            return Vec::new();
        };
        let count = list.get_ref().len();
        if count > MAX_DEVICES {
            self.say(
                Cause::TooManyDevices {
                    guest: name.into(),
                    count,
                },
                list.span(),
            );
        }
        let mut devices = Vec::new();
        for entry in list.get_ref() {
            let Ok(device) = entry.get_ref().parse::<Bdf>() else {
                self.say(Cause::Device(entry.get_ref().clone()), entry.span());
                continue;
            };
            if let Some((first, there)) = self.devices.get(&device) {
                let cause = Cause::DeviceTwice {
                    device,
                    first: first.clone(),
                    second: name.into(),
                };
                self.problems
                    .push(Problem::between(cause, there.clone(), entry.span()));
            } else {
                self.devices.insert(device, (name.into(), entry.span()));
                devices.push(device);
            }
        }
        devices
    }

    /// Devices that are kept apart at the user's risk; whether they are there only the hypervisor knows.
    fn split(&mut self, list: Option<&toml::Spanned<Vec<toml::Spanned<String>>>>) -> Vec<Bdf> {
        let mut places: BTreeMap<Bdf, Range<usize>> = BTreeMap::new();
        let Some(list) = list else { return Vec::new() };
        let count = list.get_ref().len();
        if count > MAX_SPLIT {
            self.say(Cause::TooManySplit(count), list.span());
        }
        for entry in list.get_ref() {
            let Ok(device) = entry.get_ref().parse::<Bdf>() else {
                self.say(Cause::Device(entry.get_ref().clone()), entry.span());
                continue;
            };
            if let Some(there) = places.get(&device) {
                let problem = Problem::between(Cause::SplitTwice(device), there.clone(), entry.span());
                self.problems.push(problem);
            } else {
                places.insert(device, entry.span());
            }
        }
        places.into_keys().collect()
    }

    /// A plain word is a built-in image; anything else is a path.
    fn image(&mut self, guest: &schema::Guest, name: &str) -> Image {
        let text = guest.image.get_ref();
        if BUILT_IN_IMAGES.contains(&text.as_str()) {
            return Image::BuiltIn(text.clone());
        }
        if let Some(flavour) = Flavour::named(text) {
            return Image::Linux(flavour);
        }
        let path = self.source.folder.join(text);
        if !path.is_file() {
            let cause = Cause::ImageMissing {
                guest: name.into(),
                path: path.clone(),
            };
            self.say(cause, guest.image.span());
        } else if let Err(why) = image::check_guest_file(&path) {
            let cause = Cause::ImageFormat {
                guest: name.into(),
                path: path.clone(),
                why,
            };
            self.say(cause, guest.image.span());
        }
        Image::File(path)
    }

    /// The initial file system: any file that is there. What it is, only the guest knows.
    fn initrd(&mut self, guest: &schema::Guest, name: &str) -> Option<PathBuf> {
        let initrd = guest.initrd.as_ref()?;
        let path = self.source.folder.join(initrd.get_ref());
        if !path.is_file() {
            let cause = Cause::InitrdMissing {
                guest: name.into(),
                path: path.clone(),
            };
            self.say(cause, initrd.span());
        }
        Some(path)
    }

    /// Checks what the guests' memory must keep to together.
    fn memory(&mut self, guests: &[Guest], places: &[schema::Guest]) {
        let wanted = guests
            .iter()
            .fold(0u64, |sum, guest| sum.saturating_add(guest.memory));
        if wanted > self.machine.memory.saturating_sub(RESERVED)
            && let Some(largest) = guests.iter().zip(places).max_by_key(|(guest, _)| guest.memory)
        {
            let machine = self.machine.memory;
            self.say(Cause::MemoryTotal { wanted, machine }, largest.1.memory.span());
            return;
        }
        let mut fixed: Vec<(&Guest, u64, u64, Range<usize>)> = Vec::new();
        for (guest, place) in guests.iter().zip(places) {
            let (Some(at), Some(span)) = (guest.memory_at, &place.memory_at) else {
                continue;
            };
            let (end, name) = (at.saturating_add(guest.memory), guest.name.clone());
            if at < HYPERVISOR_END {
                self.say(Cause::MemoryAtHypervisor { guest: name, at }, span.span());
            } else if !self.machine.is_ram(at, end) {
                let (memory, ram_end) = (guest.memory, self.machine.low_ram_end());
                self.say(
                    Cause::MemoryAtBeyond {
                        guest: name,
                        at,
                        memory,
                        ram_end,
                    },
                    span.span(),
                );
            }
            for (first, start, stop, there) in &fixed {
                let (from, to) = (at.max(*start), end.min(*stop));
                if from < to {
                    let (first, second) = (first.name.clone(), guest.name.clone());
                    let free = stop.next_multiple_of(LARGE_PAGE);
                    let cause = Cause::MemoryOverlap {
                        first,
                        second,
                        from,
                        to,
                        free,
                    };
                    self.problems
                        .push(Problem::between(cause, there.clone(), span.span()));
                }
            }
            fixed.push((guest, at, end, span.span()));
        }
    }
}
