//! What people decide about a finding, as asked for by a program or by a form.

use time::OffsetDateTime;

use super::parameters::rfc3339;
use super::{Failure, Parameters, Shown};
use crate::config::Period;
use crate::findings::Fingerprint;
use crate::findings::decision::{Action, Decision, Reason};
use crate::store::{Decided, DecisionRow};

/// Reads a decision: `action`, for a mute `reason` and `until`, and a `note`. Everything else is refused.
pub fn read(mut parameters: Parameters, now: OffsetDateTime) -> Result<Decision, Failure> {
    let action = parameters.word("action", &Action::ALL.map(|action| (action.id(), action)))?;
    let action = action.ok_or_else(|| Failure::parameter("action", "say what is to be done"))?;
    let reason = parameters.word("reason", &Reason::ALL.map(|reason| (reason.id(), reason)))?;
    let until = parameters.text("until")?.map(|text| until(&text, now)).transpose()?;
    let note = parameters.text("note")?;
    parameters.finish()?;
    for (name, given) in [("reason", reason.is_some()), ("until", until.is_some())] {
        if given && action != Action::Mute {
            return Err(Failure::parameter(name, "goes with mute only"));
        }
    }
    Ok(Decision { action, reason, until, note })
}

/// An instant to come, or a time from now on such as `7d`.
fn until(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, Failure> {
    let instant = rfc3339(text);
    let length =
        || text.parse::<Period>().ok().and_then(|Period(length)| now.checked_add(length.try_into().ok()?));
    let until = instant.or_else(length).ok_or_else(|| {
        let detail =
            "neither an RFC 3339 instant such as 2026-01-31T12:00:00Z nor a time from now such as 7d";
        Failure::parameter("until", format!("{text:?} is {detail}"))
    })?;
    if until <= now {
        return Err(Failure::parameter("until", "is over already"));
    }
    Ok(until)
}

impl Shown {
    /// Makes a decision hold; `None` where there is no such finding.
    pub async fn decide(&self, id: &str, decision: &Decision) -> Result<Option<DecisionRow>, Failure> {
        let Ok(id) = id.parse::<Fingerprint>() else { return Ok(None) };
        let tell = |change: &_| self.receivers.deliveries(change);
        match self.store.decide(id, decision, None, &tell).await? {
            Decided::Done(row) => Ok(Some(row)),
            Decided::DoesNotApply(why) => Err(Failure::conflict(why.to_string())),
            Decided::Unknown => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-05-10 12:00 UTC);

    fn asked(pairs: &[(&str, &str)]) -> Result<Decision, String> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        match read(Parameters::new(owned.collect()).unwrap(), NOW) {
            Ok(decision) => Ok(decision),
            Err(Failure::Parameter { name, .. }) => Err(name),
            Err(other) => panic!("{other:?} names no parameter"),
        }
    }

    #[test]
    fn a_mute_ends_at_an_instant_or_after_a_time_or_never() {
        let until = |text| asked(&[("action", "mute"), ("until", text)]).unwrap().until;
        assert_eq!(until("7d"), Some(datetime!(2026-05-17 12:00 UTC)));
        assert_eq!(until("2026-05-10T14:30:00+02:00"), Some(datetime!(2026-05-10 12:30 UTC)));
        assert_eq!(asked(&[("action", "mute"), ("reason", "test")]).unwrap().until, None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (pairs, name) in [
            (&[("note", "x")][..], "action"),
            (&[("action", "delete")], "action"),
            (&[("action", "mute"), ("until", "yesterday")], "until"),
            (&[("action", "mute"), ("until", "9999-12-31T23:59:59-01:00")], "until"),
            (&[("action", "mute"), ("until", "2026-05-10T12:00:00Z")], "until"),
            (&[("action", "mute"), ("reason", "because")], "reason"),
            (&[("action", "resolve"), ("reason", "test")], "reason"),
            (&[("action", "resolve"), ("until", "7d")], "until"),
            (&[("action", "resolve"), ("colour", "red")], "colour"),
        ] {
            assert_eq!(asked(pairs).unwrap_err(), name);
        }
    }
}
