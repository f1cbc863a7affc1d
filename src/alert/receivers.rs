//! Who is told what: receivers from the settings, opened once at the start so that a missing file or a bad secret
//! is an error then and not in the night.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::alertmanager;
use super::format::Format;
use super::post::{Answer, Target};
use crate::config;
use crate::findings::life::CANARY;
use crate::store::{Allowance, Change, NewDelivery, Scope};

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

/// All receivers.
#[derive(Clone, Debug, Default)]
pub struct Receivers(Vec<Receiver>);

/// One receiver, ready to be posted to.
#[derive(Clone, Debug)]
pub struct Receiver {
    name: String,
    scope: Scope,
    send_resolved: bool,
    remind_every: Duration,
    allowance: Allowance,
    target: Target,
    format: Format,
    timeout: Duration,
    /// The address that links to us start with.
    site: String,
    /// It answered that it is gone. Shared by all copies.
    disabled: Arc<AtomicBool>,
}

impl Receivers {
    /// Reads the files that the settings name and checks every URL and secret.
    pub fn open(settings: &[config::Receiver], public_url: &str) -> Result<Self, ReceiverError> {
        settings.iter().map(|one| Receiver::open(one, public_url)).collect::<Result<_, _>>().map(Self)
    }

    /// One delivery for each receiver that wants to hear of the change.
    pub fn deliveries(&self, change: &Change) -> Vec<NewDelivery> {
        let wanted = self.0.iter().filter(|receiver| receiver.wants(change));
        wanted.map(|receiver| receiver.delivery(change)).collect()
    }

    /// The one of that name.
    pub fn find(&self, name: &str) -> Option<&Receiver> {
        self.0.iter().find(|receiver| receiver.name == name)
    }

    /// In the order of the settings.
    pub fn iter(&self) -> std::slice::Iter<'_, Receiver> {
        self.0.iter()
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
    fn open(settings: &config::Receiver, site: &str) -> Result<Self, ReceiverError> {
        let name = settings.name.clone();
        let timeout = settings.timeout.0;
        let open = || {
            let (format, url) = Format::open(settings)?;
            Ok((format, Target::new(&url, timeout, settings.allow_private)?))
        };
        let (format, target) = open().map_err(|why| ReceiverError { name: name.clone(), why })?;
        Ok(Self {
            name,
            scope: Scope {
                min_severity: settings.min_severity,
                environments: settings.environments.clone(),
                services: settings.services.clone(),
                fallacies: settings.fallacies.clone(),
            },
            send_resolved: settings.send_resolved,
            remind_every: settings.remind_every.0,
            allowance: Allowance { at_once: settings.concurrency, per_minute: settings.max_per_minute },
            target,
            format,
            timeout,
            site: site.to_owned(),
            disabled: Arc::default(),
        })
    }

    /// Its name in deliveries and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Longest time that one try takes.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How fast it may be posted to.
    pub fn allowance(&self) -> Allowance {
        self.allowance
    }

    /// Which findings it wants to hear of.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The pause after which it is told again of what is still open; `None`: never.
    pub fn remind_every(&self) -> Option<Duration> {
        Some(self.remind_every).filter(|every| !every.is_zero())
    }

    /// Whether it forgets what it is not told again and again.
    pub fn forgets(&self) -> bool {
        matches!(self.format, Format::AlertmanagerPush(_))
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
        self.post(id, self.format.test_body(now, &self.site, &self.name)).await
    }

    /// What it is told of a change. The payload holds no secret of the receiver's.
    pub fn delivery(&self, change: &Change) -> NewDelivery {
        let payload = self.format.body(change, &self.site, &self.name);
        NewDelivery { receiver: self.name.clone(), payload }
    }

    /// One try. The same id and body at every try, so that the receiver can tell a repetition.
    pub async fn post(&self, id: Uuid, payload: String) -> Answer {
        let (headers, body) = self.format.request(id, payload);
        self.target.post(headers, body).await
    }

    /// Tells one that [forgets](Self::forgets) what is still so, in as many requests as it takes; the first that fails
    /// is the last.
    pub async fn refresh(&self, standing: &[Change]) -> Option<Answer> {
        let mut last = None;
        for some in standing.chunks(alertmanager::MAX_ALERTS) {
            let answer = self.post(Uuid::now_v7(), alertmanager::push(some, &self.site)).await;
            let delivered = matches!(answer, Answer::Delivered { .. });
            last = Some(answer);
            if !delivered {
                break;
            }
        }
        last
    }

    fn wants(&self, change: &Change) -> bool {
        let claim = &change.finding.claim;
        let scope = &self.scope;
        (self.send_resolved || !change.event.is_end())
            // Who was told that it opened is also told that it went, however harmless it has become meanwhile.
            && scope.min_severity <= change.told
            && (scope.environments.is_empty() || scope.environments.contains(&claim.environment))
            && (scope.services.contains(&claim.service)
                || (scope.services.is_empty() && claim.service != CANARY))
            && (scope.fallacies.is_empty() || scope.fallacies.contains(&claim.fallacy))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use super::super::fixture;
    use super::*;
    use crate::findings::life::Event;
    use crate::rules::Severity;

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
        change.event = Event::Retracted;
        change.told = Severity::Medium;
        assert!(!told("min_severity = \"high\"", &change));
        change.told = Severity::Critical;
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
    fn every_form_says_what_it_lacks() {
        let open = |text: &str| {
            let settings: config::Receiver = toml::from_str(&format!("name = \"ops\"\n{text}")).unwrap();
            Receivers::open(&[settings], "http://x").map(drop).map_err(|error| error.to_string())
        };
        let error = open("url = \"https://x.example\"\nformat = \"standard\"").unwrap_err();
        assert!(error.contains("secret_file"), "{error}");
        let error = open("format = \"pagerduty\"").unwrap_err();
        assert!(error.contains("key of an integration"), "{error}");
        let error = open("format = \"slack\"").unwrap_err();
        assert!(error.contains("url"), "{error}");
        for format in ["slack", "alertmanager", "alertmanager_push"] {
            open(&format!("url = \"https://x.example\"\nformat = \"{format}\"")).unwrap();
        }
        let key = file("0123456789abcdef0123456789abcdef\n");
        open(&format!("format = \"pagerduty\"\nsecret_file = {:?}", key.path())).unwrap();
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
