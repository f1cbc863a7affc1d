//! Taking a URL apart without judging it: SDKs write whole URLs, targets, and hosts without scheme alike.
//!
//! Borrowing and total: what cannot be told stays absent. It does not resolve, normalise or validate.

/// The parts of a URL, as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Url<'a> {
    /// Before `://`.
    pub(super) scheme: Option<&'a str>,
    /// Without brackets, credentials and port.
    pub(super) host: Option<&'a str>,
    /// As written after the host.
    pub(super) port: Option<u16>,
    /// From the first slash; at least `/` behind scheme and host.
    pub(super) path: Option<&'a str>,
    /// After the question mark.
    pub(super) query: Option<&'a str>,
}

impl<'a> Url<'a> {
    /// Reads `https://user@host:1/path?query#fragment`, `host:1/path` and `/path?query`.
    pub(super) fn parse(text: &'a str) -> Self {
        let text = text.split('#').next().unwrap_or_default();
        let (before_query, query) = match text.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (text, None),
        };
        let (scheme, rest) = match before_query.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            _ => (None, before_query),
        };
        let (authority, path) = match rest.find('/') {
            Some(slash) => (&rest[..slash], Some(&rest[slash..])),
            None => (rest, None),
        };
        let (host, port) = split_port(authority);
        // Without a scheme, `host:1` may as well be all that an SDK kept of a longer URL.
        let path = path.or((scheme.is_some() && !host.is_empty()).then_some("/"));
        Self { scheme, host: (!host.is_empty()).then_some(host), port, path, query }
    }
}

/// Separates host and port; credentials before an `@` and brackets around an IPv6 address are dropped.
pub(super) fn split_port(authority: &str) -> (&str, Option<u16>) {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((address, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match authority.rsplit_once(':') {
        // More than one colon without brackets is an IPv6 address.
        Some((host, _)) if host.contains(':') => (authority, None),
        Some((host, port)) => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (host, None),
        },
        None => (authority, None),
    }
}

/// Percent-decodes, with `+` as a space. What decodes to no UTF-8 is kept as written.
pub(super) fn decode(text: &str) -> String {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = bytes.get(at + 1).zip(bytes.get(at + 2));
        match (byte, pair.and_then(|(high, low)| Some((digit(*high)? << 4) | digit(*low)?))) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 3;
            }
            (b'+', _) => {
                decoded.push(b' ');
                at += 1;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|value| value as u8)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_in_every_form() {
        let whole = Url::parse("https://me:secret@shop.example:8443/a/b?x=1&y=2#top");
        assert_eq!(whole.scheme, Some("https"));
        assert_eq!((whole.host, whole.port), (Some("shop.example"), Some(8443)));
        assert_eq!((whole.path, whole.query), (Some("/a/b"), Some("x=1&y=2")));

        let bare = Url::parse("frontend-proxy:8080/api/data?contextKeys=books");
        assert_eq!(
            (bare.host, bare.port, bare.path),
            (Some("frontend-proxy"), Some(8080), Some("/api/data"))
        );

        assert_eq!(Url::parse("0.0.0.0:8083").path, None);

        let target = Url::parse("/items?a=http://other/b");
        assert_eq!((target.host, target.path), (None, Some("/items")));
        assert_eq!(target.query, Some("a=http://other/b"));

        let address = Url::parse("http://[2001:db8::1]:80");
        assert_eq!((address.host, address.port, address.path), (Some("2001:db8::1"), Some(80), Some("/")));
        assert_eq!(Url::parse(""), Url::default());
    }

    #[test]
    fn ports_leave_hosts() {
        assert_eq!(split_port("inventory:21011"), ("inventory", Some(21011)));
        assert_eq!(split_port("::ffff:10.0.0.1"), ("::ffff:10.0.0.1", None));
        assert_eq!(split_port("inventory:http"), ("inventory", None));
    }

    #[test]
    fn decoding_keeps_what_is_not_encoded() {
        assert_eq!(decode("a%20b+c"), "a b c");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz"), "%zz");
        assert_eq!(decode("%ff"), "%ff");
    }
}
