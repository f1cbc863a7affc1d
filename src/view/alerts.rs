//! Receivers and deliveries: who is told, how that goes, and what people may do about it.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Cursor, Failure, Parameters, Shown, Slice};
use crate::alert::{Answer, Receiver};
use crate::clock;
use crate::findings::Fingerprint;
use crate::store::{DeliveryRow, ReceiverRow, Retried, Tried, WantedDeliveries};

/// A delivery's name for lists.
const LIST: &str = "deliveries";
/// The words for what became of a delivery.
pub const STATES: [&str; 3] = ["dead", "pending", "delivered"];

/// A receiver and how telling it goes.
pub struct Health<'a> {
    /// As the settings have it.
    pub receiver: &'a Receiver,
    /// As all replicas find it.
    pub row: ReceiverRow,
}

/// How a receiver is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It took what it was told last, or was told nothing yet.
    Ok,
    /// It did not.
    Failing,
    /// It asked for a pause.
    Paused,
    /// It answered that it is gone.
    Disabled,
}

/// How a test went.
pub struct Tested {
    /// Id of the message, as the receiver saw it.
    pub id: Uuid,
    /// The answer.
    pub answer: Answer,
}

/// A list of deliveries as asked for.
#[derive(Clone, Debug)]
pub struct DeliveryFilter {
    /// Which.
    pub wanted: WantedDeliveries,
    after: Option<Uuid>,
    limit: u32,
}

impl Health<'_> {
    /// How it is.
    pub fn state(&self) -> State {
        if self.receiver.is_disabled() {
            State::Disabled
        } else if self.row.paused_until.is_some() {
            State::Paused
        } else if self.row.failing_since.is_some() {
            State::Failing
        } else {
            State::Ok
        }
    }
}

impl State {
    /// The one spelling used everywhere.
    pub fn id(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failing => "failing",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }
}

impl DeliveryFilter {
    /// Reads every parameter of the list; others are refused.
    pub fn read(mut parameters: Parameters) -> Result<Self, Failure> {
        let states = STATES.map(|state| (state, state));
        let wanted = WantedDeliveries {
            receivers: parameters.texts("receiver")?,
            states: parameters.words("state", &states)?.into_iter().map(ToOwned::to_owned).collect(),
            finding: parameters.text("finding")?.map(|id| finding(&id)).transpose()?,
        };
        let after = parameters.text("after")?.map(|text| Cursor::key_of::<1>(&text, LIST)).transpose()?;
        let after = after.map(|[id]| Uuid::from_u128(id.cast_unsigned()));
        let limit = parameters.limit()?;
        parameters.finish()?;
        Ok(Self { wanted, after, limit })
    }
}

fn finding(id: &str) -> Result<Fingerprint, Failure> {
    id.parse().map_err(|_| Failure::parameter("finding", "an id has 16 hex digits"))
}

impl Shown {
    /// Every receiver of the settings, in their order.
    pub async fn health(&self) -> Result<Vec<Health<'_>>, Failure> {
        let names: Vec<String> = self.receivers.iter().map(|receiver| receiver.name().to_owned()).collect();
        let rows = self.store.receivers(&names).await?;
        let known = rows.into_iter().filter_map(|row| {
            let receiver = self.receivers.find(&row.receiver)?;
            Some(Health { receiver, row })
        });
        Ok(known.collect())
    }

    /// One page of the deliveries that `filter` describes, newest first.
    pub async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Slice<DeliveryRow>, Failure> {
        let rows = self.store.deliveries(&filter.wanted, filter.after, filter.limit + 1).await?;
        Ok(Slice::of(rows, filter.limit, |last| Cursor::new(LIST, vec![last.id.as_u128().cast_signed()])))
    }

    /// Sends one message that tells nothing, once, now. How it went counts for the receiver's health.
    pub async fn test(&self, name: &str) -> Result<Tested, Failure> {
        let receiver = self.receivers.find(name).ok_or_else(|| Failure::missing("such receiver"))?;
        let id = Uuid::now_v7();
        let answer = receiver.test(id, clock::now()).await;
        let tried = match answer.clone() {
            Answer::Delivered { status } => Tried::Delivered { status },
            Answer::Refused { status, why } => Tried::Dead { status: Some(status), why },
            Answer::Later { status, why, .. } => Tried::Dead { status, why },
        };
        // The answer stands, whether or not it can be written down.
        if let Err(error) = self.store.note_try(name, &tried).await {
            tracing::warn!(%error, receiver = name, "the outcome of a test is not on record");
        }
        Ok(Tested { id, answer })
    }

    /// Has a delivery tried as if it were new, under the same id.
    pub async fn retry(&self, id: &str, now: OffsetDateTime) -> Result<(), Failure> {
        let unknown = || Failure::missing("such delivery");
        let id = Uuid::parse_str(id).map_err(|_| unknown())?;
        let receiver = self.store.receiver_of(id).await?.ok_or_else(unknown)?;
        if self.receivers.find(&receiver).is_none() {
            return Err(Failure::conflict("the settings no longer name its receiver"));
        }
        match self.store.retry_delivery(id, now).await? {
            Retried::Due => Ok(()),
            Retried::Delivered => Err(Failure::conflict("its receiver has it already")),
            Retried::Unknown => Err(unknown()),
        }
    }
}
