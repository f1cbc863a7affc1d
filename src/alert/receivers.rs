//! Who is told what: receivers from the settings, opened once at the start so that a missing file or a bad secret
//! is an error then and not in the night.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::post::{Answer, Target};
use super::sign::SigningKey;
use super::standard;
use crate::clock;
use crate::config::{self, ReceiverFormat};
use crate::findings::life::CANARY;
use crate::rules::{Fallacy, Severity};
use crate::store::{Change, NewDelivery};

/// Why a receiver cannot be used: its name and the reason, without secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct ReceiverError {
    name: String,
    why: String,
}

impl fmt::Display for ReceiverError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "receiver {:?}: {}", self.name, self.why)
    }
}

impl std::error::Error for ReceiverError {}

/// All receivers, and the address that links to us start with.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    list: Vec<Receiver>,
    site: String,
}

/// One receiver, ready to be posted to.
#[derive(Clone, Debug)]
pub struct Receiver {
    name: String,
    filter: Filter,
    target: Target,
    format: Format,
    timeout: Duration,
    /// It answered that it is gone. Shared by all copies.
    disabled: Arc<AtomicBool>,
}

/// What a receiver wants to hear of. Empty lists want all.
#[derive(Clone, Debug)]
struct Filter {
    min_severity: Severity,
    environments: Vec<String>,
    services: Vec<String>,
    fallacies: Vec<Fallacy>,
    send_resolved: bool,
}

/// How it is told.
#[derive(Clone, Debug)]
enum Format {
    Standard(SigningKey),
}

impl Receivers {
    /// Reads the files that the settings name and checks every URL and secret.
    pub fn open(settings: &[config::Receiver], public_url: &str) -> Result<Self, ReceiverError> {
        let list = settings.iter().map(Receiver::open).collect::<Result<_, _>>()?;
        Ok(Self { list, site: public_url.to_owned() })
    }

    /// One delivery for each receiver that wants to hear of the change.
    pub fn deliveries(&self, change: &Change) -> Vec<NewDelivery> {
        let wanted = self.list.iter().filter(|receiver| receiver.filter.wants(change));
        wanted.map(|receiver| receiver.delivery(change, &self.site)).collect()
    }

    /// The one of that name.
    pub fn find(&self, name: &str) -> Option<&Receiver> {
        self.list.iter().find(|receiver| receiver.name == name)
    }

    /// In the order of the settings.
    pub fn iter(&self) -> std::slice::Iter<'_, Receiver> {
        self.list.iter()
    }
}

impl<'a> IntoIterator for &'a Receivers {
    type Item = &'a Receiver;
    type IntoIter = std::slice::Iter<'a, Receiver>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Receiver {
    fn open(settings: &config::Receiver) -> Result<Self, ReceiverError> {
        let name = settings.name.clone();
        let timeout = settings.timeout.0;
        let open = || {
            let url = match (&settings.url, &settings.url_file) {
                (Some(url), None) => url.clone(),
                (None, Some(file)) => read("url_file", file)?,
                _ => return Err("give one of url and url_file".to_owned()),
            };
            let target = Target::new(&url, timeout, settings.allow_private)?;
            let format = match settings.format {
                ReceiverFormat::Standard => Format::Standard(key(settings.secret_file.as_deref())?),
            };
            Ok((target, format))
        };
        let (target, format) = open().map_err(|why| ReceiverError { name: name.clone(), why })?;
        let filter = Filter {
            min_severity: settings.min_severity,
            environments: settings.environments.clone(),
            services: settings.services.clone(),
            fallacies: settings.fallacies.clone(),
            send_resolved: settings.send_resolved,
        };
        Ok(Self { name, filter, target, format, timeout, disabled: Arc::default() })
    }

    /// Its name in deliveries and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Longest time that one try takes.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The part of its URL that may be shown.
    pub fn host(&self) -> &str {
        self.target.host()
    }

    /// Leaves it alone until the process starts again; what it is to be told waits.
    pub fn disable(&self) {
        self.disabled.store(true, Ordering::Relaxed);
    }

    /// Whether it is left alone.
    pub fn is_disabled(&self) -> bool {
        self.disabled.load(Ordering::Relaxed)
    }

    /// One message that tells nothing, to see whether others would arrive.
    pub async fn test(&self, id: Uuid, now: OffsetDateTime) -> Answer {
        let body = match &self.format {
            Format::Standard(_) => standard::test_body(now),
        };
        self.post(id, body).await
    }

    fn delivery(&self, change: &Change, site: &str) -> NewDelivery {
        let payload = match &self.format {
            Format::Standard(_) => standard::body(change, site),
        };
        NewDelivery { receiver: self.name.clone(), payload }
    }

    /// One try. The same id and body at every try, so that the receiver can tell a repetition.
    pub async fn post(&self, id: Uuid, body: String) -> Answer {
        let headers = match &self.format {
            Format::Standard(key) => standard::headers(key, id, &body, clock::now()),
        };
        self.target.post(headers, body).await
    }
}

impl Filter {
    fn wants(&self, change: &Change) -> bool {
        let claim = &change.finding.claim;
        // Who was told that it opened is also told that it went, however harmless it has become meanwhile.
        let severity = match (change.event, change.previous) {
            (event, Some((_, before))) if event.is_end() => before.max(claim.severity),
            _ => claim.severity,
        };
        (self.send_resolved || !change.event.is_end())
            && self.min_severity <= severity
            && (self.environments.is_empty() || self.environments.contains(&claim.environment))
            && (self.services.contains(&claim.service)
                || (self.services.is_empty() && claim.service != CANARY))
            && (self.fallacies.is_empty() || self.fallacies.contains(&claim.fallacy))
    }
}

fn key(file: Option<&Path>) -> Result<SigningKey, String> {
    let file = file.ok_or("format standard signs its messages: give secret_file")?;
    SigningKey::parse(&read("secret_file", file)?).map_err(|why| format!("{}: {why}", file.display()))
}

fn read(setting: &str, file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{setting} {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use crate::findings::life::Event;
    use std::io::Write as _;

    use super::super::fixture;
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn settings(secret: &Path, more: &str) -> config::Receiver {
        let text = format!(
            "name = \"ops\"\nurl = \"https://hooks.example.com/s3cret\"\nsecret_file = {secret:?}\n{more}"
        );
        toml::from_str(&text).unwrap()
    }

    fn told(more: &str, change: &Change) -> bool {
        let secret = file("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
        let receivers = Receivers::open(&[settings(secret.path(), more)], "http://127.0.0.1:4320").unwrap();
        let deliveries = receivers.deliveries(change);
        assert!(deliveries.iter().all(|delivery| delivery.receiver == "ops"));
        !deliveries.is_empty()
    }

    #[test]
    fn a_receiver_hears_only_of_what_it_asked_for() {
        let change = fixture::opened();
        for (filter, hears) in [
            ("", true),
            ("min_severity = \"critical\"", true),
            ("environments = [\"staging\", \"production\"]", true),
            ("environments = [\"staging\"]", false),
            ("services = [\"checkout\"]", true),
            ("services = [\"check\"]", false),
            ("fallacies = [\"network_is_reliable\"]", true),
            ("fallacies = [\"latency_is_zero\"]", false),
            ("services = [\"checkout\"]\nenvironments = [\"staging\"]", false),
        ] {
            assert_eq!(told(filter, &change), hears, "{filter}");
        }
    }

    #[test]
    fn a_canary_sings_only_to_those_who_name_it() {
        let mut change = fixture::opened();
        change.finding.claim.service = CANARY.to_owned();
        assert!(!told("", &change));
        assert!(told("services = [\"debunk.selftest\"]", &change));
    }

    #[test]
    fn who_heard_that_it_opened_hears_that_it_went() {
        let mut change = fixture::opened();
        change.finding.claim.severity = Severity::Medium;
        assert!(!told("min_severity = \"high\"", &change));
        change.event = Event::Retracted;
        change.previous = Some((crate::findings::life::Status::Open, Severity::Critical));
        assert!(told("min_severity = \"high\"", &change));
    }

    #[test]
    fn who_does_not_care_for_ends_hears_of_none() {
        let mut change = fixture::opened();
        assert!(told("send_resolved = false", &change));
        for event in [Event::Retracted, Event::Quiet] {
            change.event = event;
            assert!(told("", &change));
            assert!(!told("send_resolved = false", &change));
        }
        change.event = Event::Reopened;
        assert!(told("send_resolved = false", &change));
    }

    #[test]
    fn each_receiver_gets_its_own_delivery() {
        let secret = file("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let mut second = settings(secret.path(), "");
        second.name = "dev".to_owned();
        let receivers = Receivers::open(&[settings(secret.path(), ""), second], "http://x").unwrap();
        let names: Vec<_> =
            receivers.deliveries(&fixture::opened()).into_iter().map(|delivery| delivery.receiver).collect();
        assert_eq!(names, ["ops", "dev"]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_without_secrets() {
        let missing = Path::new("/nowhere/ops.key");
        let error = Receivers::open(&[settings(missing, "")], "http://x").unwrap_err().to_string();
        assert!(error.starts_with("receiver \"ops\": secret_file /nowhere/ops.key: "), "{error}");

        let short = file("whsec_c2hvcnQ=");
        let error = Receivers::open(&[settings(short.path(), "")], "http://x").unwrap_err().to_string();
        assert!(error.contains("5 bytes") && !error.contains("c2hvcnQ"), "{error}");
    }

    #[test]
    fn the_url_may_stand_in_a_file() {
        let secret = file("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let url = file("https://hooks.example.com/s3cret\n");
        let mut from_file = settings(secret.path(), "");
        from_file.url = None;
        from_file.url_file = Some(url.path().to_owned());
        assert!(Receivers::open(&[from_file.clone()], "http://x").is_ok());

        let bad = file("http://10.0.0.1/s3cret");
        from_file.url_file = Some(bad.path().to_owned());
        let error = Receivers::open(&[from_file], "http://x").unwrap_err().to_string();
        assert!(error.contains("allow_private") && !error.contains("s3cret"), "{error}");
    }
}
