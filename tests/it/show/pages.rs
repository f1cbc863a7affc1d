//! The pages: that each stands, says what it should, and can do nothing but be read.

use axum::body::Body;
use debunk::config::Config;
use debunk::web::POLICY;
use http::{Request, StatusCode};
use regex::Regex;

use super::seed::{self, Finding, Occurrence, routes};
use super::{Answer, ask, get};
use crate::support::database::Database;

const TRACE: u128 = 0xabc0_0000_0000_0000_0000_0000_0000_0001;

async fn seeded() -> Database {
    let database = Database::fresh().await;
    seed::finding(&database, &Finding::default()).await;
    seed::occurrence(&database, &Occurrence::default()).await;
    let root = seed::span(TRACE, 1, 0, "GET /cart", 0, 130);
    let call = seed::span(TRACE, 2, 1, "SELECT item", 10, 8);
    seed::spans(&database, "shop", vec![root, call]).await;
    seed::judged(&database, TRACE).await;
    seed::traffic(&database, TRACE, 20).await;
    database
}

/// What every page must be, whatever it shows.
fn is_a_page(path: &str, page: &Answer) {
    let body = &page.body;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{path}");
    assert_eq!(page.header("content-security-policy"), POLICY, "{path}");
    assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
    assert!(body.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{path}");
    assert_eq!(body.matches("<h1").count(), 1, "{path}: one heading names the page");
    assert!(Regex::new("<title>[^<]+ · Debunk</title>").unwrap().is_match(body), "{path}");
    for forbidden in ["<script", "<style", " style=", " onclick", "javascript:", "<iframe", "<object"] {
        assert!(!body.contains(forbidden), "{path}: {forbidden}");
    }
    // Whatever the browser fetches by itself comes from here.
    for source in Regex::new("(?:src|<link[^>]* href)=\"([^\"]*)\"").unwrap().captures_iter(body) {
        assert!(source[1].starts_with("/assets/"), "{path}: {}", &source[1]);
    }
    // Columns and rows are named.
    for head in Regex::new("<th[ >][^>]*").unwrap().find_iter(body) {
        assert!(head.as_str().contains("scope="), "{path}: {}", head.as_str());
    }
    // Ids are unique, and whatever refers to one finds it.
    let mut ids: Vec<String> =
        Regex::new(" id=\"([^\"]*)\"").unwrap().captures_iter(body).map(|id| id[1].to_owned()).collect();
    ids.sort();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "{path}: an id stands twice");
    for label in Regex::new("aria-labelledby=\"([^\"]*)\"").unwrap().captures_iter(body) {
        assert!(ids.contains(&label[1].to_owned()), "{path}: nothing is called {}", &label[1]);
    }
    // Elements close in the order in which they opened.
    is_well_formed(path, body);
}

fn is_well_formed(path: &str, body: &str) {
    let void = ["meta", "link", "input", "br", "hr", "img"];
    let mut open: Vec<&str> = Vec::new();
    for tag in Regex::new("<(/?)([a-z][a-z0-9]*)[^>]*>").unwrap().captures_iter(body) {
        let name = tag.get(2).unwrap().as_str();
        if &tag[1] == "/" {
            assert_eq!(open.pop(), Some(name), "{path}");
        } else if !void.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{path}: {open:?}");
}

#[tokio::test]
async fn every_page_is_a_page_that_can_only_be_read() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    let mut paths = vec![
        ("/".to_owned(), 200),
        ("/findings".to_owned(), 200),
        ("/findings?severity=critical&q=x".to_owned(), 200),
        ("/findings/0000000000000001".to_owned(), 200),
        (format!("/traces/{TRACE:032x}"), 200),
        (format!("/traces/{TRACE:032x}?span=0000000000000002"), 200),
        ("/rules".to_owned(), 200),
        ("/traces".to_owned(), 200),
        ("/traces?service=shop&min_ms=1&error=true".to_owned(), 200),
        ("/services".to_owned(), 200),
        ("/services/shop".to_owned(), 200),
        ("/services/shop?environment=staging".to_owned(), 200),
        ("/status".to_owned(), 200),
        ("/traces?min_ms=x".to_owned(), 400),
        ("/services?since=x".to_owned(), 400),
        ("/services/none".to_owned(), 404),
        ("/findings?colour=red".to_owned(), 400),
        ("/findings?after=x".to_owned(), 400),
        ("/services/a%00b".to_owned(), 404),
        ("/findings/%ff".to_owned(), 404),
        (format!("/traces/{TRACE:032x}?page=0"), 400),
        (format!("/traces/{TRACE:032x}?span=zz"), 400),
        ("/findings/00000000000000ff".to_owned(), 404),
        ("/traces/1234".to_owned(), 404),
        ("/rules/none".to_owned(), 404),
        ("/no/such/page".to_owned(), 404),
        ("/favicon.ico".to_owned(), 404),
    ];
    paths.extend(debunk::rules::RULES.iter().map(|rule| (format!("/rules/{}", rule.id), 200)));
    for (path, status) in paths {
        let page = get(&routes, &path).await;
        assert_eq!(page.status.as_u16(), status, "{path}: {}", page.body);
        is_a_page(&path, &page);
    }
    let post = ask(&routes, Request::post("/findings").body(Body::empty()).unwrap()).await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
    is_a_page("POST /findings", &post);
}

#[tokio::test]
async fn links_between_pages_lead_somewhere() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    let links = Regex::new("href=\"([^\"#]*)[^\"]*\"").unwrap();
    let mut seen = vec!["/".to_owned()];
    let mut next = 0;
    while next < seen.len() && seen.len() < 200 {
        let path = seen[next].clone();
        next += 1;
        let answer = get(&routes, &path).await;
        assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.body);
        if !answer.header("content-type").starts_with("text/html") {
            continue;
        }
        for link in links.captures_iter(&answer.body) {
            let link = link[1].replace("&amp;", "&");
            let target = match link.strip_prefix('?') {
                Some(query) => format!("{}?{query}", path.split('?').next().unwrap()),
                None => link,
            };
            if target.starts_with('/') && !seen.contains(&target) {
                seen.push(target);
            }
        }
    }
    for expected in ["/findings/0000000000000001", "/rules", "/assets/style.css", "/api/v1/findings"] {
        assert!(seen.iter().any(|path| path == expected), "{expected} is not linked: {seen:?}");
    }
    assert!(seen.iter().any(|path| path.starts_with("/traces/")), "{seen:?}");
}

#[tokio::test]
async fn the_first_start_says_what_to_set_and_looks_again() {
    let database = Database::fresh().await;
    let mut config = Config::default();
    config.otlp.http = "127.0.0.1:14318".parse().unwrap();
    let routes = seed::routes(&database, config);
    let page = get(&routes, "/").await;
    is_a_page("/", &page);
    assert!(page.body.contains("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:14318\n"), "{}", page.body);
    assert!(page.body.contains("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n"));
    assert!(page.body.contains("No span yet"));
    assert_eq!(page.header("refresh"), "5");

    seed::spans(&database, "shop", vec![seed::span(TRACE, 1, 0, "GET /cart", 0, 130)]).await;
    let page = get(&routes, "/").await;
    assert!(!page.body.contains("No span yet"));
    assert!(page.body.contains("First span seen") && page.body.contains("1 trace waits"), "{}", page.body);
    assert_eq!(page.header("refresh"), "5");
    let waiting = get(&routes, &format!("/traces/{TRACE:032x}")).await;
    assert!(waiting.body.contains("Not judged yet"));
    assert_eq!(waiting.header("refresh"), "5");

    seed::judged(&database, TRACE).await;
    let page = get(&routes, "/").await;
    assert!(
        !page.body.contains("First span seen") && page.body.contains("judged in the last minute"),
        "{}",
        page.body
    );
    assert!(page.body.contains("No request refused"), "{}", page.body);
    assert_eq!(page.header("refresh"), "");
}

#[tokio::test]
async fn a_finding_tells_its_story_in_order() {
    let database = seeded().await;
    let routes = seed::routes(&database, Config::default());
    let page = get(&routes, "/findings/0000000000000001").await;
    let headings = [
        "What happened",
        "What it costs",
        "How we know",
        "What could not be seen",
        "How to fix it",
        "Since when and how often",
        "Recent traces",
    ];
    let places: Vec<_> =
        headings.iter().map(|heading| page.body.find(&format!(">{heading}</h2>")).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(page.body.contains("12 calls of <code>SELECT item</code>"));
    assert!(page.body.contains("88.0 ms of waiting"), "{}", page.body);
    assert!(page.body.contains("first of 12"));
    assert!(page.body.contains("<b>| =  |   shop  db  SELECT item   &lt;&lt;</b>"));
}

#[tokio::test]
async fn a_finding_whose_traces_are_gone_keeps_its_numbers() {
    let database = Database::fresh().await;
    seed::finding(&database, &Finding::default()).await;
    let routes = seed::routes(&database, Config::default());
    let page = get(&routes, "/findings/0000000000000001").await;
    assert_eq!(page.status, StatusCode::OK);
    is_a_page("/findings/1", &page);
    assert!(page.body.contains("no longer kept"));
    assert!(page.body.contains("7 occurrences"));
}

#[tokio::test]
async fn the_filters_of_a_list_stay_in_its_form_and_links() {
    let database = Database::fresh().await;
    for id in 1..=60 {
        seed::finding(&database, &Finding { id, ..Finding::default() }).await;
    }
    let routes = seed::routes(&database, Config::default());
    let page = get(&routes, "/findings?q=item&severity=high&environment=&since=3d&until=1s").await;
    is_a_page("/findings", &page);
    assert!(page.body.contains("name=\"q\" value=\"item\""));
    assert!(page.body.contains("<option value=\"high\" selected>"));
    assert!(
        page.body.contains("<option value=\"3d\" selected>"),
        "an age that the form does not offer stays"
    );
    assert!(page.body.contains("text <b>item</b>"), "a filter is called as its field is");
    assert!(page.body.contains("<input type=\"hidden\" name=\"until\" value=\"1s\">"));
    let next =
        Regex::new("rel=\"next\" href=\"([^\"]*)\"").unwrap().captures(&page.body).unwrap()[1].to_owned();
    assert!(
        next.starts_with("/findings?q=item&amp;severity=high&amp;since=3d&amp;until=1s&amp;after="),
        "{next}"
    );
    let second = get(&routes, &next.replace("&amp;", "&")).await;
    assert_eq!(second.body.matches("<tr>").count(), 1 + 10);
    let json = Regex::new("href=\"([^\"]*)\">This page as JSON").unwrap().captures(&page.body).unwrap()[1]
        .to_owned();
    assert_eq!(get(&routes, &json.replace("&amp;", "&")).await.ids().len(), 50);
}

#[tokio::test]
async fn a_large_trace_is_shown_in_pages_and_any_span_can_be_gone_to() {
    let database = Database::fresh().await;
    let mut spans = vec![seed::span(TRACE, 1, 0, "GET /all", 0, 5_000)];
    spans.extend((2..=1_201).map(|id| seed::span(TRACE, id, id / 2, "work", id, 3)));
    seed::spans(&database, "shop", spans).await;
    seed::judged(&database, TRACE).await;
    let routes = seed::routes(&database, Config::default());
    let path = format!("/traces/{TRACE:032x}");
    let ids = Regex::new("id=\"s-([0-9a-f]{16})\"").unwrap();
    let mut rows = Vec::new();
    for page in 1..=3 {
        let answer = get(&routes, &format!("{path}?page={page}")).await;
        is_a_page(&path, &answer);
        rows.extend(ids.captures_iter(&answer.body).map(|id| id[1].to_owned()));
    }
    assert_eq!(rows.len(), 1_201);
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), 1_201);
    for id in [2_u64, 600, 1_201] {
        let page = get(&routes, &format!("{path}?span={id:016x}")).await;
        assert!(page.body.contains(&format!("id=\"s-{id:016x}\" open")), "{id}");
    }
    let beyond = get(&routes, &format!("{path}?page=99999999999")).await;
    assert_eq!(beyond.status, StatusCode::OK);
}

#[tokio::test]
async fn details_of_spans_do_not_grow_a_page_without_bound() {
    let database = Database::fresh().await;
    let big = "x".repeat(4_000);
    let spans = (1..=500).map(|id| {
        let mut span = seed::span(TRACE, id, id.min(2) - 1, "work", id, 3);
        span.attributes = (0..20).map(|n| seed::text(&format!("key{n}"), &big)).collect();
        span
    });
    seed::spans(&database, "shop", spans.collect()).await;
    let routes = seed::routes(&database, Config::default());
    let page = get(&routes, &format!("/traces/{TRACE:032x}")).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.len() < 3 << 20, "{}", page.body.len());
    assert!(page.body.contains("too much for one page"));
}

#[tokio::test]
async fn assets_are_sent_once() {
    let database = Database::fresh().await;
    let routes = seed::routes(&database, Config::default());
    for (path, kind) in
        [("/assets/style.css", "text/css; charset=utf-8"), ("/assets/icon.svg", "image/svg+xml")]
    {
        let first = get(&routes, path).await;
        assert_eq!((first.status, first.header("content-type")), (StatusCode::OK, kind));
        let again =
            Request::get(path).header("if-none-match", first.header("etag")).body(Body::empty()).unwrap();
        assert_eq!(ask(&routes, again).await.status, StatusCode::NOT_MODIFIED, "{path}");
    }
    let style = get(&routes, "/assets/style.css").await.body;
    assert!(!style.contains("url(") && !style.contains("@import"), "styles fetch nothing");
}

#[tokio::test]
async fn clocks_that_disagree_are_put_right_for_the_eye_and_said_to_be() {
    let database = Database::fresh().await;
    let trace = 0x5_1de;
    let mut call = seed::span(trace, 1, 0, "GET pay", 0, 100);
    call.kind = 3;
    let mut answer = seed::span(trace, 2, 1, "GET /", 5_000, 60);
    answer.kind = 2;
    seed::spans(&database, "shop", vec![call]).await;
    seed::spans(&database, "pay", vec![answer]).await;
    let routes = routes(&database, Config::default());
    let corrected = get(&routes, &format!("/traces/{trace:032x}")).await.body;
    assert!(
        corrected.contains("Clocks disagree") && corrected.contains("<b>pay</b> by −4.98 s"),
        "{corrected}"
    );
    assert!(corrected.contains("at 20.0 ms"), "the answer is in the middle of the call: {corrected}");
    let sent = get(&routes, &format!("/traces/{trace:032x}?clocks=sent")).await.body;
    assert!(sent.contains("Times as each clock told them") && sent.contains("at 5.00 s"), "{sent}");
    assert!(sent.contains("?clocks=sent&amp;span=0000000000000001#"), "links keep the clocks: {sent}");
    let json = get(&routes, &format!("/api/v1/traces/{trace:032x}")).await.json();
    assert_eq!(json["spans"][1]["offset_ms"], 5_000.0, "programs are told what was sent");
}
