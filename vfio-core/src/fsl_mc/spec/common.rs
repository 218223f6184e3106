//! Commands of all types of objects.

use super::frame::{Nothing, layout};
use super::{ApiVersion, command, id};

layout! {
    /// Opens an object; the token is in the answer's header.
    Open {
        /// The object's number.
        8 number: u32,
    }
}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident = $id:expr;)*) => { $(
        layout! { $(#[$doc])* $name {} }
        command!($name => Nothing, $id, reads: false);
    )* };
}

plain! {
    /// Closes an object.
    Close = id::CLOSE;
    /// Lets an object work.
    Enable = id::ENABLE;
    /// Stops an object.
    Disable = id::DISABLE;
    /// Resets an object that is no container.
    Reset = id::RESET;
}

layout! {
    /// The version of a type's interface.
    ApiVersionAnswer {
        /// See [`ApiVersion`].
        8 major: u16,
        /// See [`ApiVersion`].
        10 minor: u16,
    }
}

impl From<ApiVersionAnswer> for ApiVersion {
    fn from(answer: ApiVersionAnswer) -> Self {
        Self::new(answer.major, answer.minor)
    }
}

layout! {
    /// Asks whether an object may work.
    IsEnabled {}
}

layout! {
    /// Whether an object may work.
    IsEnabledAnswer {
        /// In bit 0; the others have no meaning.
        8 enabled: u8,
    }
}
command!(IsEnabled => IsEnabledAnswer, id::IS_ENABLED, reads: true);
