//! The rules, one folder per fallacy and one file per rule, and what a rule may say.
//!
//! A rule is a pure function from a [`Trace`] to [`Occurrence`]s. It reads no attribute, keeps no memory and
//! cannot fail. Identity, severity and gates are added by `findings`. To add a rule: write its file, name it in a
//! `mod` line and in the registry below, and run `make snap` for its page and its section of the example settings.
//! API entry, command line and tests follow by themselves.

mod bandwidth_is_infinite {
    pub(super) mod oversized_payload;
    pub(super) mod unbounded_result_set;
}
mod latency_is_zero {
    pub(super) mod chatty_sequential_calls;
    pub(super) mod redundant_calls;
    pub(super) mod remote_call_in_transaction;
}
mod millis;
mod network_is_homogeneous {
    pub(super) mod clock_skew;
}
mod network_is_secure {
    pub(super) mod credentials_in_telemetry;
    pub(super) mod plaintext_transport;
    pub(super) mod weak_tls;
}
mod network_is_reliable {
    pub(super) mod retry_amplification;
    pub(super) mod retry_non_idempotent;
    pub(super) mod unbounded_wait;
    pub(super) mod undisciplined_retry;
}
mod occurrence;
mod one_administrator {
    pub(super) mod environment_crossing;
    pub(super) mod unguarded_third_party;
}
mod outcome_is_known {
    pub(super) mod masked_failure;
    pub(super) mod orphaned_work;
    pub(super) mod partial_commit;
    pub(super) mod timeout_inversion;
    pub(super) mod timeout_partial_failure;
    pub(super) mod unknown_outcome_write;
}
mod told;
mod transport_cost_is_zero {
    pub(super) mod connection_churn;
    pub(super) mod n_plus_one;
}

pub use millis::Millis;
pub(crate) use millis::whole_ms;
pub use occurrence::{
    Confidence, Cost, Crossed, Diverged, Duplicated, Evidence, Exposed, Fallacy, HalfDone, Harm, Held,
    Loaded, Occurrence, Severity, Unresolved,
};

use serde::{Deserialize, Serialize};

use crate::model::Trace;

/// One rule, as the registry knows it.
#[derive(Clone, Copy)]
pub struct Rule {
    /// The file's name: one spelling in settings, API, metrics and pages.
    pub id: &'static str,
    /// The folder's name.
    pub fallacy: Fallacy,
    source: &'static str,
    enabled: fn(&Thresholds) -> bool,
    inspect: fn(&Trace, &Thresholds) -> Vec<Occurrence>,
    section: fn(&Thresholds) -> serde_json::Value,
}

/// How much is wanted. What a profile stands for is `config`'s business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// What leaves little doubt and costs much.
    Strict,
    /// What is worth telling.
    #[default]
    Balanced,
    /// Everything there may be.
    Explore,
}

impl Profile {
    /// All of them, from few findings to many.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Balanced, Self::Explore];

    /// The one spelling used everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Balanced => "balanced",
            Self::Explore => "explore",
        }
    }
}

/// Makes the table of rules and the struct of their thresholds: one row per fallacy, in its folder's name.
macro_rules! registry {
    ($($fallacy:ident => $folder:ident: $($rule:ident),+;)*) => {
        /// Every rule, in the order of the fallacies.
        pub static RULES: &[Rule] = &[$($(Rule {
            id: stringify!($rule),
            fallacy: Fallacy::$fallacy,
            source: include_str!(concat!(stringify!($folder), "/", stringify!($rule), ".rs")),
            enabled: |all| all.$rule.enabled,
            inspect: |trace, all| $folder::$rule::inspect(trace, &all.$rule),
            section: |all| serde_json::to_value(&all.$rule).unwrap_or_default(),
        },)+)*];

        /// Thresholds of every rule, one section each.
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Thresholds {
            /// What stands where nothing is set: "strict" (what is sure and costs much), "balanced", or "explore" (all there
            /// may be).
            pub profile: Profile,
            $($(
                #[doc = concat!("Of `", stringify!($rule), "`.")]
                pub $rule: $folder::$rule::Thresholds,
            )+)*
        }

        impl Thresholds {
            /// Switches on the rules of these ids, and all others off.
            pub fn only(&mut self, ids: &[&str]) {
                debug_assert!(ids.iter().all(|id| find(id).is_some()), "ids of rules: {ids:?}");
                $($(self.$rule.enabled = ids.contains(&stringify!($rule));)+)*
            }
        }
    };
}

registry! {
    NetworkIsReliable => network_is_reliable:
        retry_non_idempotent, retry_amplification, undisciplined_retry, unbounded_wait;
    LatencyIsZero => latency_is_zero: chatty_sequential_calls, redundant_calls, remote_call_in_transaction;
    BandwidthIsInfinite => bandwidth_is_infinite: oversized_payload, unbounded_result_set;
    NetworkIsSecure => network_is_secure: plaintext_transport, weak_tls, credentials_in_telemetry;
    OneAdministrator => one_administrator: environment_crossing, unguarded_third_party;
    TransportCostIsZero => transport_cost_is_zero: n_plus_one, connection_churn;
    NetworkIsHomogeneous => network_is_homogeneous: clock_skew;
    OutcomeIsKnown => outcome_is_known: timeout_partial_failure, unknown_outcome_write, partial_commit,
        masked_failure, orphaned_work, timeout_inversion;
}

/// The rule of this id.
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

impl Rule {
    /// What it finds in one trace. A rule that is switched off finds nothing.
    pub fn inspect(&self, trace: &Trace, thresholds: &Thresholds) -> Vec<Occurrence> {
        if self.is_enabled(thresholds) { (self.inspect)(trace, thresholds) } else { Vec::new() }
    }

    /// Whether it is switched on.
    pub fn is_enabled(&self, thresholds: &Thresholds) -> bool {
        (self.enabled)(thresholds)
    }

    /// Its section of the settings, by key.
    pub fn thresholds(&self, all: &Thresholds) -> serde_json::Value {
        (self.section)(all)
    }

    /// Its source: thresholds and their documentation stand in it.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// Its page, in Markdown: the text that opens its file.
    pub fn page(&self) -> String {
        let mut page = String::new();
        for line in self.source.lines().map_while(|line| line.strip_prefix("//!")) {
            page.push_str(line.strip_prefix(' ').unwrap_or(line));
            page.push('\n');
        }
        page
    }

    /// What it is about, in one line: the first of its page.
    pub fn title(&self) -> String {
        let page = self.page();
        page.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
    }

    /// One section of its page, without its heading; empty where there is none.
    pub fn section(&self, heading: &str) -> String {
        let page = self.page();
        let mut lines = page.lines().skip_while(|line| line.strip_prefix("## ") != Some(heading)).skip(1);
        let mut text = String::new();
        for line in lines.by_ref().take_while(|line| !line.starts_with("## ")) {
            text.push_str(line);
            text.push('\n');
        }
        text.trim().to_owned()
    }
}

#[cfg(test)]
impl Rule {
    /// A rule with a mistake in it.
    pub(crate) const fn broken(id: &'static str) -> Self {
        Self {
            id,
            fallacy: Fallacy::OutcomeIsKnown,
            source: "",
            enabled: |_| true,
            inspect: |_, _| panic!("a mistake"),
            section: |_| serde_json::Value::Null,
        }
    }
}
