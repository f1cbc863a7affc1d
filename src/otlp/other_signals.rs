//! Logs and metrics: accepted unless set otherwise, because senders often have one endpoint for all signals and would
//! otherwise complain for ever. Of logs the exceptions of spans are kept (`accept`), and nothing else; now and then
//! senders are told so.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::accept::Receipt;
use super::status::Success;
use super::{Door, Signal};

/// Told to a client once in a while, as a partial success that rejects nothing.
pub(super) const NOTICE: &str = "debunk analyses traces only, and of logs keeps the exceptions of spans alone; set OTEL_METRICS_EXPORTER=none, or send these elsewhere";

/// Told where they are not even discarded.
pub(super) const REFUSED: &str = "debunk serves traces only, and is set to refuse other signals; set OTEL_METRICS_EXPORTER=none and OTEL_LOGS_EXPORTER=none, or send these elsewhere";

const PAUSE: Duration = Duration::from_mins(1);

/// Clients remembered; when there are more, the others hear nothing.
const MOST_CLIENTS: usize = 1_024;

impl Door {
    /// What is told to whoever sent something: logs without an exception are told what they are good for.
    pub(super) fn success(&self, signal: Signal, peer: IpAddr, receipt: &Receipt) -> Success {
        let kept = receipt.written.stored + receipt.written.duplicates;
        let rejected = receipt.rejections.total();
        if signal == Signal::Logs && kept == 0 && rejected == 0 {
            return self.notice(peer);
        }
        Success::of(signal, receipt)
    }

    /// A success, now and then with the notice.
    pub(super) fn notice(&self, peer: IpAddr) -> Success {
        let message = self.notices.due(peer, Instant::now()).unwrap_or_default().to_owned();
        Success { signal: Signal::Metrics, rejected: 0, message }
    }
}

/// When which client was told last.
#[derive(Default)]
pub(super) struct Notices(Mutex<HashMap<IpAddr, Instant>>);

impl Notices {
    /// The notice, if it is due for this client.
    pub(super) fn due(&self, client: IpAddr, now: Instant) -> Option<&'static str> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |at: &Instant| now.saturating_duration_since(*at) < PAUSE;
        if told.get(&client).is_some_and(recent) {
            return None;
        }
        if MOST_CLIENTS <= told.len() {
            told.retain(|_, at| recent(at));
        }
        if MOST_CLIENTS <= told.len() {
            return None;
        }
        told.insert(client, now);
        Some(NOTICE)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_client_is_told_once_a_minute() {
        let (notices, start) = (Notices::default(), Instant::now());
        let client = |number: u32| IpAddr::from(Ipv4Addr::from(number));
        assert_eq!(notices.due(client(1), start), Some(NOTICE));
        assert_eq!(notices.due(client(1), start + Duration::from_secs(59)), None);
        assert_eq!(notices.due(client(2), start), Some(NOTICE));
        assert_eq!(notices.due(client(1), start + Duration::from_mins(1)), Some(NOTICE));
    }

    #[test]
    fn many_clients_are_not_remembered_for_ever() {
        let (notices, start) = (Notices::default(), Instant::now());
        let told = |count: u32, at| {
            (0..count).filter(|number| notices.due(Ipv4Addr::from(*number).into(), at).is_some()).count()
        };
        assert_eq!(told(5_000, start), MOST_CLIENTS);
        assert_eq!(told(10, start + PAUSE), 10);
    }
}
