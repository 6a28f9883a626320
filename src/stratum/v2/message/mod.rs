//! The messages of the mining protocol, one struct each, by the direction they come from.
//!
//! No state: whether a message is due is for sessions and links to judge. Invariant: what a parser lets through can be
//! written and read back the same. Names and order of fields are the specification's; texts and byte strings are views
//! into the frame; hashes and targets are in wire order, which is little-endian.
//!
//! # What follows the last field
//! Extensions append fields of their own to known messages (3.4.3, see [`super::tlv`]), so bytes that follow a known
//! message are not an error: `SubmitSharesExtended` keeps them as `tlv`, every other message drops them.
//!
//! # Where the specification's table and SRI disagree
//! Chapter 8 has no channel bit for `NewMiningJob` and `SetCustomMiningJob`, SRI has. We write as SRI, since their payload
//! does begin with a channel id, and read either.

mod channel;
mod common;
mod extension;
mod job;
mod share;

use std::borrow::Cow;
use std::fmt::Write;

pub use super::wire::{Hashes, Numbers, U16s, U32s};
pub use channel::*;
pub use common::*;
pub use extension::*;
pub use job::*;
pub use share::*;

use super::frame::Frame;

/// Longest text, in bytes: its length is one byte.
pub const MAX_TEXT: usize = 255;
/// Extension of the protocol itself.
const CORE: u16 = 0x0000;
/// Extension by which the others are agreed on.
const NEGOTIATION: u16 = 0x0001;

/// Why bytes are not the message that their header says. Whoever sent them cannot be followed any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The payload ends within a field.
    #[error("a message ends within a field")]
    Short,
    /// A length or count is more than the field may have.
    #[error("a length is more than its field may have")]
    Length,
    /// A number that the field cannot mean: a hash rate that is negative, endless or none.
    #[error("a hash rate is no number of hashes per second")]
    Value,
}

/// What a miner (or a proxy below us) sends.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(missing_docs, reason = "each is the message of its name")]
pub enum FromMiner<'a> {
    SetupConnection(SetupConnection<'a>),
    RequestExtensions(RequestExtensions<'a>),
    OpenStandardMiningChannel(OpenStandardMiningChannel<'a>),
    OpenExtendedMiningChannel(OpenExtendedMiningChannel<'a>),
    UpdateChannel(UpdateChannel),
    CloseChannel(CloseChannel<'a>),
    SubmitSharesStandard(SubmitSharesStandard),
    SubmitSharesExtended(SubmitSharesExtended<'a>),
    SetCustomMiningJob(SetCustomMiningJob<'a>),
}

impl<'a> FromMiner<'a> {
    /// `Ok(None)`: of an extension or a kind that we do not know, to be ignored (3.4).
    pub fn parse(frame: &Frame<'a>) -> Result<Option<Self>, Malformed> {
        let payload = frame.payload;
        let message = match (frame.header.extension, frame.header.kind) {
            (CORE, SubmitSharesExtended::KIND) => {
                Self::SubmitSharesExtended(SubmitSharesExtended::parse(payload)?)
            }
            (CORE, SubmitSharesStandard::KIND) => {
                Self::SubmitSharesStandard(SubmitSharesStandard::parse(payload)?)
            }
            (CORE, SetupConnection::KIND) => {
                Self::SetupConnection(SetupConnection::parse(payload)?)
            }
            (NEGOTIATION, RequestExtensions::KIND) => {
                Self::RequestExtensions(RequestExtensions::parse(payload)?)
            }
            (CORE, OpenStandardMiningChannel::KIND) => {
                Self::OpenStandardMiningChannel(OpenStandardMiningChannel::parse(payload)?)
            }
            (CORE, OpenExtendedMiningChannel::KIND) => {
                Self::OpenExtendedMiningChannel(OpenExtendedMiningChannel::parse(payload)?)
            }
            (CORE, UpdateChannel::KIND) => Self::UpdateChannel(UpdateChannel::parse(payload)?),
            (CORE, CloseChannel::KIND) => Self::CloseChannel(CloseChannel::parse(payload)?),
            (CORE, SetCustomMiningJob::KIND) => {
                Self::SetCustomMiningJob(SetCustomMiningJob::parse(payload)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(message))
    }
}

/// What a pool (or a proxy above us) sends. Answers to `SetCustomMiningJob` are not among it: we never ask.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(missing_docs, reason = "each is the message of its name")]
pub enum FromPool<'a> {
    SetupConnectionSuccess(SetupConnectionSuccess),
    SetupConnectionError(SetupConnectionError<'a>),
    ChannelEndpointChanged(ChannelEndpointChanged),
    Reconnect(Reconnect<'a>),
    RequestExtensionsSuccess(RequestExtensionsSuccess<'a>),
    RequestExtensionsError(RequestExtensionsError<'a>),
    OpenStandardMiningChannelSuccess(OpenStandardMiningChannelSuccess<'a>),
    OpenExtendedMiningChannelSuccess(OpenExtendedMiningChannelSuccess<'a>),
    OpenMiningChannelError(OpenMiningChannelError<'a>),
    UpdateChannelError(UpdateChannelError<'a>),
    CloseChannel(CloseChannel<'a>),
    SetExtranoncePrefix(SetExtranoncePrefix<'a>),
    SubmitSharesSuccess(SubmitSharesSuccess),
    SubmitSharesError(SubmitSharesError<'a>),
    NewMiningJob(NewMiningJob),
    NewExtendedMiningJob(NewExtendedMiningJob<'a>),
    SetNewPrevHash(SetNewPrevHash),
    SetTarget(SetTarget),
    SetGroupChannel(SetGroupChannel<'a>),
}

impl<'a> FromPool<'a> {
    /// `Ok(None)`: of an extension or a kind that we do not know, to be ignored (3.4).
    pub fn parse(frame: &Frame<'a>) -> Result<Option<Self>, Malformed> {
        match frame.header.extension {
            CORE => Self::core(frame.header.kind, frame.payload),
            NEGOTIATION => Self::negotiation(frame.header.kind, frame.payload),
            _ => Ok(None),
        }
    }

    fn core(kind: u8, payload: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let message = match kind {
            SetupConnectionSuccess::KIND => {
                Self::SetupConnectionSuccess(SetupConnectionSuccess::parse(payload)?)
            }
            SetupConnectionError::KIND => {
                Self::SetupConnectionError(SetupConnectionError::parse(payload)?)
            }
            ChannelEndpointChanged::KIND => {
                Self::ChannelEndpointChanged(ChannelEndpointChanged::parse(payload)?)
            }
            Reconnect::KIND => Self::Reconnect(Reconnect::parse(payload)?),
            OpenStandardMiningChannelSuccess::KIND => Self::OpenStandardMiningChannelSuccess(
                OpenStandardMiningChannelSuccess::parse(payload)?,
            ),
            OpenExtendedMiningChannelSuccess::KIND => Self::OpenExtendedMiningChannelSuccess(
                OpenExtendedMiningChannelSuccess::parse(payload)?,
            ),
            OpenMiningChannelError::KIND => {
                Self::OpenMiningChannelError(OpenMiningChannelError::parse(payload)?)
            }
            UpdateChannelError::KIND => {
                Self::UpdateChannelError(UpdateChannelError::parse(payload)?)
            }
            CloseChannel::KIND => Self::CloseChannel(CloseChannel::parse(payload)?),
            SetExtranoncePrefix::KIND => {
                Self::SetExtranoncePrefix(SetExtranoncePrefix::parse(payload)?)
            }
            SubmitSharesSuccess::KIND => {
                Self::SubmitSharesSuccess(SubmitSharesSuccess::parse(payload)?)
            }
            SubmitSharesError::KIND => Self::SubmitSharesError(SubmitSharesError::parse(payload)?),
            NewMiningJob::KIND => Self::NewMiningJob(NewMiningJob::parse(payload)?),
            NewExtendedMiningJob::KIND => {
                Self::NewExtendedMiningJob(NewExtendedMiningJob::parse(payload)?)
            }
            SetNewPrevHash::KIND => Self::SetNewPrevHash(SetNewPrevHash::parse(payload)?),
            SetTarget::KIND => Self::SetTarget(SetTarget::parse(payload)?),
            SetGroupChannel::KIND => Self::SetGroupChannel(SetGroupChannel::parse(payload)?),
            _ => return Ok(None),
        };
        Ok(Some(message))
    }

    fn negotiation(kind: u8, payload: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let message = match kind {
            RequestExtensionsSuccess::KIND => {
                Self::RequestExtensionsSuccess(RequestExtensionsSuccess::parse(payload)?)
            }
            RequestExtensionsError::KIND => {
                Self::RequestExtensionsError(RequestExtensionsError::parse(payload)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(message))
    }
}

/// As much of a text as a message can carry: 255 bytes, whole characters where it is UTF-8.
pub fn clip(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(MAX_TEXT)]
}

/// A peer's text for logs and names: printable ASCII as it is, every other byte as `%XX`, at most 255 bytes of it all.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte);
    let plain = bytes
        .iter()
        .take(MAX_TEXT)
        .take_while(|byte| is_plain(byte));
    let plain = &bytes[..plain.count()];
    let head = std::str::from_utf8(plain).expect("printable ASCII is UTF-8");
    let rest = &bytes[plain.len()..];
    if rest.is_empty() || head.len() == MAX_TEXT {
        return Cow::Borrowed(head);
    }
    let mut text = head.to_owned();
    for byte in rest {
        let length = if is_plain(byte) { 1 } else { 3 };
        if text.len() + length > MAX_TEXT {
            break;
        }
        if is_plain(byte) {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes all");
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests;
