//! What both sides share: ids, the shape of a message, limits, error codes.

/// A request id as it is echoed: the verbatim text of a JSON scalar of at most 64 bytes, else `null`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Id<'a>(pub &'a str);

/// Why a line is not a message at all; the peer is closed and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or not an object, or not UTF-8.
    #[error("not a JSON object")]
    NotAnObject,
    /// Deeper than 8.
    #[error("nested deeper than 8")]
    TooDeep,
    /// A key twice.
    #[error("a key appears twice")]
    DuplicateKey,
    /// Neither a method nor a result.
    #[error("neither a request nor a response")]
    NoMethod,
}

/// Deepest nesting of a message.
pub const MAX_DEPTH: usize = 8;
