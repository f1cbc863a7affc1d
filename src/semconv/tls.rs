//! What a span says of the TLS that a connection speaks: what was agreed, whether it was verified, until when.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use time::format_description::StaticFormatDescription;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::field::Field;
use crate::model::TlsFacts;

/// What the attributes of one span say of TLS.
#[derive(Default)]
pub(super) struct Names<'a> {
    name: Field<'a>,
    version: Field<'a>,
    authorized: Field<'a>,
    not_after: Field<'a>,
}

impl<'a> Names<'a> {
    /// Takes an attribute about TLS.
    pub(super) fn take(&mut self, key: &str, value: &'a Value) {
        match key {
            "tls.protocol.name" => self.name.current(value),
            "tls.protocol.version" => self.version.current(value),
            // Node writes both in one word, and a text where it means yes or no.
            "tls.protocol" => self.version.former(value),
            "tls.authorized" => self.authorized.current(value),
            "tls.server.not_after" => self.not_after.current(value),
            "tls.certificate.validTo" => self.not_after.former(value),
            _ => {}
        }
    }

    /// The facts; `None` where nothing is said that matters.
    pub(super) fn facts(&self) -> Option<Box<TlsFacts>> {
        let known = [self.name, self.version, self.authorized, self.not_after];
        if !known.into_iter().any(Field::is_some) {
            return None;
        }
        let protocol = self.version.text().and_then(|version| {
            let name = self.name.text().unwrap_or_default();
            protocol(&name, &version)
        });
        let facts = TlsFacts {
            obsolete: protocol.as_ref().is_some_and(|(_, obsolete)| *obsolete),
            protocol: protocol.map(|(name, _)| name),
            unverified: self.authorized.text().is_some_and(|text| text.eq_ignore_ascii_case("false")),
            not_after_ns: self.not_after.text().and_then(|text| instant_ns(&text)),
        };
        Some(Box::new(facts))
    }
}

/// `("tls", "1.1")`, `("", "TLSv1.1")`, `("ssl", "3")` → the usual name, and whether nobody should speak it (RFC 8996).
fn protocol(name: &str, version: &str) -> Option<(String, bool)> {
    let is_ssl = |text: &str| text.get(..3).is_some_and(|first| first.eq_ignore_ascii_case("ssl"));
    let number = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    let (major, minor) = (major.parse::<u8>().ok()?, minor.parse::<u8>().ok()?);
    if is_ssl(name) || is_ssl(version) {
        return Some((format!("SSL {major}.{minor}"), true));
    }
    Some((format!("TLS {major}.{minor}"), (major, minor) < (1, 2)))
}

/// `2027-01-31T00:00:00Z`, or as OpenSSL writes it: `Jan 31 00:00:00 2027 GMT`. Nanoseconds since 1970.
fn instant_ns(text: &str) -> Option<i64> {
    const OPENSSL: StaticFormatDescription =
        format_description!("[month repr:short] [day padding:none] [hour]:[minute]:[second] [year] GMT");
    let instant = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| {
        let single_spaced = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(PrimitiveDateTime::parse(&single_spaced, OPENSSL).ok()?.assume_utc())
    })?;
    i64::try_from(instant.unix_timestamp_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_have_one_name_in_any_spelling() {
        for (name, version, expected) in [
            ("tls", "1.3", Some(("TLS 1.3", false))),
            ("tls", "1.2", Some(("TLS 1.2", false))),
            ("tls", "1", Some(("TLS 1.0", true))),
            ("", "TLSv1.1", Some(("TLS 1.1", true))),
            ("", "TLSv1", Some(("TLS 1.0", true))),
            ("", "TLSv1.3", Some(("TLS 1.3", false))),
            ("", "SSLv3", Some(("SSL 3.0", true))),
            ("ssl", "3.0", Some(("SSL 3.0", true))),
            ("", "unknown", None),
        ] {
            let found = protocol(name, version);
            let found = found.as_ref().map(|(name, obsolete)| (name.as_str(), *obsolete));
            assert_eq!(found, expected, "{name} {version}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms() {
        const DAY_NS: i64 = 86_400_000_000_000;
        for (text, expected) in [
            ("1970-01-02T00:00:00.000Z", Some(DAY_NS)),
            ("1970-01-02T01:00:00+01:00", Some(DAY_NS)),
            ("Jan  2 00:00:00 1970 GMT", Some(DAY_NS)),
            ("Jan 11 00:00:00 1970 GMT", Some(10 * DAY_NS)),
            ("tomorrow", None),
        ] {
            assert_eq!(instant_ns(text), expected, "{text}");
        }
    }
}
