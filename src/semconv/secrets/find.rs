//! Finding secrets in a text: one walk over its bytes, with a look around where a byte may belong to one.

/// A secret as a range of bytes, on boundaries of characters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Secret {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: &'static str,
}

/// Kinds that a mark may have.
const KINDS: &[&str] = &[
    "api_key",
    "authorization",
    "aws_key",
    "cookie",
    "github_token",
    "google_key",
    "jwt",
    "password",
    "private_key",
    "secret",
    "signature",
    "slack_token",
    "stripe_key",
    "token",
];
/// Names are looked for this far back; longer ones are none of ours.
const LONGEST_NAME: usize = 64;

/// All secrets of a text, in order, apart from each other.
pub(super) fn secrets(text: &str) -> Vec<Secret> {
    if may_hold_one(text.as_bytes()) { walk(text) } else { Vec::new() }
}

/// Whether a text is worth the walk: most have nothing that any secret begins with or stands behind.
///
/// Budget: 1 ns a byte.
pub(super) fn may_hold_one(bytes: &[u8]) -> bool {
    let mut has_at = None;
    bytes.iter().enumerate().any(|(at, byte)| {
        let next = || bytes.get(at + 1).copied().unwrap_or_default();
        let before = || at.checked_sub(1).map_or(0, |before| bytes[before]);
        match byte {
            b'=' => before() == b' ' || ends_like_a_name(&bytes[..at]),
            b':' => match (before(), next()) {
                (b'"' | b'\'' | b' ', _) | (_, b' ') => true,
                // A password in an address ends with it.
                (_, b'/') => *has_at.get_or_insert_with(|| bytes.contains(&b'@')),
                _ => false,
            },
            b'e' => next() == b'y',
            b'A' => matches!(next(), b'K' | b'S' | b'B' | b'C' | b'I'),
            b'g' => matches!(next(), b'h' | b'i' | b'l'),
            b'x' => next() == b'o',
            b's' | b'r' => next() == b'k',
            b'b' | b'B' => matches!(next(), b'e' | b'E'),
            b'-' => next() == b'-',
            _ => false,
        }
    })
}

/// Whether a name may be one that is looked for, by its last two letters.
pub(super) fn ends_like_a_name(bytes: &[u8]) -> bool {
    let [.., first, second] = bytes else { return false };
    matches!(
        [first | 0x20, second | 0x20],
        [b'r' | b'w', b'd']
            | [b'i', b'd' | b'e' | b'g']
            | [b'e', b'n' | b't' | b'y']
            | [b's' | b'r', b'e']
            | [b'o', b'n']
    ) || [first, second].iter().any(|byte| matches!(byte, b'_' | b'-'))
}

/// The same, without a look beforehand.
pub(super) fn walk(text: &str) -> Vec<Secret> {
    let bytes = text.as_bytes();
    let mut found: Vec<Secret> = Vec::new();
    // Nothing before the last secret counts: a mark will stand there.
    let mut floor = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let secret = match byte {
            b'[' => {
                if let Some(end) = mark_end(text, at) {
                    at = end;
                    continue;
                }
                None
            }
            b'=' => assigned(text, floor, at),
            b':' => credentials(text, at)
                .or_else(|| member(text, floor, at))
                .or_else(|| header_line(text, floor, at)),
            b'e' => jwt(text, floor, at),
            b'A' => aws_key(text, floor, at).or_else(|| google_key(text, floor, at)),
            b'g' => prefixed(
                text,
                floor,
                at,
                &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"],
                20,
                "github_token",
            ),
            b'x' => prefixed(
                text,
                floor,
                at,
                &["xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-"],
                10,
                "slack_token",
            ),
            b's' => prefixed(text, floor, at, &["sk_live_"], 8, "stripe_key"),
            b'r' => prefixed(text, floor, at, &["rk_live_"], 8, "stripe_key"),
            b'b' | b'B' => bearer(text, floor, at),
            b'-' => private_key(text, at),
            _ => None,
        };
        at = match secret {
            Some(secret) => {
                floor = secret.end;
                found.push(secret);
                floor
            }
            None => at + 1,
        };
    }
    found
}

/// One past a mark that starts here.
pub(super) fn mark_end(text: &str, start: usize) -> Option<usize> {
    let after = text.as_bytes().get(start..)?.strip_prefix(b"[")?;
    let kind = KINDS.iter().find(|kind| after.starts_with(kind.as_bytes()))?;
    let rest = after[kind.len()..].strip_prefix(b":")?;
    let hash = rest.get(..8)?;
    let is_mark =
        hash.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) && rest.get(8) == Some(&b']');
    is_mark.then(|| start + kind.len() + 11)
}

/// The value stands for one that is hidden already or bound elsewhere, or says that there is none.
pub(super) fn says_nothing(value: &str) -> bool {
    if LONGEST_NAME < value.len() {
        return false;
    }
    let lower = value.to_ascii_lowercase();
    let bare = lower.trim_matches(['[', ']', '<', '>', '*', '?', '{', '}', '"', '\'']);
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let numbered =
        value.strip_prefix('$').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let named = value.strip_prefix([':', '@']).is_some_and(is_name);
    let formatted = value == "%s" || (value.starts_with("%(") && value.ends_with(")s"));
    let template = value.starts_with("${") && value.ends_with('}');
    matches!(
        bare,
        "" | "redacted" | "null" | "none" | "nil" | "undefined" | "true" | "false" | "filtered" | "hidden"
    ) || numbered
        || named
        || formatted
        || template
}

/// Headers whose whole value is a secret.
pub(super) fn kind_of_header(name: &str) -> Option<&'static str> {
    match Letters::of(name).all() {
        "authorization" | "proxyauthorization" => Some("authorization"),
        "cookie" | "setcookie" => Some("cookie"),
        "xapikey" | "apikey" | "xgoogapikey" | "apisecret" => Some("api_key"),
        "xauthtoken" | "xamzsecuritytoken" | "xaccesstoken" | "xvaulttoken" => Some("token"),
        _ => None,
    }
}

/// Names of parameters, settings and members whose value is a secret.
pub(super) fn kind_of_name(name: &str) -> Option<&'static str> {
    let letters = Letters::of(name.rsplit('.').next().unwrap_or(name));
    if ["password", "passwd", "passphrase", "pwd"].iter().any(|ending| letters.last().ends_with(ending)) {
        return Some("password");
    }
    match letters.all() {
        "apikey" | "xapikey" | "accesskey" | "secretkey" | "privatekey" | "awsaccesskeyid" => Some("api_key"),
        "secret" | "clientsecret" | "apisecret" | "secretaccesskey" => Some("secret"),
        "sig" | "signature" | "xamzsignature" | "xgoogsignature" => Some("signature"),
        "token" | "accesstoken" | "refreshtoken" | "idtoken" | "authtoken" | "sessiontoken"
        | "xamzsecuritytoken" => Some("token"),
        _ => None,
    }
}

/// The last letters of a name in lower case, without `_` and `-`: longer names are none that is looked for.
struct Letters {
    buffer: [u8; 24],
    start: usize,
    cut: bool,
}

impl Letters {
    fn of(name: &str) -> Self {
        let mut letters = Self { buffer: [0; 24], start: 24, cut: false };
        for byte in name.bytes().rev().filter(|byte| !matches!(byte, b'_' | b'-')) {
            if letters.start == 0 {
                letters.cut = true;
                break;
            }
            letters.start -= 1;
            letters.buffer[letters.start] = byte.to_ascii_lowercase();
        }
        letters
    }

    fn last(&self) -> &str {
        // Names are looked for in ASCII: what is cut within a character is none of them.
        std::str::from_utf8(&self.buffer[self.start..]).unwrap_or_default()
    }

    fn all(&self) -> &str {
        if self.cut { "" } else { self.last() }
    }
}

fn secret(start: usize, end: usize, kind: &'static str) -> Option<Secret> {
    (start < end).then_some(Secret { start, end, kind })
}

/// A value in the place of a secret is one, unless it is a mark, or nothing with nothing hidden in it.
fn judged(text: &str, start: usize, end: usize, kind: &'static str) -> Option<Secret> {
    let value = text.get(start..end)?;
    let is_nothing = || says_nothing(value) && secrets(value).is_empty();
    if mark_end(text, start) == Some(end) || is_nothing() { None } else { secret(start, end, kind) }
}

/// `name=value` in a query, a form, a connection string or a statement.
fn assigned(text: &str, floor: usize, equals: usize) -> Option<Secret> {
    let bytes = text.as_bytes();
    if bytes.get(equals + 1) == Some(&b'=') {
        return None;
    }
    let spaced = text[floor..equals].ends_with(' ');
    let name = name_before(text, floor, if spaced { equals - 1 } else { equals })?;
    let kind = kind_of_name(name)?;
    // `token = 1` with spaces is a condition or a sentence; a password is one everywhere.
    if spaced && kind != "password" {
        return None;
    }
    let mut start = equals + 1;
    if kind == "password" {
        start += bytes[start..].iter().take_while(|byte| **byte == b' ').count();
    }
    value_at(text, start, kind)
}

/// `"name": "value"` of JSON, also where it stands inside another string (`\"name\": \"value\"`).
fn member(text: &str, floor: usize, colon: usize) -> Option<Secret> {
    let before = text[floor..colon].trim_end_matches(' ');
    let quoted = before.strip_suffix(['"', '\'']).map(|name| name.strip_suffix('\\').unwrap_or(name))?;
    let kind = kind_of_name(name_before(text, floor, floor + quoted.len())?)?;
    let spaces = text.as_bytes()[colon + 1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let start = colon + 1 + spaces;
    let is_string = text[start..].starts_with(['"', '\'']) || text[start..].starts_with("\\\"");
    if is_string { value_at(text, start, kind) } else { None }
}

/// `Authorization: Basic …` to the end of its line.
fn header_line(text: &str, floor: usize, colon: usize) -> Option<Secret> {
    let rest = text[colon + 1..].strip_prefix(' ')?;
    let kind = kind_of_header(name_before(text, floor, colon)?)?;
    let length = rest.find(['\r', '\n', '"']).unwrap_or(rest.len());
    let value = rest[..length].trim_end();
    let start = colon + 2;
    judged(text, start, start + value.len(), kind)
}

/// The name that ends here, of letters, digits, `_`, `-`, `.`.
fn name_before(text: &str, floor: usize, end: usize) -> Option<&str> {
    let bytes = text.as_bytes();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let length = bytes[floor..end].iter().rev().take(LONGEST_NAME).take_while(|byte| is_name(byte)).count();
    (0 < length).then(|| &text[end - length..end])
}

/// The value that starts here, quoted or up to the next delimiter.
fn value_at(text: &str, start: usize, kind: &'static str) -> Option<Secret> {
    let rest = text.get(start..)?;
    let escaped = rest.starts_with("\\\"");
    let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''));
    let (start, length) = if escaped {
        (start + 2, rest[2..].find("\\\"").unwrap_or(rest.len() - 2))
    } else if let Some(quote) = quote {
        (start + 1, quoted_length(&rest[1..], quote as u8))
    } else {
        let is_end = |c: char| {
            c.is_whitespace()
                || matches!(c, '&' | ';' | '"' | '\'' | '#')
                || (kind != "password" && matches!(c, ',' | ')' | ']' | '}' | '>' | '<'))
        };
        let mut end = start;
        while let Some(c) = text[end..].chars().next().filter(|c| !is_end(*c)) {
            // The brackets of a mark are no delimiters.
            end = mark_end(text, end).unwrap_or(end + c.len_utf8());
        }
        (start, end - start)
    };
    judged(text, start, start + length, kind)
}

/// Up to the closing quote; a backslash protects the next byte.
fn quoted_length(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == quote {
            return at;
        }
        at += if byte == b'\\' && bytes.get(at + 1).is_some_and(u8::is_ascii) { 2 } else { 1 };
    }
    bytes.len()
}

/// The password in `scheme://user:password@host`.
fn credentials(text: &str, colon: usize) -> Option<Secret> {
    if !text[colon..].starts_with("://") {
        return None;
    }
    let start = colon + 3;
    let authority = until(text, start, |c| matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>'), usize::MAX);
    let (user, behind) = authority.split_once(':')?;
    if user.contains('@') {
        return None;
    }
    let password = start + user.len() + 1;
    let length = match behind.rfind('@') {
        Some(at) => at,
        // A password with a raw slash: what stands where a port should is none, and an `@` follows.
        None if user.starts_with('[') || behind.bytes().all(|byte| byte.is_ascii_digit()) => return None,
        None => until(text, password, |_| false, 128).rfind('@')?,
    };
    judged(text, password, password + length, "password")
}

/// The text from here to white space, a mark, one of the ends, or so many bytes.
fn until(text: &str, start: usize, is_end: impl Fn(char) -> bool, most: usize) -> &str {
    let rest = super::super::template::cut_to(&text[start..], most);
    let stops =
        |(at, c): &(usize, char)| c.is_whitespace() || is_end(*c) || mark_end(text, start + at).is_some();
    let end = rest.char_indices().find(stops).map_or(rest.len(), |(at, _)| at);
    &rest[..end]
}

fn begins_word(text: &str, floor: usize, at: usize) -> bool {
    !text.as_bytes()[floor..at].last().is_some_and(u8::is_ascii_alphanumeric)
}

fn run(text: &str, from: usize, test: impl Fn(u8) -> bool) -> usize {
    text.as_bytes()[from..].iter().take_while(|byte| test(**byte)).count()
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Three parts, the first two of which are JSON: they start with `{"`.
fn jwt(text: &str, floor: usize, at: usize) -> Option<Secret> {
    if !text[at..].starts_with("eyJ") || !begins_word(text, floor, at) {
        return None;
    }
    let header = run(text, at, is_base64url);
    let second = at + header + 1;
    if text.as_bytes().get(second - 1) != Some(&b'.') || !text.get(second..)?.starts_with("eyJ") {
        return None;
    }
    let payload = run(text, second, is_base64url);
    let third = second + payload;
    let signature =
        if text.as_bytes().get(third) == Some(&b'.') { 1 + run(text, third + 1, is_base64url) } else { 0 };
    secret(at, third + signature, "jwt")
}

fn aws_key(text: &str, floor: usize, at: usize) -> Option<Secret> {
    let known = ["AKIA", "ASIA", "ABIA", "ACCA"].iter().any(|prefix| text[at..].starts_with(prefix));
    let length = if known && begins_word(text, floor, at) {
        run(text, at, |byte| byte.is_ascii_alphanumeric())
    } else {
        0
    };
    let is_upper = |length: usize| {
        text.as_bytes()[at..at + length].iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    (length == 20 && is_upper(length)).then_some(Secret { start: at, end: at + length, kind: "aws_key" })
}

fn google_key(text: &str, floor: usize, at: usize) -> Option<Secret> {
    let known = text[at..].starts_with("AIza") && begins_word(text, floor, at);
    let length = if known { run(text, at, is_base64url) } else { 0 };
    (length == 39).then_some(Secret { start: at, end: at + length, kind: "google_key" })
}

/// A well-known beginning and at least so many more characters.
fn prefixed(
    text: &str,
    floor: usize,
    at: usize,
    prefixes: &[&str],
    least: usize,
    kind: &'static str,
) -> Option<Secret> {
    let prefix = prefixes.iter().find(|prefix| text[at..].starts_with(**prefix))?;
    if !begins_word(text, floor, at) {
        return None;
    }
    let rest = run(text, at + prefix.len(), is_base64url);
    if least <= rest { secret(at, at + prefix.len() + rest, kind) } else { None }
}

/// `Bearer …` in any text.
fn bearer(text: &str, floor: usize, at: usize) -> Option<Secret> {
    let word = text.as_bytes().get(at..at + 7)?;
    if !word.eq_ignore_ascii_case(b"bearer ") || !begins_word(text, floor, at) {
        return None;
    }
    let start = at + 7;
    let length = run(text, start, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'-')
    });
    let has_digit = text.as_bytes()[start..start + length].iter().any(u8::is_ascii_digit);
    if 16 <= length && has_digit { secret(start, start + length, "token") } else { None }
}

/// A private key in PEM, to its end or to the end of a text that was cut.
fn private_key(text: &str, at: usize) -> Option<Secret> {
    const END: &str = "PRIVATE KEY-----";
    let rest = text[at..].strip_prefix("-----BEGIN ")?;
    let label = rest.find("-----")?;
    if LONGEST_NAME < label || !rest[..label].ends_with("PRIVATE KEY") {
        return None;
    }
    let body = label + 5;
    let length = rest[body..]
        .find("-----END ")
        .and_then(|end| Some(body + end + rest[body + end..].find(END)? + END.len()))
        .unwrap_or(rest.len());
    secret(at, at + 11 + length, "private_key")
}
