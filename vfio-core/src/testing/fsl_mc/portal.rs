//! A portal of the complex: registers that take commands and show answers, late or wrong where a test says so.

use super::FakeMc;
use crate::fsl_mc::portal::PortalRegisters;
use crate::fsl_mc::spec::{Frame, Header, QWORDS, Status};

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

impl<'a> FakePortal<'a> {
    pub(super) const fn new(mc: &'a FakeMc, number: u32) -> Self {
        Self {
            mc,
            number,
            window: [0; QWORDS],
            pending: None,
            gone: false,
            written: 0,
        }
    }

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
