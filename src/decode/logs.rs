//! Log requests, of which only the exceptions of spans are kept: each becomes an event that waits for its span.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use prost::Message;

use super::{DecodeError, Malformed, Place, Room, json, weight};
use crate::semconv::exceptions::{self, Exceptions};

/// Reads an `ExportLogsServiceRequest`.
pub fn protobuf(bytes: &[u8], room: Room<'_>) -> Result<Exceptions, DecodeError> {
    room(weight::of_logs(bytes)?)?;
    let request = ExportLogsServiceRequest::decode(bytes)
        .map_err(|error| Malformed::at(Place::Within(bytes.len()), error))?;
    Ok(of(request.resource_logs))
}

/// Reads the JSON form, as leniently as that of spans.
pub fn json(bytes: &[u8], room: Room<'_>) -> Result<Exceptions, DecodeError> {
    json::request(bytes, room).map(|request| of(request.resource_logs))
}

/// The exceptions in some logs.
pub(super) fn of(logs: Vec<ResourceLogs>) -> Exceptions {
    let of_scopes = logs.into_iter().flat_map(|of_resource| of_resource.scope_logs);
    exceptions::of_records(of_scopes.flat_map(|of_scope| of_scope.log_records))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ScopeLogs};

    use super::super::NoRoom;
    use super::*;

    fn request(records: Vec<LogRecord>) -> ExportLogsServiceRequest {
        let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
        let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
        ExportLogsServiceRequest { resource_logs }
    }

    fn record() -> LogRecord {
        let value = Some(AnyValue { value: Some(Value::StringValue("ReadTimeout".to_owned())) });
        LogRecord {
            time_unix_nano: 1_700_000_000_000_000_001,
            severity_number: 17,
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            event_name: "exception".to_owned(),
            body: Some(AnyValue { value: Some(Value::IntValue(1)) }),
            attributes: vec![KeyValue { key: "exception.type".to_owned(), value, ..KeyValue::default() }],
            ..LogRecord::default()
        }
    }

    #[test]
    fn both_encodings_give_the_same_events() {
        let sent = request(vec![record(), LogRecord::default()]);
        let room = |_| Ok(());
        let binary = protobuf(&sent.encode_to_vec(), &room).unwrap();
        let text = json(&serde_json::to_vec(&sent).unwrap(), &room).unwrap();
        assert_eq!((binary.kept, binary.ignored), (1, 1));
        assert_eq!((binary.exports, binary.kept, binary.ignored), (text.exports, text.kept, text.ignored));
    }

    #[test]
    fn logs_take_no_more_room_than_there_is() {
        let bytes = request(vec![LogRecord::default(); 10_000]).encode_to_vec();
        let asked = Cell::new(0);
        let room = |bytes| {
            asked.set(asked.get() + bytes);
            if asked.get() < 1 << 20 { Ok(()) } else { Err(NoRoom::Now) }
        };
        assert_eq!(protobuf(&bytes, &room).unwrap_err(), DecodeError::NoRoom(NoRoom::Now));
        assert!(10_000 * size_of::<LogRecord>() <= asked.get(), "{}", asked.get());
    }

    #[test]
    fn what_is_no_request_is_malformed() {
        let room = |_| Ok(());
        for bytes in [&b"\x0a\xff"[..], b"\x0a\x02\x12\x09"] {
            assert!(matches!(protobuf(bytes, &room), Err(DecodeError::Malformed(_))));
        }
        for text in
            ["[]", r#"{"resourceLogs":7}"#, r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[1]}]}]}"#]
        {
            assert!(matches!(json(text.as_bytes(), &room), Err(DecodeError::Malformed(_))), "{text}");
        }
    }
}
