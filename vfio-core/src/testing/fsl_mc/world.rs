//! What there is in the complex, and how it carries commands out.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::{FakeContainer, FakeObject, Misbehaviour};
use crate::fsl_mc::spec::id::{self, Typed};
use crate::fsl_mc::spec::{
    Frame, Header, Layout, Malformed, Nothing, Refused, Status, common, dpmng, dprc, irq,
};
use crate::fsl_mc::{ObjectId, ObjectType};

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

    pub(super) fn answer(&mut self, portal: u32, request: &Frame) -> Frame {
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
