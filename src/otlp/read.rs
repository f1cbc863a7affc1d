//! The body of a request, read under every bound there is: its size, the bytes in flight, and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::Door;
use super::accept::Refusal;
use super::budget::Share;
use crate::decode::NoRoom;

/// A body that is refused is still read for so long, so that its sender sees the reply rather than a broken
/// connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// Room for a body that is announced to be as large, or larger. More is taken as it arrives.
const START: usize = 64 << 10;

/// How long a body will be, by its first bytes, as far as they tell.
pub(super) type Announced = fn(&[u8]) -> Option<usize>;

/// Reads a body of at most `most` bytes. Room is taken before it is filled; where there is none for what is announced,
/// nothing is kept at all.
pub(super) async fn whole<B>(
    door: &Door,
    body: B,
    most: usize,
    announced: Announced,
) -> Result<(Bytes, Share), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut body = body;
    let share = door.budget.share();
    let read = timeout(door.limits.read_timeout.0, fill(&mut body, most, announced, &share)).await;
    match read {
        Ok(Ok(bytes)) => Ok((bytes, share)),
        Ok(Err(Stop::NoRoom(no_room))) => {
            drain(&mut body, most).await;
            Err(refusal(no_room, door.max_request()))
        }
        Ok(Err(Stop::Broken)) => Err(Refusal::Malformed("the body ended before its time".to_owned())),
        Err(_elapsed) => Err(Refusal::later("time", "the request took too long to arrive")),
    }
}

/// Reads a body and keeps nothing of it.
pub(super) async fn discard<B>(door: &Door, body: B, most: usize) -> Result<(), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut body = body;
    let mut read = 0;
    let all = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Stop::Broken)?;
            read += frame.data_ref().map_or(0, Bytes::len);
            if most < read {
                return Err(Stop::NoRoom(NoRoom::Ever));
            }
        }
        Ok(())
    };
    match timeout(door.limits.read_timeout.0, all).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Stop::NoRoom(no_room))) => Err(refusal(no_room, door.max_request())),
        Ok(Err(Stop::Broken)) => Err(Refusal::Malformed("the body ended before its time".to_owned())),
        Err(_elapsed) => Err(Refusal::later("time", "the request took too long to arrive")),
    }
}

/// What it means for a request that there was no room for it.
pub(super) fn refusal(no_room: NoRoom, most: usize) -> Refusal {
    match no_room {
        NoRoom::Ever => Refusal::TooLarge(format!(
            "the request is larger than {most} bytes, after decompression, or much larger when decoded"
        )),
        NoRoom::Now => Refusal::later("bytes", "too many bytes are in flight"),
    }
}

enum Stop {
    NoRoom(NoRoom),
    Broken,
}

impl From<NoRoom> for Stop {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}

async fn fill<B>(body: &mut B, most: usize, announced: Announced, share: &Share) -> Result<Bytes, Stop>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut buffer = BytesMut::new();
    let mut most = most;
    let mut asked = false;
    if let Some(declared) = body.size_hint().exact() {
        let declared = usize::try_from(declared).unwrap_or(usize::MAX);
        if most < declared {
            return Err(NoRoom::Ever.into());
        }
        most = declared;
        share.could_take(declared)?;
        asked = true;
        // No more than a start: who announces much and sends nothing must not keep others out.
        let start = declared.min(START);
        share.take(start)?;
        buffer.reserve(start);
    }
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Stop::Broken)?.into_data() else { continue };
        let length = buffer.len() + data.len();
        if most < length {
            return Err(NoRoom::Ever.into());
        }
        if buffer.capacity() < length {
            // Doubling, but never past the limit.
            let growth = buffer.len().clamp(data.len(), most - buffer.len());
            share.take(growth)?;
            buffer.reserve(growth);
        }
        buffer.extend_from_slice(&data);
        if !asked && let Some(length) = announced(&buffer) {
            if most < length {
                return Err(NoRoom::Ever.into());
            }
            share.could_take(length.saturating_sub(buffer.len()))?;
            asked = true;
        }
    }
    Ok(buffer.freeze())
}

async fn drain<B>(body: &mut B, most: usize)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = most;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // However it ends, the reply follows.
    let _in_time = timeout(PATIENCE, rest).await;
}
