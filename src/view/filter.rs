//! Which findings a list shows: the same parameters for the API and for the page.

use time::OffsetDateTime;

use super::cursor::narrow;
use super::{Cursor, Failure, Parameters, Shown, Slice};
use crate::findings::Fingerprint;
use crate::findings::life::Status;
use crate::findings::shape::{Finding, Handling};
use crate::rules::{self, Confidence, Fallacy, Severity};
use crate::store::findings::{Place, Sort, Wanted};

/// What a list can be sorted by.
pub const SORTS: [(&str, Sort); 4] = [
    ("severity", Sort::Severity),
    ("last_seen", Sort::LastSeen),
    ("first_seen", Sort::FirstSeen),
    ("occurrences", Sort::Occurrences),
];

const SEVERITIES: [Severity; 4] = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
const CONFIDENCES: [Confidence; 4] =
    [Confidence::Low, Confidence::Medium, Confidence::High, Confidence::Confirmed];

/// A list of findings as asked for.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Which.
    pub wanted: Wanted,
    /// In which order.
    pub sort: Sort,
    /// From where on.
    after: Option<Place>,
    /// How many.
    limit: u32,
}

impl Filter {
    /// Reads every parameter of the list; others are refused. Without a status, open findings are
    /// meant; without a handling, all but muted ones.
    pub fn read(mut parameters: Parameters, now: OffsetDateTime) -> Result<Self, Failure> {
        let mut statuses = parameters.all::<Status>("status")?;
        if statuses.is_empty() {
            statuses.push(Status::Open);
        }
        let mut handlings =
            parameters.words("handling", &Handling::ALL.map(|handling| (handling.id(), handling)))?;
        if handlings.is_empty() {
            handlings.extend([Handling::None, Handling::Acknowledged]);
        }
        let sort = parameters.word("sort", &SORTS)?.unwrap_or_default();
        let after = parameters.text("after")?;
        let known: Vec<(&str, ())> = rules::RULES.iter().map(|rule| (rule.id, ())).collect();
        let rules = parameters.texts("rule")?;
        for rule in &rules {
            among_rules(rule, &known)?;
        }
        let filter = Self {
            wanted: Wanted {
                statuses,
                handlings,
                fallacies: parameters
                    .words("fallacy", &Fallacy::ALL.map(|fallacy| (fallacy.id(), fallacy)))?,
                rules,
                min_severity: parameters
                    .word("severity", &SEVERITIES.map(|severity| (severity.id(), severity)))?,
                min_confidence: parameters
                    .word("confidence", &CONFIDENCES.map(|confidence| (confidence.id(), confidence)))?,
                services: parameters.texts("service")?,
                environments: parameters.texts("environment")?,
                text: parameters.text("q")?,
                since: parameters.instant("since", now)?,
                until: parameters.instant("until", now)?,
            },
            sort,
            after: after.map(|text| place(&text, sort)).transpose()?,
            limit: parameters.limit()?,
        };
        parameters.finish()?;
        Ok(filter)
    }
}

fn among_rules(rule: &str, known: &[(&str, ())]) -> Result<(), Failure> {
    if known.iter().any(|(id, ())| *id == rule) {
        return Ok(());
    }
    let ids: Vec<&str> = known.iter().map(|(id, ())| *id).collect();
    Err(Failure::parameter("rule", format!("{rule:?} is none of {}", ids.join(", "))))
}

/// A cursor belongs to one order: in another its value would mean something else.
fn list_of(sort: Sort) -> String {
    let name = SORTS.iter().find(|(_, known)| *known == sort).map_or("", |(name, _)| name);
    format!("findings.{name}")
}

fn place(text: &str, sort: Sort) -> Result<Place, Failure> {
    let [value, finding] = Cursor::key_of(text, &list_of(sort))?;
    Ok(Place { value: narrow(value)?, finding: Fingerprint(narrow(finding)?) })
}

impl Shown {
    /// One page of the findings that `filter` describes.
    pub async fn findings(&self, filter: &Filter) -> Result<Slice<Finding>, Failure> {
        let limit = filter.limit;
        let listed = self
            .store
            .list_findings(
                &filter.wanted,
                filter.sort,
                filter.after,
                limit + 1,
                &self.config.server.public_url,
            )
            .await?;
        let slice = Slice::of(listed, limit, |last| {
            let key = vec![i128::from(last.place.value), i128::from(last.place.finding.0)];
            Cursor::new(list_of(filter.sort), key)
        });
        let items = slice.items.into_iter().map(|listed| listed.finding).collect();
        Ok(Slice { items, next: slice.next })
    }
}
