//! Shapes of paths, routes and names: what was asked, without the data. A span's template depends on that span
//! alone, so that fingerprints never change with time. Statements have their own file.

pub(super) use crate::model::words;

/// Longer paths are cut: nobody tells two code locations apart behind that.
const MOST_SEGMENTS: usize = 32;
const LONGEST: usize = 512;

/// `/users/42/cart` → `/users/{}/cart`.
pub(super) fn path(path: &str) -> String {
    // A target that an instrumentation filled with the route keeps its parameters.
    let is_named = |segment: &str| segment.starts_with('{') && segment.ends_with('}');
    segments(path, |segment| if is_named(segment) || is_variable(segment) { "{}" } else { segment })
}

/// `/users/<int:id>`, `/users/{id}`, `/users/:id` → `/users/{}`.
pub(super) fn route(route: &str) -> String {
    segments(route, |segment| if is_parameter(segment) || is_variable(segment) { "{}" } else { segment })
}

/// A span's name with the words that are data replaced.
pub(super) fn name(name: &str) -> String {
    let is_break = |c: char| c.is_whitespace() || c == '/';
    let has_data = name.split(is_break).any(is_variable);
    if !has_data {
        return cut(name).to_owned();
    }
    let words = name.split_inclusive(is_break).map(|word| {
        let bare = word.trim_end_matches(is_break);
        if is_variable(bare) { format!("{{}}{}", &word[bare.len()..]) } else { word.to_owned() }
    });
    cut(&words.collect::<String>()).to_owned()
}

/// The segment of a route is a parameter, in the spelling of any framework.
pub(super) fn is_parameter(segment: &str) -> bool {
    let wrapped = |open: char, close: char| segment.contains(open) && segment.contains(close);
    segment.starts_with(':')
        || wrapped('{', '}')
        || wrapped('<', '>')
        || (segment.starts_with('[') && segment.ends_with(']'))
        || (!segment.is_empty() && segment.bytes().all(|byte| byte == b'*'))
}

/// The text is data rather than a word of an interface: uuid, number, hash, key, e-mail, date.
pub(super) fn is_variable(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.is_empty() || is_version(text) {
        return false;
    }
    let has_digit = bytes.iter().any(u8::is_ascii_digit);
    let all = |test: fn(&u8) -> bool| bytes.iter().all(test);
    let is_hash = 8 <= bytes.len() && has_digit && all(u8::is_ascii_hexdigit);
    let is_key = 16 <= bytes.len() && has_digit && all(|byte| is_base64url(*byte));
    // ULIDs and product codes: upper case and digits mixed.
    let is_code = 8 <= bytes.len()
        && has_digit
        && all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && bytes.iter().any(u8::is_ascii_uppercase);
    is_number(text) || is_uuid(text) || is_hash || is_key || is_code || is_email(text) || is_date(text)
}

/// The text looks like an identifier that somebody was given: what makes two calls depend on each other.
pub(super) fn is_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_digit = bytes.iter().any(u8::is_ascii_digit);
    let all = |test: fn(&u8) -> bool| bytes.iter().all(test);
    has_digit
        && bytes.len() <= 256
        && ((3 <= bytes.len() && all(u8::is_ascii_digit))
            || (6 <= bytes.len() && all(u8::is_ascii_hexdigit))
            || (8 <= bytes.len() && all(|byte| is_base64url(*byte)))
            || is_uuid(text))
        || is_email(text)
}

/// A parameter of this name holds an identifier whatever its value looks like: `order_id`, `skuCode`.
pub(super) fn names_identifier(name: &str) -> bool {
    let last = words(name).next_back().unwrap_or_default();
    ["id", "ids", "key", "code"].iter().any(|known| last.eq_ignore_ascii_case(known))
}

/// A text of bounded length, cut between characters.
pub(super) fn cut_to(text: &str, longest: usize) -> &str {
    if text.len() <= longest { text } else { &text[..text.floor_char_boundary(longest)] }
}

fn cut(text: &str) -> &str {
    cut_to(text, LONGEST)
}

fn segments<'a>(path: &'a str, replace: impl Fn(&'a str) -> &'a str) -> String {
    let path = cut(path.split(['?', '#']).next().unwrap_or_default());
    let mut shaped = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()).take(MOST_SEGMENTS) {
        shaped.push('/');
        // Path parameters (`;jsessionid=…`) are data.
        shaped.push_str(replace(segment.split(';').next().unwrap_or_default()));
    }
    if shaped.is_empty() { "/".to_owned() } else { shaped }
}

fn is_version(text: &str) -> bool {
    text.strip_prefix(['v', 'V']).is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && rest.len() < 8
    })
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b',' || byte == b'.')
}

fn is_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_email(text: &str) -> bool {
    // Most words are none, and every word is asked.
    if !text.contains('@') && !text.contains("%40") {
        return false;
    }
    let text = text.replace("%40", "@");
    text.split_once('@').is_some_and(|(user, domain)| {
        !user.is_empty() && domain.contains('.') && !text.contains([' ', '/', '?']) && text.len() <= 254
    })
}

/// `2024-10-30`, alone or before a time.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    10 <= bytes.len()
        && bytes[..10].iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
        && bytes.get(10).is_none_or(|byte| matches!(byte, b'T' | b't' | b' ' | b'Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_in_paths_becomes_a_pair_of_braces() {
        for (sent, shape) in [
            ("/users/42/cart", "/users/{}/cart"),
            ("/v1/items/9d094ac8-f7c7-4c1c-a95d-15ff2d1ea99c", "/v1/items/{}"),
            ("/blobs/deadbeef01", "/blobs/{}"),
            ("/api/products/1YMWWN1N4O", "/api/products/{}"),
            ("/api/queryForStationId", "/api/queryForStationId"),
            ("/left_tickets_of_interval", "/left_tickets_of_interval"),
            ("/mail/anna@example.org", "/mail/{}"),
            ("/days/2024-10-30", "/days/{}"),
            ("/session/AbCdEf0123456789_-", "/session/{}"),
            ("/a;jsessionid=1234/b?x=1", "/a/b"),
            ("/geo/-12.5,13", "/geo/{}"),
            ("/configs/{name}", "/configs/{}"),
            ("", "/"),
            ("//", "/"),
        ] {
            assert_eq!(path(sent), shape, "{sent}");
        }
    }

    #[test]
    fn parameters_of_every_framework_are_one() {
        for sent in
            ["/items/<id>", "/items/<int:id>", "/items/{id}", "/items/{id:[0-9]+}", "/items/:id", "/items/*"]
        {
            assert_eq!(route(sent), "/items/{}", "{sent}");
        }
        assert_eq!(route("items"), "/items");
    }

    #[test]
    fn identifiers_are_told_from_words() {
        for token in ["123", "a1b2c3", "9d094ac8-f7c7-4c1c-a95d-15ff2d1ea99c", "order-42x", "a@b.example"] {
            assert!(is_token(token), "{token}");
        }
        for word in ["12", "carriers", "v1", "decade", "left_tickets"] {
            assert!(!is_token(word), "{word}");
        }
        assert!(names_identifier("orderId") && names_identifier("sku_code") && names_identifier("key"));
        assert!(!names_identifier("valid") && !names_identifier("monkey"));
    }

    #[test]
    fn names_lose_their_data_only() {
        assert_eq!(name("Driver::findNearest"), "Driver::findNearest");
        assert_eq!(name("job 4711 of 8"), "job {} of {}");
    }
}
