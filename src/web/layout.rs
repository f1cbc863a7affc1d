//! The frame of every page, and the one way out: markup becomes a response here and nowhere else, so that no page
//! can leave without its security headers or with a character that would reorder or hide what stands around it.

use std::fmt::Write;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFRESH};
use http::{HeaderMap, HeaderName, StatusCode};
use maud::{DOCTYPE, Markup, html};

use crate::sketch;
use crate::view::tagged;

/// Nothing may run, and nothing may come from elsewhere. Styles come from our own address only.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                          base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";

/// Where a page belongs in the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Board,
    Findings,
    Traces,
    Services,
    Rules,
    Alerts,
    Status,
    /// Reached from the others.
    Elsewhere,
}

/// A whole page.
pub(super) struct Page {
    pub(super) title: String,
    pub(super) section: Section,
    /// Path and query of the same in the API.
    pub(super) api: Option<String>,
    pub(super) body: Markup,
    pub(super) status: StatusCode,
    /// Ask again after so many seconds: for pages that wait for something.
    pub(super) refresh: Option<u32>,
}

impl Page {
    pub(super) fn new(title: impl Into<String>, section: Section, body: Markup) -> Self {
        Self { title: title.into(), section, api: None, body, status: StatusCode::OK, refresh: None }
    }

    pub(super) fn api(mut self, path: impl Into<String>) -> Self {
        self.api = Some(path.into());
        self
    }

    fn markup(&self) -> Markup {
        let link = |section: Section, path: &str, name: &str| {
            let current = (self.section == section).then_some("page");
            html! { a href=(path) aria-current=[current] { (name) } }
        };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · Debunk" }
                    link rel="icon" type="image/svg+xml" href="/assets/icon.svg";
                    link rel="stylesheet" href="/assets/style.css";
                }
                body {
                    a.skip href="#main" { "Skip to content" }
                    header.top {
                        a.brand href="/" { "Debunk" }
                        nav aria-label="Main" {
                            (link(Section::Board, "/", "Fallacies"))
                            (link(Section::Findings, "/findings", "Findings"))
                            (link(Section::Traces, "/traces", "Traces"))
                            (link(Section::Services, "/services", "Services"))
                            (link(Section::Rules, "/rules", "Rules"))
                            (link(Section::Alerts, "/alerts", "Alerts"))
                            (link(Section::Status, "/status", "Status"))
                        }
                    }
                    main id="main" { (self.body) }
                    footer {
                        span { "Debunk " (env!("CARGO_PKG_VERSION")) }
                        @if let Some(api) = &self.api { a href=(api) { "This page as JSON" } }
                    }
                }
            }
        }
    }
}

impl Page {
    /// For a page that seldom changes: 304 where the reader has it already.
    pub(super) fn tagged(self, asked: &HeaderMap) -> Response {
        let body = visible(&self.markup().into_string());
        self.guarded(tagged(asked, HTML, body))
    }

    fn guarded(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers
            .insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
        // With "no-referrer" browsers name no origin in forms either, and these would be refused.
        headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("same-origin"));
        if let Some(seconds) = self.refresh {
            headers.insert(REFRESH, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let body = visible(&self.markup().into_string());
        self.guarded((self.status, [(CONTENT_TYPE, HTML)], body).into_response())
    }
}

/// The page with everything that would act instead of being seen written out, as terminals and drawings show it.
/// Our own markup holds nothing of the kind but line feeds, so the whole page may be read over.
pub(super) fn visible(page: &str) -> String {
    let lines: Vec<String> = page.split('\n').map(sketch::visible).collect();
    lines.join("\n")
}

/// A part of a path or of a query, percent-encoded.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("writing to a String cannot fail"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_is_shown() {
        assert_eq!(
            visible("a\u{202e}b\0c\x1b[31md\u{2066}\ne\u{feff}"),
            "a\\u{202e}b\\u{0}c\\u{1b}[31md\\u{2066}\ne\\u{feff}"
        );
        assert_eq!(visible("Zoë \u{5d0}\n<p>\n"), "Zoë \u{5d0}\n<p>\n");
    }

    #[test]
    fn text_in_an_address_is_encoded() {
        assert_eq!(encoded("a b&c=ü/\u{202e}"), "a%20b%26c%3D%C3%BC%2F%E2%80%AE");
    }

    #[test]
    fn every_page_says_its_language_title_and_place() {
        let page = Page::new("<Findings>", Section::Findings, html! { h1 { "x" } }).api("/api/v1/findings");
        let text = page.markup().into_string();
        assert!(text.contains("<html lang=\"en\">"));
        assert!(text.contains("<title>&lt;Findings&gt; · Debunk</title>"));
        assert!(text.contains("<a href=\"/findings\" aria-current=\"page\">"));
        assert!(text.contains("href=\"/api/v1/findings\""));
    }
}
