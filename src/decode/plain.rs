//! Spans that can be stored as they came.
//!
//! Nearly every span is written in the one form that encoders give it, keeps within the limits and holds no secret.
//! To decode, redact, trim and encode such a span would give the same bytes again, so one look at them is enough.
//! Whatever this look is not sure of is left to those four.

use super::wire::{self, Held};
use crate::model::{SpanId, TraceId};
use crate::semconv::secrets;

/// What a span may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Attributes, events and links, each.
    pub count: usize,
    /// Bytes of a text or of a value.
    pub length: usize,
}

/// A span: what has a column, read, and the rest as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// Its trace.
    pub trace_id: TraceId,
    /// Itself.
    pub span_id: SpanId,
    /// The span that caused it.
    pub parent: Option<SpanId>,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Likewise.
    pub end: u64,
    /// One of those that OTLP knows.
    pub kind: i16,
    /// Likewise.
    pub status: i16,
    /// Without NUL.
    pub name: &'a str,
    rest: Rest<'a>,
}

/// Fields without a column, in the order of their numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Rest<'a> {
    trace_state: &'a [u8],
    /// Attributes, events, links, and how many of each were dropped, in as many pieces as it takes to leave zeros out.
    body: [&'a [u8]; 4],
    /// What the status holds beside its code.
    status: Option<&'a [u8]>,
    flags: &'a [u8],
}

/// Deepest nesting of lists that is looked into.
const DEEPEST: u32 = 4;
/// Above the numbers of all kinds, and of all codes of a status.
const KINDS: u64 = 6;
const CODES: u64 = 3;
const STATUS_KEY: u8 = 15 << 3 | 2;
/// Attributes, events and links of a span.
const LISTS: u32 = 1 << 9 | 1 << 11 | 1 << 13;

impl Plain<'_> {
    /// Writes the fields that have no column, as an encoder would.
    pub fn write_rest(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.rest.trace_state);
        self.rest.body.iter().for_each(|piece| out.extend_from_slice(piece));
        if let Some(status) = self.rest.status {
            out.push(STATUS_KEY);
            wire::push_varint(out, status.len() as u64);
            out.extend_from_slice(status);
        }
        out.extend_from_slice(self.rest.flags);
    }
}

/// Reads a span, if it can be stored as it is.
///
/// Budget: 1.5 µs for 700 bytes.
pub(super) fn read<'a>(bytes: &'a [u8], limits: &Limits) -> Option<Plain<'a>> {
    let (mut trace_id, mut span_id, mut parent) = (None, None, None);
    let (mut start, mut end, mut kind, mut status) = (0, 0, 0, 0);
    let (mut name, mut rest) = ("", Rest::default());
    let mut lists = [0; 3];
    let mut piece = 0;
    let mut message = Message::new(bytes, LISTS);
    while message.goes_on() {
        let Field { number, held, whole } = message.next()?;
        match (number, held) {
            (1, Held::Bytes(id)) => trace_id = TraceId::from_bytes(id),
            (2, Held::Bytes(id)) => span_id = SpanId::from_bytes(id),
            (3, Held::Bytes(text)) => {
                filled(limits.text(text)?)?;
                rest.trace_state = whole;
            }
            // Some senders write "none" as zeros.
            (4, Held::Bytes(id)) if id.iter().all(|byte| *byte == 0) && matches!(id.len(), 0 | 8) => {}
            (4, Held::Bytes(id)) => parent = Some(SpanId::from_bytes(id)?),
            (5, Held::Bytes(text)) => name = limits.open_text(text).filter(|name| !name.contains('\0'))?,
            (6, Held::Varint(sent)) if sent < KINDS => kind = sent as i16,
            (7, Held::Fixed64(time)) => start = time,
            (8, Held::Fixed64(time)) => end = time,
            (9 | 11 | 13, Held::Bytes(element)) => {
                limits.counted(&mut lists[(number - 9) as usize / 2])?;
                match number {
                    9 => limits.pair(element, 0)?,
                    11 => limits.event(element)?,
                    _ => limits.link(element)?,
                }
            }
            // Some senders write that nothing was dropped.
            (10 | 12 | 14, Held::Varint(0)) => {
                piece += 1;
                continue;
            }
            (10 | 12 | 14, Held::Varint(count)) => dropped(count)?,
            (15, Held::Bytes(sent)) => (status, rest.status) = limits.status(sent)?,
            (16, Held::Fixed32(1..)) => rest.flags = whole,
            _ => return None,
        }
        if (9..15).contains(&number) {
            let until = message.read();
            let from = until - whole.len() - rest.body[piece].len();
            rest.body[piece] = &bytes[from..until];
        }
    }
    Some(Plain { trace_id: trace_id?, span_id: span_id?, parent, start, end, kind, status, name, rest })
}

impl Limits {
    fn text<'a>(&self, bytes: &'a [u8]) -> Option<&'a str> {
        if self.length < bytes.len() {
            return None;
        }
        std::str::from_utf8(bytes).ok()
    }

    /// A text that may hold a secret, and holds none.
    fn open_text<'a>(&self, bytes: &'a [u8]) -> Option<&'a str> {
        self.text(bytes).filter(|text| !secrets::is_in(text))
    }

    /// One more of a list.
    fn counted(&self, length: &mut usize) -> Option<()> {
        *length += 1;
        (*length <= self.count).then_some(())
    }

    /// `depth` counts the lists around it.
    fn pair(&self, bytes: &[u8], depth: u32) -> Option<()> {
        let (mut key, mut value) = ("", None);
        let mut message = Message::new(bytes, 0);
        while message.goes_on() {
            match message.next()? {
                Field { number: 1, held: Held::Bytes(text), .. } => key = filled(self.text(text)?)?,
                Field { number: 2, held: Held::Bytes(sent), .. } => value = Some(sent),
                _ => return None,
            }
        }
        if secrets::is_named_by(key) {
            return None;
        }
        value.map_or(Some(()), |sent| self.value(sent, depth))
    }

    fn value(&self, bytes: &[u8], depth: u32) -> Option<()> {
        if bytes.is_empty() {
            return Some(());
        }
        let mut message = Message::new(bytes, 0);
        match message.next()? {
            Field { number: 1, held: Held::Bytes(text), .. } => _ = self.open_text(text)?,
            Field { number: 2, held: Held::Varint(0 | 1), .. }
            | Field { number: 3, held: Held::Varint(_), .. }
            | Field { number: 4, held: Held::Fixed64(_), .. } => {}
            Field { number: number @ (5 | 6), held: Held::Bytes(list), .. } => {
                // What is cut from a list is never more than how long it is written.
                if DEEPEST <= depth || self.length < list.len() {
                    return None;
                }
                self.list(list, number == 6, depth + 1)?;
            }
            // Bytes that are no text are not looked into.
            Field { number: 7, held: Held::Bytes(bytes), .. } if bytes.len() <= self.length => {
                if std::str::from_utf8(bytes).is_ok_and(secrets::is_in) {
                    return None;
                }
            }
            _ => return None,
        }
        (!message.goes_on()).then_some(())
    }

    fn list(&self, bytes: &[u8], of_pairs: bool, depth: u32) -> Option<()> {
        let mut message = Message::new(bytes, 1 << 1);
        while message.goes_on() {
            match message.next()? {
                Field { number: 1, held: Held::Bytes(pair), .. } if of_pairs => self.pair(pair, depth)?,
                Field { number: 1, held: Held::Bytes(value), .. } => self.value(value, depth)?,
                _ => return None,
            }
        }
        Some(())
    }

    fn event(&self, bytes: &[u8]) -> Option<()> {
        let mut pairs = 0;
        let mut message = Message::new(bytes, 1 << 3);
        while message.goes_on() {
            match message.next()? {
                Field { number: 1, held: Held::Fixed64(1..), .. } => {}
                Field { number: 2, held: Held::Bytes(name), .. } => _ = filled(self.open_text(name)?)?,
                Field { number: 3, held: Held::Bytes(pair), .. } => {
                    self.counted(&mut pairs)?;
                    self.pair(pair, 0)?;
                }
                Field { number: 4, held: Held::Varint(count), .. } => dropped(count)?,
                _ => return None,
            }
        }
        Some(())
    }

    fn link(&self, bytes: &[u8]) -> Option<()> {
        let mut pairs = 0;
        let mut message = Message::new(bytes, 1 << 4);
        while message.goes_on() {
            match message.next()? {
                Field { number: 1 | 2, held: Held::Bytes([_, ..]), .. }
                | Field { number: 6, held: Held::Fixed32(1..), .. } => {}
                Field { number: 3, held: Held::Bytes(text), .. } => _ = filled(self.text(text)?)?,
                Field { number: 4, held: Held::Bytes(pair), .. } => {
                    self.counted(&mut pairs)?;
                    self.pair(pair, 0)?;
                }
                Field { number: 5, held: Held::Varint(count), .. } => dropped(count)?,
                _ => return None,
            }
        }
        Some(())
    }

    /// The code of a status, and what else is to be kept of it.
    fn status<'a>(&self, bytes: &'a [u8]) -> Option<(i16, Option<&'a [u8]>)> {
        let (mut code, mut said): (i16, &[u8]) = (0, &[]);
        let mut message = Message::new(bytes, 0);
        while message.goes_on() {
            match message.next()? {
                Field { number: 2, held: Held::Bytes(text), whole } => {
                    filled(self.open_text(text)?)?;
                    said = whole;
                }
                Field { number: 3, held: Held::Varint(number), .. } if number < CODES => code = number as i16,
                _ => return None,
            }
        }
        Some((code, (code == 0 || !said.is_empty()).then_some(said)))
    }
}

/// What is empty or zero is not written at all.
fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn dropped(count: u64) -> Option<()> {
    (1..=u64::from(u32::MAX)).contains(&count).then_some(())
}

/// A message as encoders write it: fields in the order of their numbers, each once but for lists.
struct Message<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
    /// A bit for the number of each list.
    lists: u32,
    last: u32,
}

struct Field<'a> {
    number: u32,
    held: Held<'a>,
    /// With its key.
    whole: &'a [u8],
}

impl<'a> Message<'a> {
    fn new(bytes: &'a [u8], lists: u32) -> Self {
        Self { bytes, rest: bytes, lists, last: 0 }
    }

    fn goes_on(&self) -> bool {
        !self.rest.is_empty()
    }

    /// How many of its bytes were read.
    fn read(&self) -> usize {
        self.bytes.len() - self.rest.len()
    }

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        let from = self.read();
        let (number, held) = wire::field(&mut self.rest, wire::short_varint)?;
        let again = self.last == number && number < 32 && self.lists & (1 << number) != 0;
        if number <= self.last && !again {
            return None;
        }
        self.last = number;
        Some(Field { number, held, whole: &self.bytes[from..self.read()] })
    }
}
