//! Services and who asks whom, within an environment and since an instant.

use time::{Duration, OffsetDateTime};

use super::cursor::{after_name, name_of};
use super::{Failure, Parameters, Shown, Slice};
use crate::store::{EdgeRow, PartRow, ServiceRow};

const LIST: &str = "services";
/// How far back, unless asked otherwise.
const HOUR: Duration = Duration::hours(1);

/// Most services of a map.
const MAX_SERVICES: u32 = 1_000;

/// Where and since when.
#[derive(Clone, Debug)]
pub struct Place {
    /// Empty: anywhere.
    pub environments: Vec<String>,
    /// By time of receipt.
    pub since: OffsetDateTime,
}

/// A service with what it does and whom it knows.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// The service.
    pub service: ServiceRow,
    /// What it does.
    pub operations: Vec<PartRow>,
    /// Who asks it.
    pub callers: Vec<PartRow>,
    /// Whom it asks.
    pub callees: Vec<PartRow>,
}

impl Place {
    /// Reads every parameter; others are refused.
    pub fn read(mut parameters: Parameters, now: OffsetDateTime) -> Result<Self, Failure> {
        let place = Self::take(&mut parameters, now)?;
        parameters.finish()?;
        Ok(place)
    }

    fn take(parameters: &mut Parameters, now: OffsetDateTime) -> Result<Self, Failure> {
        let since = parameters.instant("since", now)?.unwrap_or(now - HOUR);
        Ok(Self { environments: parameters.texts("environment")?, since })
    }
}

impl Shown {
    /// One page of the services that served something, by name.
    pub async fn services(
        &self,
        mut parameters: Parameters,
        now: OffsetDateTime,
    ) -> Result<Slice<ServiceRow>, Failure> {
        let place = Place::take(&mut parameters, now)?;
        let after = parameters.text("after")?.map(|text| name_of(&text, LIST)).transpose()?;
        let limit = parameters.limit()?;
        parameters.finish()?;
        let mut items =
            self.store.services(&place.environments, place.since, None, after.as_deref(), limit + 1).await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|last| after_name(LIST, &last.name));
        Ok(Slice { items, next })
    }

    /// One service whole; `None` where it served nothing.
    pub async fn service(&self, name: &str, place: &Place) -> Result<Option<ServiceView>, Failure> {
        let Place { environments, since } = place;
        let mut found = self.store.services(environments, *since, Some(name), None, 1).await?;
        let Some(service) = found.pop() else { return Ok(None) };
        let (operations, callers, callees) = tokio::try_join!(
            self.store.operations_of(name, environments, *since),
            self.store.neighbours_of(name, false, environments, *since),
            self.store.neighbours_of(name, true, environments, *since),
        )?;
        Ok(Some(ServiceView { service, operations, callers, callees }))
    }

    /// Services, and who asks whom.
    pub async fn map(&self, place: &Place) -> Result<(Vec<ServiceRow>, Vec<EdgeRow>), Failure> {
        let Place { environments, since } = place;
        let found = tokio::try_join!(
            self.store.services(environments, *since, None, None, MAX_SERVICES),
            self.store.edges(environments, *since),
        )?;
        Ok(found)
    }
}
