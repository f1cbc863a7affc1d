//! The words of an operation's name, so that `block` is not taken for a lock.

/// Splits at everything that is no letter or digit, and where a small letter meets a capital.
///
/// ```
/// use debunk::model::words;
/// assert_eq!(words("POST /v1/releaseStock").collect::<Vec<_>>(), ["POST", "v1", "release", "Stock"]);
/// ```
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).flat_map(humps)
}

fn humps(part: &str) -> impl Iterator<Item = &str> {
    let bytes = part.as_bytes();
    let cuts =
        (1..bytes.len()).filter(|at| bytes[at - 1].is_ascii_lowercase() && bytes[*at].is_ascii_uppercase());
    cuts.chain(std::iter::once(part.len())).scan(0, |from, to| {
        let hump = &part[*from..to];
        *from = to;
        Some(hump)
    })
}
