//! What objects are connected to: links of the network hardware, such as that of an interface to a MAC.
//!
//! A connection joins nothing: frames go over it, and neither end reaches the other's memory.

use crate::clock::Clock;
use crate::fsl_mc::ObjectId;
use crate::fsl_mc::portal::{PortalError, PortalRegisters, Session};
use crate::fsl_mc::spec::dprc::GetConnection;
use crate::fsl_mc::spec::{CommandWord, Malformed, id};

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The object.
    pub object: ObjectId,
    /// Its interface; 0 where it has one only.
    pub interface: u16,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Who.
    pub endpoint: Endpoint,
    /// Whether the link is up.
    pub up: bool,
}

/// What `endpoint` is connected to, by the container that is open.
///
/// # Errors
/// [`PortalError`].
pub fn connection<R: PortalRegisters, C: Clock>(
    session: &mut Session<'_, R, C>,
    endpoint: Endpoint,
) -> Result<Option<Peer>, PortalError> {
    let answer = session.send(&GetConnection {
        number: endpoint.object.number,
        interface: endpoint.interface,
        kind: endpoint.object.kind,
    })?;
    let malformed = |what| PortalError::Malformed {
        command: CommandWord::standard(id::GET_CONNECTION),
        what,
    };
    let up = match answer.state {
        -1 => return Ok(None),
        0 => false,
        1 => true,
        _ => return Err(malformed(Malformed::Value(56))),
    };
    let kind = answer.kind.object_type();
    let object = ObjectId {
        kind: kind.ok_or_else(|| malformed(Malformed::UnknownType(40)))?,
        number: answer.number,
    };
    Ok(Some(Peer {
        endpoint: Endpoint {
            object,
            interface: answer.interface,
        },
        up,
    }))
}
