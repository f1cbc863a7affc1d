//! A protobuf request, one item after another: what can stay as it came is not decoded.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::plain::{self, Limits, Plain};
use super::wire::{Fields, Held};
use super::{DecodeError, Malformed, NoRoom, Place, Room, otlp, weight};

/// What a request holds. A span belongs to the resource and the scope before it.
#[derive(Debug)]
pub enum Item<'a> {
    /// Of the spans that follow.
    Resource(Resource),
    /// Likewise.
    Scope(InstrumentationScope),
    /// A span that can be stored as it came.
    Plain(Plain<'a>),
    /// One that cannot, or perhaps not.
    Decoded(Span),
}

/// Takes the items of a request.
pub type Take<'t> = &'t mut dyn FnMut(Item<'_>) -> Result<(), NoRoom>;

/// Reads an `ExportTraceServiceRequest` and hands on what it holds. Where it fails, some was handed on already.
pub fn protobuf(bytes: &[u8], limits: &Limits, room: Room<'_>, take: Take<'_>) -> Result<(), DecodeError> {
    match (Walk { limits, room, take }).request(bytes) {
        Ok(()) => Ok(()),
        Err(Stop::NoRoom(no_room)) => Err(no_room.into()),
        Err(Stop::Broken) => Err(broken(bytes, room)),
    }
}

/// The decoder for whole requests knows what is wrong, and where.
fn broken(bytes: &[u8], room: Room<'_>) -> DecodeError {
    let unread = || Malformed::at(Place::Within(bytes.len()), "cannot be read").into();
    otlp::protobuf(bytes, room).err().unwrap_or_else(unread)
}

enum Stop {
    NoRoom(NoRoom),
    Broken,
}

impl From<NoRoom> for Stop {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}

struct Walk<'w> {
    limits: &'w Limits,
    room: Room<'w>,
    take: Take<'w>,
}

impl Walk<'_> {
    fn request(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        each(bytes, 1, |exports| self.of_resource(exports))
    }

    fn of_resource(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let resource = merged(bytes, 1)?;
        (self.room)(weight::of_resource(&resource).map_err(|_| Stop::Broken)?)?;
        (self.take)(Item::Resource(Resource::decode(&*resource).map_err(|_| Stop::Broken)?))?;
        each(bytes, 2, |spans| self.of_scope(spans))
    }

    fn of_scope(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let scope = merged(bytes, 1)?;
        (self.room)(weight::of_scope(&scope).map_err(|_| Stop::Broken)?)?;
        (self.take)(Item::Scope(InstrumentationScope::decode(&*scope).map_err(|_| Stop::Broken)?))?;
        each(bytes, 2, |span| self.span(span))
    }

    fn span(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if let Some(plain) = plain::read(bytes, self.limits) {
            return Ok((self.take)(Item::Plain(plain))?);
        }
        // Not for long, but for many it is work without end.
        (self.room)(size_of::<Span>() + weight::of_span(bytes).map_err(|_| Stop::Broken)?)?;
        Ok((self.take)(Item::Decoded(Span::decode(bytes).map_err(|_| Stop::Broken)?))?)
    }
}

/// Every message with this number.
fn each<'a>(
    bytes: &'a [u8],
    number: u32,
    mut with: impl FnMut(&'a [u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    for field in Fields(bytes) {
        match field.ok_or(Stop::Broken)? {
            (found, Held::Bytes(message)) if found == number => with(message)?,
            (found, _) if found == number => return Err(Stop::Broken),
            _ => {}
        }
    }
    Ok(())
}

/// A message that is given once, as a rule. Given in parts, it is what the parts are one behind the other.
fn merged(bytes: &[u8], number: u32) -> Result<Cow<'_, [u8]>, Stop> {
    let mut merged = Cow::Borrowed(&[][..]);
    each(bytes, number, |part| {
        if merged.is_empty() {
            merged = Cow::Borrowed(part);
        } else {
            merged.to_mut().extend_from_slice(part);
        }
        Ok(())
    })?;
    Ok(merged)
}
