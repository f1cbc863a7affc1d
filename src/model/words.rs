//! The words of an operation's name, so that `block` is not taken for a lock.

/// The words of a name in any spelling: `queryForStation`, `batch_get`, `list-items`, `GETItem`.
pub fn words(name: &str) -> std::vec::IntoIter<&str> {
    let mut found = Vec::new();
    let bytes = name.as_bytes();
    let mut start = None;
    for (at, byte) in bytes.iter().enumerate() {
        let is_letter = byte.is_ascii_alphanumeric() || !byte.is_ascii();
        let previous = at.checked_sub(1).and_then(|before| bytes.get(before));
        let next_is_lower = bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        let begins = byte.is_ascii_uppercase()
            && previous.is_some_and(|previous| {
                previous.is_ascii_lowercase()
                    || previous.is_ascii_digit()
                    || (previous.is_ascii_uppercase() && next_is_lower)
            });
        if let Some(from) = start.filter(|_| !is_letter || begins) {
            found.push(&name[from..at]);
            start = None;
        }
        if is_letter && start.is_none() {
            start = Some(at);
        }
    }
    if let Some(from) = start {
        found.push(&name[from..]);
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_every_spelling() {
        let split = |name| words(name).collect::<Vec<_>>();
        assert_eq!(split("queryForStationId"), ["query", "For", "Station", "Id"]);
        assert_eq!(split("batch_get-items"), ["batch", "get", "items"]);
        assert_eq!(split("param.driverID"), ["param", "driver", "ID"]);
        assert_eq!(split("HTTPServer2Go"), ["HTTP", "Server2", "Go"]);
        assert_eq!(split("größe"), ["größe"]);
        assert_eq!(split(""), Vec::<&str>::new());
    }
}
