//! Why the daemon refuses, and what that is as an HTTP status and as an exit code.

use serde::{Deserialize, Serialize};

/// Why a request was not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub code: Code,
    /// For people: what failed on what, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request cannot be understood.
    Invalid,
    /// The request's body is over the limit.
    TooLarge,
    /// The configuration file has errors; nothing was changed.
    Configuration,
    /// No virtual server or real server of that name.
    NotFound,
    /// No such path in this version.
    NoRoute,
    /// The path is there, the method is not.
    MethodNotAllowed,
    /// Not for this caller.
    Forbidden,
    /// The generation is not the one the caller saw.
    Conflict,
    /// Understood, but it cannot be done in this state.
    Refused,
    /// It was tried and failed; the running state is as before.
    Failed,
    /// The daemon is starting or ending.
    Unavailable,
    /// No answer before the deadline.
    Deadline,
}

impl Code {
    /// The status of the HTTP response.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Forbidden => 403,
            Self::NotFound | Self::NoRoute => 404,
            Self::MethodNotAllowed => 405,
            Self::Refused => 409,
            Self::Conflict => 412,
            Self::TooLarge => 413,
            Self::Configuration => 422,
            Self::Failed => 500,
            Self::Unavailable => 503,
            Self::Deadline => 504,
        }
    }

    /// The exit code of the command that asked.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::NoRoute
            | Self::MethodNotAllowed
            | Self::Forbidden
            | Self::Conflict
            | Self::Refused
            | Self::Failed => 1,
            Self::Invalid | Self::TooLarge | Self::Configuration => 2,
            Self::Unavailable | Self::Deadline => 3,
            Self::NotFound => 5,
        }
    }
}
