//! Events about single messages of an RPC: how many went each way, and how large they were.

use opentelemetry_proto::tonic::trace::v1::span::Event;

use super::field::{self, Field};

/// Both ways of one exchange.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Messages {
    pub(super) sent: u32,
    pub(super) received: u32,
    /// Absent where no event told a size.
    pub(super) sent_bytes: Option<u64>,
    pub(super) received_bytes: Option<u64>,
}

/// Counts the messages; other events are left alone.
pub(super) fn read(events: &[Event]) -> Messages {
    let mut messages = Messages::default();
    for event in events {
        let by_name = match event.name.as_str() {
            "Outbound message" => Some(true),
            "Inbound message" => Some(false),
            "rpc.message" | "message" => None,
            _ => continue,
        };
        let mut outbound = by_name;
        let mut size = Field::default();
        for attribute in &event.attributes {
            let Some(value) = attribute.value.as_ref().and_then(|any| any.value.as_ref()) else { continue };
            match attribute.key.as_str() {
                "rpc.message.type" | "message.type" => {
                    outbound = field::text(value).map(|text| text.eq_ignore_ascii_case("SENT"));
                }
                "message-size" | "rpc.message.uncompressed_size" => size.current(value),
                "message.uncompressed_size" => size.former(value),
                _ => {}
            }
        }
        let (count, bytes) = match outbound {
            Some(true) => (&mut messages.sent, &mut messages.sent_bytes),
            Some(false) => (&mut messages.received, &mut messages.received_bytes),
            None => continue,
        };
        *count = count.saturating_add(1);
        if let Some(size) = size.count() {
            *bytes = Some(bytes.unwrap_or(0).saturating_add(size));
        }
    }
    messages
}
