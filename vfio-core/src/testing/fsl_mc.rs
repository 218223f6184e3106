//! A Management Complex for tests: containers, objects, and portals that answer commands, well or badly.
//!
//! It holds whoever uses it to what the real one relies on: no command is written over another, and the parameters are
//! written before the header.

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::clock::Clock;
use crate::fsl_mc::portal::PortalRegisters;
use crate::fsl_mc::spec::id::{self, Typed};
use crate::fsl_mc::spec::{
    ApiVersion, Frame, Header, Layout, Malformed, Nothing, QWORDS, Refused, Status, common, dpmng, dprc, irq,
};
use crate::fsl_mc::{ObjectId, ObjectType};

/// A region as the firmware gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FakeRegion {
    /// From the base.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
    /// 1 cacheable, 2 shareable.
    pub attributes: u32,
    /// The base, from version 2 on.
    pub base: u64,
}

/// An object.
#[derive(Clone, Debug)]
pub struct FakeObject {
    /// Its type, which need not be one that exists.
    pub kind: String,
    /// Its number.
    pub number: u32,
    /// 1 open, 2 plugged.
    pub state: u32,
    /// Its version.
    pub version: (u16, u16),
    /// How many interrupts it has.
    pub irqs: u8,
    /// Its regions.
    pub regions: Vec<FakeRegion>,
    /// Whether it works.
    pub enabled: bool,
    /// How often it was reset.
    pub resets: u32,
    /// Where its interrupts go: address and value.
    pub irq: BTreeMap<u8, (u64, u32)>,
    /// Events that happened.
    pub events: u32,
    /// Bytes to write over its entry in a list, at an offset.
    pub corrupt: Option<(usize, Vec<u8>)>,
}

impl FakeObject {
    /// A plugged object of a version that will do.
    #[must_use]
    pub fn new(kind: &str, number: u32) -> Self {
        Self {
            kind: kind.to_string(),
            number,
            state: 2,
            version: (9, 0),
            irqs: 1,
            regions: Vec::new(),
            enabled: true,
            resets: 0,
            irq: BTreeMap::new(),
            events: 0,
            corrupt: None,
        }
    }

    /// It with a region.
    #[must_use]
    pub fn region(mut self, offset: u64, size: u32, attributes: u32) -> Self {
        self.regions.push(FakeRegion {
            offset,
            size,
            attributes,
            base: PORTALS,
        });
        self
    }

    /// It, not plugged.
    #[must_use]
    pub fn unplugged(mut self) -> Self {
        self.state = 0;
        self
    }

    fn is(&self, id: ObjectId) -> bool {
        self.kind == id.kind.name() && self.number == id.number
    }
}

/// A container.
#[derive(Clone, Debug, Default)]
pub struct FakeContainer {
    /// Its isolation context.
    pub icid: u16,
    /// What is in it.
    pub objects: Vec<FakeObject>,
    /// How often it was reset, by itself or from above.
    pub resets: u32,
}

/// Where portals are.
pub const PORTALS: u64 = 0x8_0c00_0000;

/// What the complex does with one command.
#[derive(Clone, Debug)]
pub enum Misbehaviour {
    /// Refuses it with this status.
    Refuse(u8),
    /// Never answers it.
    Silent,
    /// Answers it this much later, in nanoseconds.
    Slow(u64),
    /// Is gone: all reads are ones from then on.
    Gone,
    /// Carries it out and answers with the number of another command.
    Stale,
    /// Carries it out and answers with these bytes from byte 8 on.
    Garbage([u8; 56]),
}

/// What there is, and what happened.
#[derive(Default)]
pub struct World {
    /// The containers, by number.
    pub containers: BTreeMap<u32, FakeContainer>,
    /// The number of the portal's container.
    pub root: u32,
    /// The version of the containers' interface.
    pub api: (u16, u16),
    /// Links: of an object, to another one with interface and state.
    pub links: BTreeMap<ObjectId, (ObjectId, u16, i32)>,
    /// Open objects, by portal and token.
    pub tokens: BTreeMap<(u32, u16), ObjectId>,
    /// Every command that was carried out or refused: its header.
    pub log: Vec<Header>,
    /// What goes wrong, by the number of the command, from 0.
    pub misbehaviour: BTreeMap<usize, Misbehaviour>,
    next_token: u16,
}

impl World {
    /// The object `id`, wherever it is.
    pub fn object(&mut self, id: ObjectId) -> Option<&mut FakeObject> {
        self.containers
            .values_mut()
            .flat_map(|container| &mut container.objects)
            .find(|object| object.is(id))
    }

    fn answer(&mut self, portal: u32, request: &Frame) -> Frame {
        let mut header = request.header();
        let result = self.carry_out(portal, request, &mut header);
        let mut frame = *request;
        match result {
            Ok(answer) => {
                frame = answer;
                header.status = Status::Ok;
            }
            Err(why) => header.status = Status::Refused(why),
        }
        frame.set_header(header);
        frame
    }

    fn carry_out(&mut self, portal: u32, request: &Frame, header: &mut Header) -> Result<Frame, Refused> {
        let command = header.command;
        match id::typed(command.id()) {
            Some(Typed::Open(kind)) => {
                let number = parse::<common::Open>(request)?.number;
                let object = ObjectId { kind, number };
                let exists = self.object(object).is_some()
                    || kind == ObjectType::Dprc && self.containers.contains_key(&number);
                if !exists {
                    return Err(Refused::Configuration);
                }
                let open = |(key, open): (&(u32, u16), &ObjectId)| key.0 == portal && *open == object;
                if self.tokens.iter().any(open) {
                    return Err(Refused::InvalidState);
                }
                self.next_token = self.next_token.wrapping_add(1);
                header.token = self.next_token;
                self.tokens.insert((portal, self.next_token), object);
                return Ok(Frame::EMPTY);
            }
            Some(Typed::ApiVersion(_)) => {
                let (major, minor) = self.api;
                return Ok(body(&common::ApiVersionAnswer { major, minor }));
            }
            Some(Typed::Create(_) | Typed::Destroy(_)) => return Err(Refused::NoPrivilege),
            None => {}
        }
        match command.id() {
            id::GET_CONTAINER_ID => return Ok(body(&dpmng::ContainerId { number: self.root })),
            id::GET_FIRMWARE_VERSION => {
                return Ok(body(&dpmng::Version {
                    revision: 1,
                    major: 10,
                    minor: 20,
                }));
            }
            _ => {}
        }
        let key = (portal, header.token);
        let open = *self.tokens.get(&key).ok_or(Refused::Authentication)?;
        if command.id() == id::CLOSE {
            self.tokens.remove(&key);
            return Ok(body(&Nothing));
        }
        if open.kind == ObjectType::Dprc
            && let Some(result) = self.container_command(open.number, request)
        {
            return result;
        }
        self.object_command(open, request)
    }

    fn container_command(&mut self, number: u32, request: &Frame) -> Option<Result<Frame, Refused>> {
        let command = request.header().command;
        let container = self.containers.get(&number)?;
        Some(match command.id() {
            id::GET_ATTRIBUTES => Ok(body(&dprc::Attributes {
                container: number,
                icid: container.icid,
                options: 0,
                portal: number,
            })),
            id::GET_OBJ_COUNT => Ok(body(&dprc::ObjCount {
                count: container.objects.len() as u32,
            })),
            id::GET_OBJ => parse::<dprc::GetObj>(request).and_then(|request| {
                let object = container.objects.get(request.index as usize);
                object.map(entry).ok_or(Refused::Configuration)
            }),
            id::GET_OBJ_REGION => region(container, request),
            id::SET_OBJ_IRQ => parse::<dprc::SetObjIrq>(request).and_then(|request| {
                let (kind, number) = (request.kind, request.number);
                let object = self.object(ObjectId { kind, number });
                let object = object.ok_or(Refused::Configuration)?;
                object.irq.insert(request.index, (request.address, request.value));
                Ok(body(&Nothing))
            }),
            id::RESET => parse::<dprc::ResetContainer>(request).and_then(|request| {
                let versioned = command.version() >= 2;
                let recursive = !versioned || !request.options.contains(dprc::ResetOptions::NON_RECURSIVE);
                self.reset(request.container, recursive)
            }),
            id::GET_CONNECTION => parse::<dprc::GetConnection>(request).map(|request| {
                let (kind, number) = (request.kind, request.number);
                let link = self.links.get(&ObjectId { kind, number });
                let state = link.map_or(-1, |link| link.2);
                let mut frame = Frame::EMPTY;
                frame.put::<56, i32>(state);
                if let Some((other, interface, _)) = link {
                    frame.put::<32, u32>(other.number);
                    frame.put::<36, u16>(*interface);
                    frame.put::<40, ObjectType>(other.kind);
                }
                frame
            }),
            _ => return None,
        })
    }

    fn reset(&mut self, number: u32, recursive: bool) -> Result<Frame, Refused> {
        let container = self.containers.get_mut(&number).ok_or(Refused::Configuration)?;
        container.resets += 1;
        let mut inside = Vec::new();
        for object in &mut container.objects {
            if object.kind == "dprc" {
                inside.push(object.number);
            } else {
                object.resets += 1;
                object.irq.clear();
            }
        }
        for number in inside {
            if recursive {
                self.reset(number, true)?;
            }
        }
        Ok(Frame::EMPTY)
    }

    fn object_command(&mut self, open: ObjectId, request: &Frame) -> Result<Frame, Refused> {
        let object = self.object(open).ok_or(Refused::InvalidState)?;
        match request.header().command.id() {
            id::ENABLE => object.enabled = true,
            id::DISABLE => object.enabled = false,
            id::RESET => {
                object.resets += 1;
                object.irq.clear();
            }
            id::IS_ENABLED => {
                let enabled = object.enabled.into();
                return Ok(body(&common::IsEnabledAnswer { enabled }));
            }
            id::SET_IRQ => {
                let request = parse::<irq::SetIrq>(request)?;
                object.irq.insert(request.index, (request.address, request.value));
            }
            id::GET_IRQ_STATUS => {
                let status = object.events;
                return Ok(body(&irq::IrqStatus { status }));
            }
            id::CLEAR_IRQ_STATUS => object.events &= !parse::<irq::ClearIrqStatus>(request)?.status,
            id::SET_IRQ_ENABLE | id::SET_IRQ_MASK => {}
            _ => return Err(Refused::Unsupported),
        }
        Ok(body(&Nothing))
    }
}

fn parse<L: Layout>(request: &Frame) -> Result<L, Refused> {
    L::get(request).map_err(|_: Malformed| Refused::Configuration)
}

fn body(layout: &impl Layout) -> Frame {
    let mut frame = Frame::EMPTY;
    layout.put(&mut frame);
    frame
}

fn entry(object: &FakeObject) -> Frame {
    let mut frame = Frame::EMPTY;
    frame.put::<12, u32>(object.number);
    frame.put::<16, u16>(0x1957);
    frame.put::<18, u8>(object.irqs);
    frame.put::<19, u8>(object.regions.len() as u8);
    frame.put::<20, u32>(object.state);
    frame.put::<24, u16>(object.version.0);
    frame.put::<26, u16>(object.version.1);
    let mut bytes = *frame.bytes();
    for (to, from) in bytes[32..47].iter_mut().zip(object.kind.bytes()) {
        *to = from;
    }
    if let Some((offset, over)) = &object.corrupt {
        bytes[*offset..][..over.len()].copy_from_slice(over);
    }
    Frame::new(bytes)
}

fn region(container: &FakeContainer, request: &Frame) -> Result<Frame, Refused> {
    let version = request.header().command.version();
    let request = parse::<dprc::GetObjRegion>(request)?;
    let id = ObjectId {
        kind: request.kind,
        number: request.number,
    };
    let object = container.objects.iter().find(|object| object.is(id));
    let region = object.and_then(|object| object.regions.get(usize::from(request.index)));
    let region = region.ok_or(Refused::Configuration)?;
    let mut frame = Frame::EMPTY;
    frame.put::<16, u64>(region.offset);
    frame.put::<24, u32>(region.size);
    frame.put::<32, u32>(region.attributes);
    // Old firmware leaves there whatever was there.
    frame.put::<40, u64>(if version >= 2 { region.base } else { u64::MAX });
    Ok(frame)
}

/// Something that is called before each command is carried out, with the command's number.
type Hook = Box<dyn FnMut(&mut World, usize)>;

/// The complex, with its own time.
#[derive(Default)]
pub struct FakeMc {
    /// What there is.
    pub world: RefCell<World>,
    /// Nanoseconds since the start.
    pub time: Cell<u64>,
    /// The clock stands still.
    pub stopped: Cell<bool>,
    hook: RefCell<Option<Hook>>,
}

impl FakeMc {
    /// A complex with these containers, the first of which is the root.
    #[must_use]
    pub fn new(containers: impl IntoIterator<Item = (u32, FakeContainer)>) -> Self {
        let containers: Vec<_> = containers.into_iter().collect();
        let mc = Self::default();
        {
            let mut world = mc.world.borrow_mut();
            world.root = containers.first().map_or(1, |(number, _)| *number);
            world.containers = containers.into_iter().collect();
            world.api = (6, 6);
        }
        mc
    }

    /// It with another version of the containers' interface.
    #[must_use]
    pub fn with_api(self, api: ApiVersion) -> Self {
        self.world.borrow_mut().api = (api.major, api.minor);
        self
    }

    /// Lets `hook` change things before each command.
    pub fn before_each(&self, hook: impl FnMut(&mut World, usize) + 'static) {
        *self.hook.borrow_mut() = Some(Box::new(hook));
    }

    /// Makes command `number` from now on go wrong.
    pub fn fail(&self, number: usize, how: Misbehaviour) {
        let mut world = self.world.borrow_mut();
        let at = world.log.len() + number;
        world.misbehaviour.insert(at, how);
    }

    /// How many commands there were.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.world.borrow().log.len()
    }

    /// The registers of a portal.
    #[must_use]
    pub fn portal(&self, number: u32) -> FakePortal<'_> {
        FakePortal {
            mc: self,
            number,
            window: [0; QWORDS],
            pending: None,
            gone: false,
            written: 0,
        }
    }
}

impl Clock for FakeMc {
    fn now(&self) -> u64 {
        self.time.get()
    }

    fn wait(&self, nanoseconds: u64) {
        if !self.stopped.get() {
            self.time.set(self.time.get() + nanoseconds);
        }
    }
}

/// One portal of the complex.
pub struct FakePortal<'a> {
    mc: &'a FakeMc,
    number: u32,
    window: [u64; QWORDS],
    /// The answer, and when it comes; `None` for never.
    pending: Option<(Option<u64>, Frame)>,
    gone: bool,
    /// Parameters that were written since the last header, a bit for each.
    written: u8,
}

impl FakePortal<'_> {
    /// Leaves a header behind as a boot loader might.
    #[must_use]
    pub fn with_header(mut self, header: Header) -> Self {
        self.window[0] = header.into_bits();
        self
    }

    fn start(&mut self) {
        let mut request = Frame::EMPTY;
        for (index, qword) in self.window.iter().enumerate() {
            request.set_qword(index, *qword);
        }
        if request.header().status != Status::Ready {
            return;
        }
        let mut world = self.mc.world.borrow_mut();
        let number = world.log.len();
        world.log.push(request.header());
        if let Some(hook) = &mut *self.mc.hook.borrow_mut() {
            hook(&mut world, number);
        }
        let how = world.misbehaviour.remove(&number);
        if let Some(Misbehaviour::Refuse(code)) = how {
            let mut answer = request;
            let mut header = request.header();
            header.status = Status::from_code(code);
            answer.set_header(header);
            self.pending = Some((Some(0), answer));
            return;
        }
        if matches!(how, Some(Misbehaviour::Silent)) {
            self.pending = Some((None, request));
            return;
        }
        let mut answer = world.answer(self.number, &request);
        let mut at = 0;
        match how {
            Some(Misbehaviour::Gone) => self.gone = true,
            Some(Misbehaviour::Slow(late)) => at = self.mc.time.get() + late,
            Some(Misbehaviour::Stale) => {
                let mut header = answer.header();
                header.command.0 ^= 0x10;
                answer.set_header(header);
            }
            Some(Misbehaviour::Garbage(garbage)) => {
                let mut bytes = *answer.bytes();
                bytes[8..].copy_from_slice(&garbage);
                answer = Frame::new(bytes);
            }
            _ => {}
        }
        self.pending = Some((Some(at), answer));
    }
}

impl PortalRegisters for FakePortal<'_> {
    fn read(&mut self, index: usize) -> u64 {
        if self.gone {
            return u64::MAX;
        }
        if let Some((Some(at), answer)) = self.pending
            && at <= self.mc.time.get()
        {
            for (to, qword) in self.window.iter_mut().enumerate() {
                *qword = answer.qword(to);
            }
            self.pending = None;
        }
        self.window[index]
    }

    fn write(&mut self, index: usize, value: u64) {
        assert!(self.pending.is_none(), "a command was written over another");
        self.window[index] = value;
        if index == 0 {
            assert_eq!(self.written, 0xfe, "the header was written before the parameters");
            self.written = 0;
            self.start();
        } else {
            self.written |= 1 << index;
        }
    }
}
