//! How the values of OTLP/JSON are read: leniently, and never without room. Which field holds what stands in `json`.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{MAX_DEPTH, NoRoom, Room, weight};

/// A message that is filled field by field.
pub(super) trait Fields: Default {
    /// Reads the field of this name, or skips it.
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, field: Field<'_, A>) -> Result<(), A::Error>;
}

/// The value of the field that is being read.
pub(super) struct Field<'f, A> {
    map: &'f mut A,
    meter: &'f Meter<'f>,
}

/// Counts what is taken, and how deep we are.
pub(super) struct Meter<'r> {
    room: Room<'r>,
    /// Taken and not yet asked for: single texts are too many to ask for each.
    unasked: Cell<usize>,
    refusal: Cell<Option<NoRoom>>,
    depth: Cell<u32>,
}

const ASK_EVERY: usize = 64 << 10;

impl<'r> Meter<'r> {
    pub(super) fn new(room: Room<'r>) -> Self {
        Self { room, unasked: Cell::new(0), refusal: Cell::new(None), depth: Cell::new(0) }
    }

    fn take<E: Error>(&self, bytes: usize) -> Result<(), E> {
        self.unasked.set(self.unasked.get() + bytes);
        if self.unasked.get() < ASK_EVERY { Ok(()) } else { self.settle().map_err(|_| E::custom("no room")) }
    }

    /// Asks for what has been taken since it last asked, and tells if it ever was refused.
    pub(super) fn settle(&self) -> Result<(), NoRoom> {
        if let Some(refused) = self.refusal.get() {
            return Err(refused);
        }
        (self.room)(self.unasked.take()).inspect_err(|no_room| self.refusal.set(Some(*no_room)))
    }
}

impl<'de, A: MapAccess<'de>> Field<'_, A> {
    /// Passes over whatever it holds.
    pub(super) fn skip(self) -> Result<(), A::Error> {
        self.map.next_value::<IgnoredAny>().map(|_| ())
    }

    /// Text, number or truth value; `null` leaves the default.
    pub(super) fn value<T: FromScalar>(self, into: &mut T) -> Result<(), A::Error> {
        if let Some(value) = self.given()? {
            *into = value;
        }
        Ok(())
    }

    /// The same, where absence and default differ.
    pub(super) fn given<T: FromScalar>(self) -> Result<Option<T>, A::Error> {
        let scalar = self.map.next_value::<Scalar<'de>>()?;
        self.meter.take::<A::Error>(scalar.weight())?;
        scalar.read()
    }

    /// An enum: number, number as text, or name. A name that nobody knows is 0, "unspecified": newer senders may
    /// have more of them.
    pub(super) fn choice(self, into: &mut i32, by_name: fn(&str) -> Option<i32>) -> Result<(), A::Error> {
        match self.map.next_value::<Scalar<'de>>()? {
            Scalar::Text(text) if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                *into = by_name(&text).unwrap_or(0);
            }
            scalar => {
                if let Some(number) = scalar.read()? {
                    *into = number;
                }
            }
        }
        Ok(())
    }

    /// An identifier as hexadecimal, either case. What is none becomes an identifier of one byte, which is wrong
    /// everywhere: then its span alone is rejected, not all that came with it.
    pub(super) fn hex(self, into: &mut Vec<u8>) -> Result<(), A::Error> {
        let scalar = self.map.next_value::<Scalar<'de>>()?;
        self.meter.take::<A::Error>(scalar.weight())?;
        if let Scalar::Text(text) = &scalar {
            *into = from_hex(text).unwrap_or_else(|| vec![0]);
            return Ok(());
        }
        // Anything else but `null` is refused.
        scalar.read::<String, _>().map(|_| ())
    }

    /// Bytes as base64, with either alphabet, padded or not.
    pub(super) fn base64(self) -> Result<Option<Vec<u8>>, A::Error> {
        let Some(text) = self.given::<String>()? else { return Ok(None) };
        let standard = text.replace('-', "+").replace('_', "/");
        BASE64.decode(standard).map(Some).map_err(|error| A::Error::custom(format_args!("base64: {error}")))
    }

    /// A message; `null` leaves it absent.
    pub(super) fn message<T: Fields>(self, into: &mut Option<T>) -> Result<(), A::Error> {
        let mut inner = into.take();
        let given = self.map.next_value_seed(Object(inner.get_or_insert_default(), self.meter))?;
        *into = inner.filter(|_| given);
        Ok(())
    }

    /// A message that may hold values again.
    pub(super) fn nested<T: Fields>(self) -> Result<Option<T>, A::Error> {
        let depth = self.meter.depth.get() + 1;
        if depth > MAX_DEPTH {
            return Err(A::Error::custom("attribute value nested too deep"));
        }
        let meter = self.meter;
        meter.depth.set(depth);
        let mut inner = None;
        self.message(&mut inner)?;
        meter.depth.set(depth - 1);
        Ok(inner)
    }

    /// Messages; `null` is no message, as a list or within one.
    pub(super) fn list<T: Fields>(self, into: &mut Vec<T>) -> Result<(), A::Error> {
        self.map.next_value_seed(List(into, self.meter))
    }

    /// Texts, likewise.
    pub(super) fn texts(self, into: &mut Vec<String>) -> Result<(), A::Error> {
        self.map.next_value_seed(Texts(into, self.meter))
    }
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    rest.is_empty().then_some(bytes)
}

/// Fills a message from an object; says whether there was one, or `null`.
pub(super) struct Object<'f, T>(pub(super) &'f mut T, pub(super) &'f Meter<'f>);

impl<'de, T: Fields> DeserializeSeed<'de> for Object<'_, T> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Fields> Visitor<'de> for Object<'_, T> {
    type Value = bool;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while let Some(Scalar::Text(name)) = map.next_key::<Scalar<'de>>()? {
            self.0.read(&name, Field { map: &mut map, meter: self.1 })?;
        }
        Ok(true)
    }
}

struct List<'f, T>(&'f mut Vec<T>, &'f Meter<'f>);

impl<'de, T: Fields> DeserializeSeed<'de> for List<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Fields> Visitor<'de> for List<'_, T> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self(list, meter) = self;
        let mut element = T::default();
        while let Some(given) = seq.next_element_seed(Object(&mut element, meter))? {
            if given {
                meter.take::<A::Error>(weight::of_push(list.len(), size_of::<T>()))?;
                list.push(std::mem::take(&mut element));
            }
        }
        Ok(())
    }
}

struct Texts<'f>(&'f mut Vec<String>, &'f Meter<'f>);

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of texts")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self(list, meter) = self;
        while let Some(scalar) = seq.next_element::<Scalar<'de>>()? {
            let taken = scalar.weight() + weight::of_push(list.len(), size_of::<String>());
            meter.take::<A::Error>(taken)?;
            list.extend(scalar.read::<String, A::Error>()?);
        }
        Ok(())
    }
}

/// Whatever is neither list nor object.
pub(super) enum Scalar<'de> {
    Null,
    Truth(bool),
    Whole(i128),
    Real(f64),
    Text(Cow<'de, str>),
}

impl Scalar<'_> {
    fn weight(&self) -> usize {
        if let Self::Text(text) = self { weight::of_leaf(text.len()) } else { 0 }
    }

    fn read<T: FromScalar, E: Error>(self) -> Result<Option<T>, E> {
        if let Self::Null = self {
            return Ok(None);
        }
        T::from_scalar(self).map(Some).map_err(|other| {
            let found = other.describe();
            E::custom(format_args!("expected {}, found {found}", T::EXPECTED))
        })
    }

    fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Truth(truth) => truth.to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            // Enough to recognise it by.
            Self::Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        }
    }

    /// The number it holds or spells, if it is a whole one.
    fn whole(&self) -> Option<i128> {
        match self {
            Self::Whole(number) => Some(*number),
            Self::Real(number) if number.fract() == 0.0 && number.abs() < 2f64.powi(64) => {
                Some(*number as i128)
            }
            Self::Text(text) => {
                // Nearly every one is a time, for which the narrow type is enough and much faster.
                let whole = text.parse::<u64>().map(i128::from).or_else(|_| text.parse());
                whole.ok().or_else(|| text.parse().ok().and_then(|real| Scalar::Real(real).whole()))
            }
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a single value")
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Truth(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Whole(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Whole(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Real(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }
}

/// What a single value can be read as.
pub(super) trait FromScalar: Sized {
    /// For the message when it cannot.
    const EXPECTED: &'static str;

    /// Gives it back where it cannot.
    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Scalar<'_>>;
}

impl FromScalar for String {
    const EXPECTED: &'static str = "text";

    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Scalar<'_>> {
        if let Scalar::Text(text) = scalar { Ok(text.into_owned()) } else { Err(scalar) }
    }
}

impl FromScalar for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Scalar<'_>> {
        match &scalar {
            Scalar::Truth(truth) => Some(*truth),
            Scalar::Text(text) => text.parse().ok(),
            _ => None,
        }
        .ok_or(scalar)
    }
}

/// `NaN`, `Infinity` and `-Infinity` are texts in JSON.
impl FromScalar for f64 {
    const EXPECTED: &'static str = "a number";

    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Scalar<'_>> {
        match &scalar {
            Scalar::Whole(number) => Some(*number as f64),
            Scalar::Real(number) => Some(*number),
            Scalar::Text(text) => text.parse().ok(),
            _ => None,
        }
        .ok_or(scalar)
    }
}

macro_rules! whole {
    ($($type:ty: $expected:literal),+) => { $(
        impl FromScalar for $type {
            const EXPECTED: &'static str = $expected;

            fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Scalar<'_>> {
                scalar.whole().and_then(|whole| whole.try_into().ok()).ok_or(scalar)
            }
        }
    )+ };
}

whole!(i32: "a whole number of 32 bits", u32: "a whole number from 0 to 4294967295",
       i64: "a whole number of 64 bits", u64: "a whole number from 0 to 18446744073709551615");
