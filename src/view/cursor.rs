//! Where a page of a list ended. Opaque to whoever holds it: its words are ours and may change.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;

use super::Failure;
use super::parameters::storable;

/// Most characters of a cursor; ours are far shorter.
const MAX_LENGTH: usize = 200;

/// The list that a cursor belongs to, and the numbers of its last item's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    list: String,
    key: Vec<i128>,
}

impl Cursor {
    /// For the list `list`; the name holds whatever else must stay the same from page to page.
    pub fn new(list: impl Into<String>, key: Vec<i128>) -> Self {
        Self { list: list.into(), key }
    }

    /// The key of a cursor of the list `list`, which has `N` numbers.
    pub fn key_of<const N: usize>(text: &str, list: &str) -> Result<[i128; N], Failure> {
        let cursor: Self = text.parse().map_err(|()| refusal())?;
        if cursor.list == list { cursor.key.try_into().map_err(|_| refusal()) } else { Err(refusal()) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.key.iter().map(ToString::to_string).collect();
        out.write_str(&URL_SAFE_NO_PAD.encode(format!("{} {}", self.list, numbers.join(" "))))
    }
}

impl FromStr for Cursor {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() > MAX_LENGTH {
            return Err(());
        }
        let plain = URL_SAFE_NO_PAD.decode(text).map_err(drop)?;
        let mut words = std::str::from_utf8(&plain).map_err(drop)?.split(' ');
        let list = words.next().ok_or(())?.to_owned();
        let key = words.map(|word| word.parse().map_err(drop)).collect::<Result<_, ()>>()?;
        Ok(Self { list, key })
    }
}

/// A number of a cursor in the type that its list uses.
pub(super) fn narrow<T: TryFrom<i128>>(number: i128) -> Result<T, Failure> {
    T::try_from(number).map_err(|_| refusal())
}

/// An instant of a cursor, in nanoseconds since 1970.
pub(super) fn instant(number: i128) -> Result<OffsetDateTime, Failure> {
    let instant = OffsetDateTime::from_unix_timestamp_nanos(number).ok().and_then(storable);
    instant.ok_or_else(refusal)
}

/// The cursor of a list that is sorted by a name.
pub(super) fn after_name(list: &str, name: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list} {name}"))
}

/// The name in a cursor of the list `list`.
pub(super) fn name_of(text: &str, list: &str) -> Result<String, Failure> {
    let plain = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let name = plain.as_deref().and_then(|plain| plain.strip_prefix(list)?.strip_prefix(' '));
    name.filter(|name| !name.contains('\0')).map(ToOwned::to_owned).ok_or_else(refusal)
}

fn refusal() -> Failure {
    Failure::parameter("after", "not a cursor of this list; take it from `next`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let text = Cursor::new("findings.severity", vec![-3, i128::from(u64::MAX)]).to_string();
        assert_eq!(Cursor::key_of::<2>(&text, "findings.severity"), Ok([-3, i128::from(u64::MAX)]));
    }

    #[test]
    fn cursors_of_other_lists_and_noise_are_refused() {
        let other = Cursor::new("findings.last_seen", vec![1, 2]).to_string();
        for text in [other.as_str(), "", "!", "AAAA", "Zm9v", &"A".repeat(1000)] {
            assert!(Cursor::key_of::<2>(text, "findings.severity").is_err(), "{text}");
        }
        let short = Cursor::new("findings.severity", vec![1]).to_string();
        assert!(Cursor::key_of::<2>(&short, "findings.severity").is_err());
    }
}
