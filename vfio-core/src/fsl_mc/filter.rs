//! Which commands of a guest go on to the Management Complex, where the guest's command portal traps.
//!
//! The complex itself keeps containers apart; this is a second fence, and one that says what was tried. A guest may open what is in
//! its own containers, use the tokens that it was given, and ask. It may not make or destroy objects, since its cohort would change
//! under its lease, nor say where interrupts go, since that is what the hypervisor tells the complex. Of a container only what stands in a
//! table is allowed. Commands of other objects that name objects of their own, and whose layouts are not known here,
//! are left to the complex.

use alloc::vec::Vec;

use super::scan::Tree;
use super::spec::dprc::{GetConnection, GetObjRegion, ResetContainer};
use super::spec::id::{self, Typed};
use super::spec::{
    CommandWord, Frame, Header, HwFlags, Layout, Malformed, Refused, Status, SwFlags, common, dpcon,
};
use super::{ObjectId, ObjectType};
use crate::hash::Map;

/// How many objects a guest may have open in one portal.
pub const MAX_TOKENS: usize = 256;

/// Why a guest's command does not go on to the complex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CommandRefusal {
    /// The status of the header does not start a command.
    #[error("the header does not start a command")]
    NotReady,
    /// The object is in none of the guest's containers.
    #[error("{0} is in none of the guest's containers")]
    ForeignObject(ObjectId),
    /// The token was not given out in this portal.
    #[error("token {0:#x} was not given out in this portal")]
    ForeignToken(u16),
    /// No guest may send this command, or not to this type of object.
    #[error("a guest may not send command {command} to {}", Target(*.to))]
    NotAllowed {
        /// The command.
        command: CommandWord,
        /// The object that is open.
        to: Option<ObjectId>,
    },
    /// The guest has too many objects open in this portal.
    #[error("more than {MAX_TOKENS} objects are open in this portal")]
    TooManyTokens,
    /// The parameters make no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

struct Target(Option<ObjectId>);

impl core::fmt::Display for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(object) => object.fmt(f),
            None => f.write_str("the complex"),
        }
    }
}

impl CommandRefusal {
    /// What the guest sees: the status that the complex would have answered with.
    #[must_use]
    pub const fn status(&self) -> Status {
        Status::Refused(match self {
            Self::ForeignObject(_) => Refused::NoPrivilege,
            Self::ForeignToken(_) => Refused::Authentication,
            Self::NotAllowed { .. } => Refused::Unsupported,
            Self::TooManyTokens => Refused::NoResource,
            Self::NotReady | Self::Malformed(_) => Refused::Configuration,
        })
    }
}

/// What a guest may send to a container; everything else is refused.
const CONTAINER_COMMANDS: [super::spec::CommandId; 12] = [
    id::GET_ATTRIBUTES,
    id::RESET,
    id::SET_IRQ_ENABLE,
    id::GET_IRQ_ENABLE,
    id::SET_IRQ_MASK,
    id::GET_IRQ_MASK,
    id::GET_IRQ_STATUS,
    id::CLEAR_IRQ_STATUS,
    id::GET_OBJ_COUNT,
    id::GET_OBJ,
    id::GET_OBJ_REGION,
    id::GET_CONNECTION,
];

/// The objects that the owner of `containers` may open: these, and all in them, plugged or not.
#[must_use]
pub fn scope(tree: &Tree, containers: &[ObjectId]) -> Vec<ObjectId> {
    let mut scope: Vec<ObjectId> = containers.to_vec();
    let inside = tree
        .objects()
        .filter(|object| containers.contains(&object.container));
    // A container inside that is not listed is somebody else's.
    scope.extend(
        inside
            .map(|object| object.id)
            .filter(|object| object.kind != ObjectType::Dprc),
    );
    scope.sort_unstable();
    scope.dedup();
    scope
}

/// The filter of one portal.
#[derive(Clone, Debug)]
pub struct CommandFilter {
    scope: Vec<ObjectId>,
    tokens: Map<u16, ObjectId>,
}

impl CommandFilter {
    /// A filter that lets these objects be opened.
    #[must_use]
    pub fn new(mut scope: Vec<ObjectId>) -> Self {
        scope.sort_unstable();
        Self {
            scope,
            tokens: Map::default(),
        }
    }

    /// The tokens that are given out, in order, each with its object.
    #[must_use]
    pub fn tokens(&self) -> Vec<(u16, ObjectId)> {
        let mut tokens: Vec<_> = self
            .tokens
            .iter()
            .map(|(token, object)| (*token, *object))
            .collect();
        tokens.sort_unstable();
        tokens
    }

    fn in_scope(&self, object: ObjectId) -> Result<(), CommandRefusal> {
        match self.scope.binary_search(&object) {
            Ok(_) => Ok(()),
            Err(_) => Err(CommandRefusal::ForeignObject(object)),
        }
    }

    /// The frame that goes on to the complex in place of `request`: the same command, without flags that mean nothing.
    ///
    /// # Errors
    /// [`CommandRefusal`]: nothing goes on.
    pub fn check(&self, request: &Frame) -> Result<Frame, CommandRefusal> {
        let header = request.header();
        if header.status != Status::Ready {
            return Err(CommandRefusal::NotReady);
        }
        let number = header.command.id();
        let refused = |to| CommandRefusal::NotAllowed {
            command: header.command,
            to,
        };
        match id::typed(number) {
            Some(Typed::Open(kind)) => {
                let number = common::Open::get(request)?.number;
                self.in_scope(ObjectId { kind, number })?;
                if self.tokens.len() >= MAX_TOKENS {
                    return Err(CommandRefusal::TooManyTokens);
                }
            }
            Some(Typed::ApiVersion(_)) => {}
            Some(Typed::Create(_) | Typed::Destroy(_)) => return Err(refused(None)),
            None if matches!(number, id::GET_CONTAINER_ID | id::GET_FIRMWARE_VERSION) => {}
            None if number > id::CLOSE => return Err(refused(None)),
            None => {
                let object = self.tokens.get(&header.token).copied();
                let object = object.ok_or(CommandRefusal::ForeignToken(header.token))?;
                let allowed = match number {
                    id::SET_IRQ | id::GET_IRQ => false,
                    id::CLOSE => true,
                    _ if object.kind == ObjectType::Dprc => CONTAINER_COMMANDS.contains(&number),
                    _ => true,
                };
                if !allowed {
                    return Err(refused(Some(object)));
                }
                self.check_names(object.kind, request)?;
            }
        }
        let mut frame = *request;
        frame.set_header(Header {
            source: 0,
            hw_flags: header.hw_flags.intersection(HwFlags::all()),
            sw_flags: header.sw_flags.intersection(SwFlags::all()),
            ..header
        });
        Ok(frame)
    }

    /// Checks the objects that a command names.
    fn check_names(&self, open: ObjectType, request: &Frame) -> Result<(), CommandRefusal> {
        let named = match (open, request.header().command.id()) {
            (ObjectType::Dprc, id::RESET) => ObjectId {
                kind: ObjectType::Dprc,
                number: ResetContainer::get(request)?.container,
            },
            (ObjectType::Dprc, id::GET_OBJ_REGION) => {
                let GetObjRegion { kind, number, .. } = GetObjRegion::get(request)?;
                ObjectId { kind, number }
            }
            (ObjectType::Dprc, id::GET_CONNECTION) => {
                let GetConnection { kind, number, .. } = GetConnection::get(request)?;
                ObjectId { kind, number }
            }
            (ObjectType::Dpcon, id::DPCON_SET_NOTIFICATION) => ObjectId {
                kind: ObjectType::Dpio,
                number: dpcon::SetNotification::get(request)?.dpio,
            },
            _ => return Ok(()),
        };
        self.in_scope(named)
    }

    /// Notes what `answer` to a `request` that went on means for tokens.
    pub fn observe(&mut self, request: &Frame, answer: &Frame) {
        let (sent, got) = (request.header(), answer.header());
        if got.status != Status::Ok {
            return;
        }
        match id::typed(sent.command.id()) {
            Some(Typed::Open(kind)) => {
                if let Ok(common::Open { number }) = common::Open::get(request) {
                    self.tokens.insert(got.token, ObjectId { kind, number });
                }
            }
            None if sent.command.id() == id::CLOSE => {
                self.tokens.remove(&sent.token);
            }
            _ => {}
        }
    }
}
