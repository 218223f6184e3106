//! A virtio-iommu for tests: by the specification, or with QEMU 7.2's habits, or broken in one of many ways.

use crate::iommu::virtio::{CONFIG_BYTES, Channel, ChannelError, FAULT_BYTES};
use spec::virtio_iommu::{
    self as wire, Attach, CONFIG_BYPASS_OFFSET, Config, Detach, Features, Map, Probe, Unmap, request_type,
    status,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use zerocopy::{FromBytes, IntoBytes};

/// How a device breaks the specification, from a given request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Not at all.
    Obedient,
    /// Says it wrote another number of bytes.
    Length(usize),
    /// Uses the buffer and writes nothing.
    NoStatus,
    /// Answers with this status and does nothing.
    Status(u8),
    /// Never answers.
    Silent,
    /// Returns another buffer.
    WrongBuffer,
}

/// What the device and the test share.
pub(crate) struct State {
    pub(crate) features: Features,
    pub(crate) config: Config,
    pub(crate) bypass_sticks: bool,
    pub(crate) habit: Habit,
    /// Requests that are answered well before the habit begins.
    pub(crate) good: u32,
    pub(crate) properties: Vec<u8>,
    pub(crate) existing: Vec<u32>,
    pub(crate) attached: BTreeMap<u32, u32>,
    pub(crate) domains: BTreeMap<u32, BTreeMap<u64, (u64, u64, u32)>>,
    pub(crate) log: Vec<u8>,
    pub(crate) faults: VecDeque<[u8; FAULT_BYTES]>,
    pub(crate) endless_fault: Option<[u8; FAULT_BYTES]>,
    pub(crate) event_error: bool,
    pub(crate) started: bool,
    pub(crate) bypass_off_before_queues: bool,
    /// As QEMU 7.2: a domain survives with its mappings when its last endpoint attaches elsewhere.
    pub(crate) keeps_domains: bool,
    /// A MAP at this address finds no memory.
    pub(crate) refuse_map_at: Option<u64>,
}

impl State {
    /// Where an access of `endpoint` ends, with what it may do; by the specification.
    pub(crate) fn translate(&self, endpoint: u32, address: u64) -> Option<(u64, u32)> {
        let Some(domain) = self.attached.get(&endpoint) else {
            return (self.config.bypass != 0).then_some((address, 3));
        };
        let (start, (end, phys, flags)) = self.domains.get(domain)?.range(..=address).next_back()?;
        (address <= *end).then(|| (phys + (address - start), *flags))
    }

    fn leave(&mut self, endpoint: u32, explicit: bool) {
        let Some(domain) = self.attached.remove(&endpoint) else {
            return;
        };
        if !self.attached.values().any(|other| *other == domain) && (explicit || !self.keeps_domains) {
            self.domains.remove(&domain);
        }
    }

    fn attach(&mut self, request: &Attach) -> u8 {
        let (domain, endpoint) = (request.domain.get(), request.endpoint.get());
        if !self.existing.contains(&endpoint) {
            return status::NOENT;
        }
        if request.flags.get() != 0 || request.reserved != [0; 4] {
            return status::INVAL;
        }
        if domain < self.config.domain_start.get() || domain > self.config.domain_end.get() {
            return status::RANGE;
        }
        if self.attached.get(&endpoint) != Some(&domain) {
            self.leave(endpoint, false);
            self.domains.entry(domain).or_default();
            self.attached.insert(endpoint, domain);
        }
        status::OK
    }

    fn map(&mut self, request: &Map) -> u8 {
        let Some(domain) = self.domains.get_mut(&request.domain.get()) else {
            return status::NOENT;
        };
        let (start, end) = (request.virt_start.get(), request.virt_end.get());
        let phys = request.phys_start.get();
        if self.refuse_map_at == Some(start) {
            return status::NOMEM;
        }
        if start & 0xfff != 0 || end & 0xfff != 0xfff || phys & 0xfff != 0 || end < start {
            return status::RANGE;
        }
        if start < self.config.input_start.get() || end > self.config.input_end.get() {
            return status::RANGE;
        }
        if domain
            .iter()
            .any(|(first, (last, ..))| *first <= end && start <= *last)
        {
            return status::INVAL;
        }
        domain.insert(start, (end, phys, request.flags.get()));
        status::OK
    }

    fn unmap(&mut self, request: &Unmap) -> u8 {
        let Some(domain) = self.domains.get_mut(&request.domain.get()) else {
            return status::NOENT;
        };
        let (start, end) = (request.virt_start.get(), request.virt_end.get());
        let inside = |first: u64, last: u64| start <= first && last <= end;
        let meets = |first: u64, last: u64| first <= end && start <= last;
        if domain
            .iter()
            .any(|(first, (last, ..))| meets(*first, *last) && !inside(*first, *last))
        {
            return status::RANGE;
        }
        domain.retain(|first, (last, ..)| !inside(*first, *last));
        status::OK
    }

    /// Carries a request out and returns properties and status.
    fn handle(&mut self, request: &[u8]) -> Option<(Vec<u8>, u8)> {
        let done = |status| Some((Vec::new(), status));
        match *request.first()? {
            request_type::ATTACH => done(self.attach(&Attach::read_from_bytes(request).unwrap())),
            request_type::DETACH => {
                let request = Detach::read_from_bytes(request).unwrap();
                let endpoint = request.endpoint.get();
                if self.attached.get(&endpoint) != Some(&request.domain.get()) || request.reserved != [0; 8] {
                    return done(status::INVAL);
                }
                self.leave(endpoint, true);
                done(status::OK)
            }
            request_type::MAP => done(self.map(&Map::read_from_bytes(request).unwrap())),
            request_type::UNMAP => done(self.unmap(&Unmap::read_from_bytes(request).unwrap())),
            request_type::PROBE => {
                let request = Probe::read_from_bytes(request).unwrap();
                let known = self.existing.contains(&request.endpoint.get());
                let mut properties = self.properties.clone();
                properties.resize(self.config.probe_size.get() as usize, 0);
                Some((properties, if known { status::OK } else { status::NOENT }))
            }
            _ => None,
        }
    }
}

/// The channel that the driver holds; the test keeps the other end.
#[derive(Clone)]
pub(crate) struct Device(pub(crate) Rc<RefCell<State>>);

impl Device {
    pub(crate) fn new() -> Self {
        let config = Config {
            page_size_mask: (!0xfffu64).into(),
            input_start: 0.into(),
            input_end: u64::MAX.into(),
            domain_start: 0.into(),
            domain_end: u32::MAX.into(),
            probe_size: 512.into(),
            bypass: 1,
            reserved: [0; 3],
        };
        Self(Rc::new(RefCell::new(State {
            features: Features::all() - Features::BYPASS,
            config,
            bypass_sticks: false,
            habit: Habit::Obedient,
            good: 0,
            properties: msi_region(),
            existing: vec![8, 16, 24, 32],
            attached: BTreeMap::new(),
            domains: BTreeMap::new(),
            log: Vec::new(),
            faults: VecDeque::new(),
            endless_fault: None,
            event_error: false,
            started: false,
            bypass_off_before_queues: false,
            keeps_domains: false,
            refuse_map_at: None,
        })))
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.0.borrow_mut());
        self.clone()
    }
}

/// QEMU's x86 machines reserve the interrupt window.
pub(crate) fn msi_region() -> Vec<u8> {
    property(1, wire::RESV_MEM_MSI, 0xfee0_0000, 0xfeef_ffff)
}

pub(crate) fn property(kind: u16, subtype: u8, start: u64, end: u64) -> Vec<u8> {
    let region = wire::ResvMem {
        header: wire::PropertyHeader {
            kind: kind.into(),
            length: 20.into(),
        },
        subtype,
        reserved: [0; 3],
        start: start.into(),
        end: end.into(),
    };
    region.as_bytes().to_vec()
}

pub(crate) fn event(reason: u8, flags: u32, endpoint: u32, address: u64) -> [u8; FAULT_BYTES] {
    let fault = wire::Fault {
        reason,
        reserved: [0; 3],
        flags: flags.into(),
        endpoint: endpoint.into(),
        reserved1: [0; 4],
        address: address.into(),
    };
    fault.as_bytes().try_into().unwrap()
}

impl Channel for Device {
    fn offered(&mut self) -> Result<u64, ChannelError> {
        Ok(self.0.borrow().features.bits())
    }

    fn negotiate(&mut self, features: u64) -> Result<(), ChannelError> {
        let offered = self.0.borrow().features.bits();
        if features & !offered == 0 {
            Ok(())
        } else {
            Err(ChannelError::Features)
        }
    }

    fn config(&mut self) -> Result<[u8; CONFIG_BYTES], ChannelError> {
        Ok(self.0.borrow().config.as_bytes().try_into().unwrap())
    }

    fn set_bypass(&mut self, on: bool) -> Result<(), ChannelError> {
        assert_eq!(CONFIG_BYPASS_OFFSET, 36);
        let mut state = self.0.borrow_mut();
        if !state.bypass_sticks {
            state.config.bypass = on.into();
        }
        state.bypass_off_before_queues = !state.started && state.log.is_empty();
        Ok(())
    }

    fn start(&mut self) -> Result<(), ChannelError> {
        self.0.borrow_mut().started = true;
        Ok(())
    }

    fn submit(&mut self, request: &[u8], answer: &mut [u8]) -> Result<usize, ChannelError> {
        let mut state = self.0.borrow_mut();
        assert!(state.started);
        state.log.push(request[0]);
        let habit = match state.good {
            0 => state.habit,
            left => {
                state.good = left - 1;
                Habit::Obedient
            }
        };
        let forged = match habit {
            Habit::Silent => return Err(ChannelError::Timeout),
            Habit::WrongBuffer => return Err(ChannelError::WrongBuffer),
            Habit::NoStatus => return Ok(0),
            Habit::Status(status) => Some(status),
            Habit::Obedient | Habit::Length(_) => None,
        };
        let Some((properties, status)) = (match forged {
            Some(status) => Some((vec![0; answer.len() - 4], status)),
            None => state.handle(request),
        }) else {
            return Ok(0);
        };
        let tail = answer.len() - 4;
        answer[..tail].copy_from_slice(&properties);
        answer[tail..].copy_from_slice(&[status, 0, 0, 0]);
        Ok(if let Habit::Length(length) = habit {
            length
        } else {
            answer.len()
        })
    }

    fn next_fault(&mut self) -> Result<Option<[u8; FAULT_BYTES]>, ChannelError> {
        let mut state = self.0.borrow_mut();
        if state.event_error {
            return Err(ChannelError::WrongBuffer);
        }
        Ok(state.faults.pop_front().or(state.endless_fault))
    }
}
