//! Parameters of a request, taken one by one by name; what nobody took is an error that names it.
//!
//! Nothing is guessed: an unknown name, a value that cannot be read, a name that may stand once and stands twice,
//! all are refused.

use std::fmt::Display;
use std::str::FromStr;

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::Failure;
use crate::config::Period;

/// Most values of one parameter.
pub const MAX_VALUES: usize = 50;
/// Longest value, in letters.
pub const MAX_LENGTH: usize = 1024;
/// Most items of one page of a list.
pub const MAX_LIMIT: u32 = 200;
/// Items of one page where nobody says.
const LIMIT: u32 = 50;

/// What of a query string has not been taken yet.
#[derive(Debug)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// All of a query string, decoded.
    pub fn new(pairs: Vec<(String, String)>) -> Result<Self, Failure> {
        for (name, value) in &pairs {
            if value.chars().nth(MAX_LENGTH).is_some() {
                return Err(Failure::parameter(name, format!("longer than {MAX_LENGTH} letters")));
            }
            // PostgreSQL text cannot hold it, so nothing stored could match.
            if value.contains('\0') {
                return Err(Failure::parameter(name, "contains a NUL character"));
            }
        }
        Ok(Self(pairs))
    }

    /// Parameters of a form, whose empty fields mean "any".
    pub fn of_form(pairs: Vec<(String, String)>) -> Result<Self, Failure> {
        Self::new(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    /// All values of a parameter that may stand several times.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        let (taken, rest) = std::mem::take(&mut self.0).into_iter().partition(|(key, _)| key == name);
        self.0 = rest;
        let taken: Vec<(String, String)> = taken;
        if taken.len() > MAX_VALUES {
            return Err(Failure::parameter(name, format!("at most {MAX_VALUES} times")));
        }
        Ok(taken.into_iter().map(|(_, value)| value).collect())
    }

    /// The value of a parameter that may stand once.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let mut values = self.texts(name)?;
        let first = values.pop();
        if values.is_empty() { Ok(first) } else { Err(Failure::parameter(name, "may be given once only")) }
    }

    /// All values, read as `T`.
    pub fn all<T: FromStr>(&mut self, name: &str) -> Result<Vec<T>, Failure>
    where
        T::Err: Display,
    {
        self.texts(name)?.iter().map(|value| read(name, value)).collect()
    }

    /// The value, read as `T`.
    pub fn one<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Failure>
    where
        T::Err: Display,
    {
        self.text(name)?.map(|value| read(name, &value)).transpose()
    }

    /// A value from a fixed set of words.
    pub fn word<T: Copy>(&mut self, name: &str, known: &[(&str, T)]) -> Result<Option<T>, Failure> {
        self.text(name)?.map(|value| among(name, &value, known)).transpose()
    }

    /// All values, each from a fixed set of words.
    pub fn words<T: Copy>(&mut self, name: &str, known: &[(&str, T)]) -> Result<Vec<T>, Failure> {
        self.texts(name)?.iter().map(|value| among(name, value, known)).collect()
    }

    /// An instant, or an age such as `24h` before `now`.
    pub fn instant(&mut self, name: &str, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, Failure> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        let age =
            || value.parse::<Period>().ok().and_then(|Period(age)| now.checked_sub(age.try_into().ok()?));
        let instant = rfc3339(&value).or_else(age);
        instant.map(Some).ok_or_else(|| {
            Failure::parameter(
                name,
                format!(
                    "{value:?} is neither an RFC 3339 instant such as 2026-01-31T12:00:00Z nor an age such as 24h"
                ),
            )
        })
    }

    /// Items of one page: 1 to `most`.
    pub fn limit(&mut self) -> Result<u32, Failure> {
        let limit = self.one::<u32>("limit")?.unwrap_or(LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) {
            Ok(limit)
        } else {
            Err(Failure::parameter("limit", format!("between 1 and {MAX_LIMIT}")))
        }
    }

    /// Everything has been taken.
    pub fn finish(self) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Failure::parameter(name, "no such parameter here")),
        }
    }
}

/// An instant as RFC 3339 writes it.
pub(super) fn rfc3339(text: &str) -> Option<OffsetDateTime> {
    storable(OffsetDateTime::parse(text, &Rfc3339).ok()?)
}

/// In UTC, where that is a year of four digits: others cannot be stored, or not be written.
pub(super) fn storable(instant: OffsetDateTime) -> Option<OffsetDateTime> {
    instant.checked_to_offset(UtcOffset::UTC).filter(|utc| (0..=9_999).contains(&utc.year()))
}

fn read<T: FromStr>(name: &str, value: &str) -> Result<T, Failure>
where
    T::Err: Display,
{
    value.parse().map_err(|error| Failure::parameter(name, format!("{value:?} cannot be read: {error}")))
}

fn among<T: Copy>(name: &str, value: &str, known: &[(&str, T)]) -> Result<T, Failure> {
    known.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        Failure::parameter(name, format!("{value:?} is none of {}", words.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Parameters::new(owned.collect()).unwrap()
    }

    fn named(failure: Failure) -> String {
        match failure {
            Failure::Parameter { name, .. } => name,
            other => panic!("{other:?} names no parameter"),
        }
    }

    #[test]
    fn what_nobody_took_is_named() {
        let mut parameters = parameters(&[("q", "x"), ("colour", "red")]);
        assert_eq!(parameters.text("q").unwrap().as_deref(), Some("x"));
        assert_eq!(named(parameters.finish().unwrap_err()), "colour");
    }

    #[test]
    fn a_single_parameter_that_stands_twice_is_refused() {
        assert_eq!(named(parameters(&[("q", "a"), ("q", "b")]).text("q").unwrap_err()), "q");
    }

    #[test]
    fn a_repeated_parameter_means_any_of() {
        let mut parameters = parameters(&[("service", "a"), ("service", "b")]);
        assert_eq!(parameters.texts("service").unwrap(), ["a", "b"]);
        assert!(parameters.finish().is_ok());
    }

    #[test]
    fn instants_are_absolute_or_ages() {
        let now = datetime!(2026-03-04 12:00 UTC);
        let read = |text: &str| parameters(&[("since", text)]).instant("since", now);
        assert_eq!(read("24h"), Ok(Some(datetime!(2026-03-03 12:00 UTC))));
        assert_eq!(read("2026-03-01T00:00:00+01:00"), Ok(Some(datetime!(2026-02-28 23:00 UTC))));
        for wrong in ["yesterday", "-1h", "2026-03-01", "999999999999999d", "9999-12-31T23:59:59-01:00"] {
            assert_eq!(named(read(wrong).unwrap_err()), "since", "{wrong}");
        }
    }

    #[test]
    fn limits_have_limits() {
        assert_eq!(parameters(&[]).limit(), Ok(50));
        assert_eq!(parameters(&[("limit", "200")]).limit(), Ok(200));
        for wrong in ["0", "201", "-1", "many", "4294967296"] {
            assert_eq!(named(parameters(&[("limit", wrong)]).limit().unwrap_err()), "limit", "{wrong}");
        }
    }

    #[test]
    fn nul_and_very_long_values_are_refused() {
        let nul = vec![("q".to_owned(), "a\0b".to_owned())];
        assert_eq!(named(Parameters::new(nul).unwrap_err()), "q");
        let long = vec![("q".to_owned(), "x".repeat(2000))];
        assert_eq!(named(Parameters::new(long).unwrap_err()), "q");
    }

    #[test]
    fn an_empty_field_of_a_form_means_any() {
        let pairs = vec![("q".to_owned(), String::new()), ("rule".to_owned(), "n_plus_one".to_owned())];
        let mut form = Parameters::of_form(pairs).unwrap();
        assert_eq!(form.text("q"), Ok(None));
        assert_eq!(form.text("rule"), Ok(Some("n_plus_one".to_owned())));
    }
}
