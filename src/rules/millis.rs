//! Thresholds in time. Written `50ms` or `2s`, so that nobody has to remember a unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u32);

/// Nanoseconds to whole milliseconds, for sentences.
pub(crate) fn whole_ms(ns: i64) -> i64 {
    ns.saturating_add(500_000) / 1_000_000
}

impl Millis {
    /// The same as a duration.
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0))
    }

    /// The same in nanoseconds, as spans count.
    pub fn ns(self) -> i64 {
        i64::from(self.0) * 1_000_000
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 != 0 && self.0.is_multiple_of(1000) {
            write!(out, "{}s", self.0 / 1000)
        } else {
            write!(out, "{}ms", self.0)
        }
    }
}

impl FromStr for Millis {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time such as 50ms or 2s");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u32 = text[..digits].parse().map_err(|_| wrong())?;
        let factor = match text[digits..].trim() {
            "ms" => 1,
            "s" => 1000,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_print_alike() {
        for text in ["0ms", "50ms", "2s", "1500ms"] {
            assert_eq!(text.parse::<Millis>().unwrap().to_string(), text);
        }
        for text in ["", "50", "ms", "-1ms", "1h", "9999999999ms", "4294967296s"] {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
    }
}
