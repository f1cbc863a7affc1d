//! Whether a page of another site makes a browser ask. A browser names the origin of the page with everything that
//! does something; programs name none.

use http::header::{HeaderMap, ORIGIN};

use super::{Failure, Shown};

impl Shown {
    /// For every request that does something: only programs and our own pages may ask.
    pub fn refuse_foreign(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if is_foreign(headers, &self.config.server.public_url) { Err(Failure::Foreign) } else { Ok(()) }
    }
}

/// A browser says that the request comes from a page that is not ours. `public_url` says which are; on this machine
/// the names of loopback mean the same place.
fn is_foreign(headers: &HeaderMap, public_url: &str) -> bool {
    let ours = local(origin(public_url));
    let foreign_origin = headers.get_all(ORIGIN).iter().any(|sent| {
        let sent = sent.to_str().ok().map(|text| local(text.to_ascii_lowercase()));
        sent.as_ref() != Some(&ours)
    });
    let foreign_site = headers
        .get("sec-fetch-site")
        .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    foreign_origin || foreign_site
}

/// Scheme, host and port of an address, without what follows.
fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let default = if scheme == "https" { ":443" } else { ":80" };
    format!("{scheme}://{}", host.strip_suffix(default).unwrap_or(host)).to_ascii_lowercase()
}

/// The names of loopback as one. No other site can have them.
fn local(origin: String) -> String {
    let Some((scheme, host)) = origin.split_once("://") else { return origin };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    };
    if !matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        return origin;
    }
    port.map_or_else(|| format!("{scheme}://localhost"), |port| format!("{scheme}://localhost:{port}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_origin_ends_before_the_path_and_leaves_default_ports_out() {
        for (url, expected) in [
            ("http://127.0.0.1:4320", "http://127.0.0.1:4320"),
            ("https://Debunk.example:443/x/", "https://debunk.example"),
            ("http://debunk.example:80", "http://debunk.example"),
            ("http://[::1]:4320/", "http://[::1]:4320"),
        ] {
            assert_eq!(origin(url), expected);
        }
    }

    #[test]
    fn pages_of_other_sites_and_ports_are_foreign() {
        let asked = |origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
            is_foreign(&headers, "http://127.0.0.1:4320")
        };
        for ours in ["http://127.0.0.1:4320", "http://localhost:4320", "http://[::1]:4320"] {
            assert!(!asked(ours), "{ours}");
        }
        for foreign in [
            "https://evil.example",
            "http://localhost:4321",
            "http://localhost",
            "https://localhost:4320",
            "http://localhost.evil.example:4320",
            "null",
            "",
        ] {
            assert!(asked(foreign), "{foreign}");
        }
        assert!(!is_foreign(&HeaderMap::new(), "http://127.0.0.1:4320"), "programs name none");
    }

    #[test]
    fn what_the_browser_knows_of_the_site_counts() {
        let mut headers = HeaderMap::new();
        headers.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
        assert!(is_foreign(&headers, "http://127.0.0.1:4320"));
        headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        assert!(!is_foreign(&headers, "http://127.0.0.1:4320"));
    }
}
