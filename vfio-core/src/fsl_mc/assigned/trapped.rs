//! A command portal whose accesses trap: the owner sees the last answer, and each command is filtered.
//!
//! The owner never reads the portal itself, so that it sees no answer to anybody before it.

use crate::clock::Clock;
use crate::device::AccessError;
use crate::fault::Fault;
use crate::fsl_mc::filter::{CommandFilter, CommandRefusal};
use crate::fsl_mc::portal::{Call, Portal, PortalError, PortalRegisters};
use crate::fsl_mc::spec::{CommandWord, Frame, Nothing, Refused, id};

/// Bytes of a frame, which is the only size of an access.
pub(super) const FRAME: usize = 64;

pub(super) struct Trapped<R, C> {
    portal: Portal<R, C>,
    filter: CommandFilter,
    answer: Frame,
    refusal: Option<CommandRefusal>,
}

impl<R: PortalRegisters, C: Clock> Trapped<R, C> {
    pub(super) const fn new(portal: Portal<R, C>, filter: CommandFilter) -> Self {
        Self {
            portal,
            filter,
            answer: Frame::EMPTY,
            refusal: None,
        }
    }

    pub(super) const fn answer(&self) -> &Frame {
        &self.answer
    }

    pub(super) fn take_refusal(&mut self) -> Option<CommandRefusal> {
        self.refusal.take()
    }

    /// Carries out the command in `data`, or answers it with a refusal.
    ///
    /// # Errors
    /// The complex does not answer; it never will, as far as this portal goes.
    pub(super) fn send(&mut self, data: &[u8], offset: u64) -> Result<(), AccessError> {
        let shape = AccessError::Shape {
            offset,
            len: data.len(),
        };
        let request = Frame::from_bytes(data).map_err(|_| shape)?;
        match self.filter.check(&request) {
            Ok(request) => {
                self.answer = self.portal.exchange(&request).map_err(Fault::from)?;
                self.filter.observe(&request, &self.answer);
            }
            Err(refusal) => {
                let mut header = request.header();
                header.status = refusal.status();
                self.answer = request;
                self.answer.set_header(header);
                self.refusal = Some(refusal);
            }
        }
        Ok(())
    }

    /// Closes what the owner left open. All are tried.
    ///
    /// # Errors
    /// The first that could not be closed, or a command of the owner that is lost in the complex.
    pub(super) fn close(&mut self) -> Result<(), Fault> {
        let mut result = if self.portal.out_of_use() {
            Err(Fault::TimedOut)
        } else {
            Ok(())
        };
        for (token, _) in self.filter.tokens() {
            let call = Call {
                command: CommandWord::standard(id::CLOSE),
                token,
                reads: false,
            };
            let void = PortalError::Refused {
                command: call.command,
                why: Refused::Authentication,
            };
            match self.portal.call::<Nothing, Nothing>(call, &Nothing) {
                // The complex has closed it already: the container was reset meanwhile.
                Ok(_) => {}
                Err(error) if error == void => {}
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        result
    }
}
