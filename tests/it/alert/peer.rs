//! The other end of a webhook: a real HTTP server that remembers what it was sent and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use tokio::task::JoinSet;

/// What receivers are signed for with.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Settings of receivers, and the file with their secret.
pub(crate) struct Receivers {
    pub(crate) settings: String,
    _secret: tempfile::NamedTempFile,
}

impl Receivers {
    pub(crate) fn of(urls: &[(&str, &str)]) -> Self {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), SECRET).unwrap();
        let path = secret.path().display();
        let each = urls.iter().map(|(name, url)| {
            format!(
                "[[receivers]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret_file = \"{path}\"\n\
                 allow_private = true\ntimeout = \"2s\"\n"
            )
        });
        Self { settings: each.collect(), _secret: secret }
    }
}

/// What the peer does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Status(u16),
    With(u16, &'static str, String),
    Hang,
    Endless,
}

/// A request as the peer saw it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn id(&self) -> &str {
        self.headers["webhook-id"].to_str().unwrap()
    }

    pub(crate) fn event(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone, Default)]
struct Script {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    streamed: Arc<Mutex<usize>>,
}

/// A receiver's server; it answers as told, then 200.
pub(crate) struct Peer {
    script: Script,
    pub(crate) url: String,
    _server: JoinSet<()>,
}

impl Peer {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let script = Script::default();
        script.replies.lock().unwrap().extend(replies);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let app = Router::new().fallback(hear).with_state(script.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { script, url, _server: server }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().unwrap().clone()
    }

    /// What it answers to the next request.
    pub(crate) fn answer_next(&self, reply: Reply) {
        self.script.replies.lock().unwrap().push_front(reply);
    }

    /// Bytes of endless replies so far.
    pub(crate) fn streamed(&self) -> usize {
        *self.script.streamed.lock().unwrap()
    }
}

async fn hear(State(script): State<Script>, headers: HeaderMap, body: Bytes) -> Response {
    script.seen.lock().unwrap().push(Seen { headers, body });
    let reply = script.replies.lock().unwrap().pop_front().unwrap_or(Reply::Status(200));
    match reply {
        Reply::Status(code) => StatusCode::from_u16(code).unwrap().into_response(),
        Reply::With(code, name, value) => {
            (StatusCode::from_u16(code).unwrap(), [(name, value)]).into_response()
        }
        Reply::Hang => std::future::pending().await,
        Reply::Endless => {
            let chunk = Bytes::from(vec![b'x'; 16 << 10]);
            let chunks = futures::stream::repeat(chunk).map(move |chunk| {
                *script.streamed.lock().unwrap() += chunk.len();
                Ok::<_, std::convert::Infallible>(chunk)
            });
            Body::from_stream(chunks).into_response()
        }
    }
}
