//! Command portals: one 64-byte window to the Management Complex, one command in flight.
//!
//! A command is written parameters first and header last, since the header starts it. It is done when the status byte is
//! no longer `Ready`. Everything that comes back is checked, and every wait is bounded.
//!
//! A command that is not answered in time may still be carried out later, and its answer would be taken for that of the
//! next command. So a portal that once failed this way is out of use, for good: see [`PortalError::unknown_state`].
//! The header of an answer repeats the number of its command. [Not in the reference: Linux reports failing commands by the
//! number that it reads from the answer.] Another number is a stale answer, and ends the use of the portal as well.

mod error;
#[cfg(all(test, loom))]
mod loom_tests;
mod session;
mod shared;
#[cfg(all(test, not(loom)))]
mod tests;

pub use error::PortalError;
pub use session::Session;
pub use shared::{PortalGuard, SharedPortal};

use super::spec::{
    CommandId, CommandWord, Frame, Header, HwFlags, Layout, QWORDS, Refused, Status, dpmng, id,
};
use super::{ObjectId, ObjectType};
use crate::clock::{Clock, MILLISECOND};
use crate::fsl_mc::spec::{ApiVersion, Command, common};

/// How long a command of the hypervisor may take: what later versions of Linux allow.
pub const TIMEOUT: u64 = 15_000 * MILLISECOND;
/// How long a guest's command may take.
pub const GUEST_TIMEOUT: u64 = 5_000 * MILLISECOND;
/// Between the first looks, and how many these are; most commands take a few microseconds.
const QUICK_POLL: u64 = 10_000;
const QUICK_POLLS: u64 = 50;
/// Between later looks.
const SLOW_POLL: u64 = 500_000;
/// How often a command is sent again that the complex was too busy for, with longer and longer waits in between.
const RETRIES: u32 = 4;
/// Before the first of these.
const RETRY_WAIT: u64 = MILLISECOND;

/// The registers of one command portal.
pub trait PortalRegisters {
    /// Reads quadword `index`, below 8. A device that is gone reads as all ones.
    fn read(&mut self, index: usize) -> u64;

    /// Writes quadword `index`, below 8, after all earlier writes.
    fn write(&mut self, index: usize, value: u64);
}

impl<R: PortalRegisters + ?Sized> PortalRegisters for &mut R {
    fn read(&mut self, index: usize) -> u64 {
        (**self).read(index)
    }

    fn write(&mut self, index: usize, value: u64) {
        (**self).write(index, value);
    }
}

/// A command to be sent: its number, where it goes, and whether it may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number and version.
    pub command: CommandWord,
    /// The open object, or 0.
    pub token: u16,
    /// It changes nothing.
    pub reads: bool,
}

/// A command portal that nobody else uses.
#[derive(Debug)]
pub struct Portal<R, C> {
    registers: R,
    clock: C,
    priority: HwFlags,
    limit: u64,
    out_of_use: bool,
    unclosed: u32,
}

impl<R: PortalRegisters, C: Clock> Portal<R, C> {
    /// The portal with these registers.
    #[must_use]
    pub const fn new(registers: R, clock: C) -> Self {
        Self {
            registers,
            clock,
            priority: HwFlags::empty(),
            limit: TIMEOUT,
            out_of_use: false,
            unclosed: 0,
        }
    }

    /// It with another bound for each command, in nanoseconds.
    #[must_use]
    pub const fn with_limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// It with all its commands before those of other portals.
    #[must_use]
    pub const fn with_high_priority(mut self) -> Self {
        self.priority = HwFlags::HIGH_PRIORITY;
        self
    }

    /// Whether a command is lost, so that no other can be sent.
    #[must_use]
    pub const fn out_of_use(&self) -> bool {
        self.out_of_use
    }

    /// How many objects could not be closed again; they stay open in the complex.
    #[must_use]
    pub const fn unclosed(&self) -> u32 {
        self.unclosed
    }

    /// Sends one frame as it is and waits for its answer, which may be a refusal.
    ///
    /// # Errors
    /// There is no answer, or none to this command: [`PortalError::NoAnswer`], [`PortalError::Gone`],
    /// [`PortalError::Stale`], [`PortalError::OutOfUse`].
    pub fn exchange(&mut self, request: &Frame) -> Result<Frame, PortalError> {
        if self.out_of_use {
            return Err(PortalError::OutOfUse);
        }
        let sent = request.header().command;
        // A command of somebody before us, such as a boot loader, may still be under way.
        self.wait(sent)?;
        for index in 1..QWORDS {
            self.registers.write(index, request.qword(index));
        }
        self.registers.write(0, request.qword(0));
        let header = self.wait(sent)?;
        let answered = Header::from_bits(header).command;
        if answered != sent {
            self.out_of_use = true;
            return Err(PortalError::Stale { sent, answered });
        }
        let mut answer = Frame::EMPTY;
        answer.set_qword(0, header);
        for index in 1..QWORDS {
            answer.set_qword(index, self.registers.read(index));
        }
        Ok(answer)
    }

    /// Looks until the status is not `Ready`, and returns the header.
    fn wait(&mut self, command: CommandWord) -> Result<u64, PortalError> {
        let start = self.clock.now();
        // A clock that stands still must not turn the bound into a hang, so looks are counted as well.
        for look in 0..QUICK_POLLS.saturating_add(self.limit / SLOW_POLL) {
            let header = self.registers.read(0);
            if header == u64::MAX {
                self.out_of_use = true;
                return Err(PortalError::Gone);
            }
            if Header::from_bits(header).status != Status::Ready {
                return Ok(header);
            }
            if self.clock.now().saturating_sub(start) >= self.limit {
                break;
            }
            self.clock
                .wait(if look < QUICK_POLLS { QUICK_POLL } else { SLOW_POLL });
        }
        self.out_of_use = true;
        Err(PortalError::NoAnswer {
            command,
            milliseconds: self.limit / MILLISECOND,
        })
    }

    /// Sends a command and decodes its answer. What the complex is too busy for is sent again, a few times.
    ///
    /// # Errors
    /// [`PortalError`].
    pub fn call<Q: Layout, A: Layout>(
        &mut self,
        call: Call,
        request: &Q,
    ) -> Result<(Header, A), PortalError> {
        let mut header = Header::request(call.command, call.token);
        header.hw_flags = self.priority;
        let frame = Frame::with(header, request);
        let mut pause = RETRY_WAIT;
        for attempt in 0..=RETRIES {
            let answer = self.exchange(&frame)?;
            let again = match answer.header().status {
                Status::Ok => {
                    let decoded = A::get(&answer).map_err(|what| PortalError::Malformed {
                        command: call.command,
                        what,
                    })?;
                    return Ok((answer.header(), decoded));
                }
                Status::Refused(Refused::Busy) => Refused::Busy,
                Status::Refused(Refused::TimedOut) if call.reads => Refused::TimedOut,
                Status::Refused(why) => return Err(PortalError::refused(call.command, why)),
                // `exchange` waits until it is not.
                Status::Ready => Refused::Busy,
            };
            if attempt == RETRIES {
                return Err(PortalError::refused(call.command, again));
            }
            self.clock.wait(pause);
            pause = pause.saturating_mul(2);
        }
        Err(PortalError::refused(call.command, Refused::Busy))
    }

    /// Sends a command that needs no open object.
    fn ask<Q: Layout, A: Layout>(&mut self, id: CommandId, request: &Q) -> Result<A, PortalError> {
        let call = Call {
            command: CommandWord::standard(id),
            token: 0,
            reads: true,
        };
        Ok(self.call(call, request)?.1)
    }

    /// The version of the firmware.
    ///
    /// # Errors
    /// [`PortalError`].
    pub fn firmware_version(&mut self) -> Result<dpmng::Version, PortalError> {
        self.ask(id::GET_FIRMWARE_VERSION, &dpmng::GetVersion)
    }

    /// The container that the portal belongs to.
    ///
    /// # Errors
    /// [`PortalError`].
    pub fn container(&mut self) -> Result<ObjectId, PortalError> {
        let answer: dpmng::ContainerId = self.ask(id::GET_CONTAINER_ID, &dpmng::GetContainerId)?;
        Ok(ObjectId {
            kind: ObjectType::Dprc,
            number: answer.number,
        })
    }

    /// The version of a type's interface.
    ///
    /// # Errors
    /// [`PortalError`].
    pub fn api_version(&mut self, kind: ObjectType) -> Result<ApiVersion, PortalError> {
        let answer: common::ApiVersionAnswer = self.ask(id::api_version(kind), &super::spec::Nothing)?;
        Ok(answer.into())
    }

    /// Opens an object, until the session is closed or dropped.
    ///
    /// # Errors
    /// [`PortalError`].
    pub fn open(&mut self, object: ObjectId) -> Result<Session<'_, R, C>, PortalError> {
        let call = Call {
            command: CommandWord::standard(id::open(object.kind)),
            token: 0,
            reads: false,
        };
        let request = common::Open {
            number: object.number,
        };
        let (header, super::spec::Nothing) = self.call(call, &request)?;
        Ok(Session::new(self, object, header.token))
    }

    /// Opens an object for one command, and closes it whatever comes of that.
    ///
    /// # Errors
    /// What the command, or else the close, failed with.
    pub fn once<A>(
        &mut self,
        object: ObjectId,
        act: impl FnOnce(&mut Session<'_, R, C>) -> Result<A, PortalError>,
    ) -> Result<A, PortalError> {
        let mut session = self.open(object)?;
        let result = act(&mut session);
        let closed = session.close();
        let value = result?;
        closed.map(|()| value)
    }

    fn send<Q: Command>(&mut self, version: u8, token: u16, request: &Q) -> Result<Q::Response, PortalError> {
        let call = Call {
            command: CommandWord::new(Q::ID, version),
            token,
            reads: Q::READS,
        };
        Ok(self.call(call, request)?.1)
    }

    fn leave_unclosed(&mut self) {
        self.unclosed = self.unclosed.saturating_add(1);
    }
}
