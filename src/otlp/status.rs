//! What a refusal is in the protocols' own words. OTLP tells by the code alone what may be sent again, so a code is
//! chosen for that first.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt, pb};

use super::Signal;
use super::accept::{Encoding, Receipt, Refusal};

/// A success, whole or partial.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Success {
    pub(super) signal: Signal,
    pub(super) rejected: u64,
    pub(super) message: String,
}

impl Success {
    pub(super) fn of(signal: Signal, receipt: &Receipt) -> Self {
        let rejected = receipt.rejections.total();
        let message = if rejected == 0 { String::new() } else { receipt.rejections.message() };
        Self { signal, rejected, message }
    }

    /// The response of every signal: they differ in the JSON name of the number alone.
    pub(super) fn encode(self, encoding: Encoding) -> Bytes {
        let whole = self.rejected == 0 && self.message.is_empty();
        match encoding {
            Encoding::Protobuf => {
                let partial_success = (!whole).then_some(ExportTracePartialSuccess {
                    rejected_spans: self.rejected as i64,
                    error_message: self.message,
                });
                ExportTraceServiceResponse { partial_success }.encode_to_vec().into()
            }
            Encoding::Json if whole => Bytes::from_static(b"{}"),
            Encoding::Json => {
                let mut partial = serde_json::json!({ "errorMessage": self.message });
                if self.rejected > 0 {
                    // 64-bit numbers are texts in protobuf's JSON.
                    let name = match self.signal {
                        Signal::Traces => "rejectedSpans",
                        Signal::Logs => "rejectedLogRecords",
                        Signal::Metrics => "rejectedDataPoints",
                    };
                    partial[name] = self.rejected.to_string().into();
                }
                serde_json::json!({ "partialSuccess": partial }).to_string().into()
            }
        }
    }
}

/// The status of an error that is none of a span's: an unknown path, say.
pub(super) fn plain(code: Code, message: &str, encoding: Encoding) -> Bytes {
    encode(&Status::new(code, message), encoding)
}

impl Refusal {
    /// With details where OTLP asks for them: how long to wait, or what is bad.
    pub(super) fn grpc(&self) -> Status {
        let (code, details) = match self {
            Self::Later { after, .. } => (Code::Unavailable, ErrorDetails::with_retry_info(Some(*after))),
            Self::Malformed(why) => {
                (Code::InvalidArgument, ErrorDetails::with_bad_request_violation("body", why))
            }
            Self::TooLarge(_) => (Code::ResourceExhausted, ErrorDetails::new()),
            Self::Unsupported(_) => (Code::Unimplemented, ErrorDetails::new()),
        };
        Status::with_error_details(code, self.to_string(), details)
    }

    pub(super) fn http(&self) -> StatusCode {
        match self {
            Self::Later { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// How long to wait, where waiting helps.
    pub(super) fn after(&self) -> Option<Duration> {
        if let Self::Later { after, .. } = self { Some(*after) } else { None }
    }

    /// The body of an HTTP reply.
    pub(super) fn encode(&self, encoding: Encoding) -> Bytes {
        encode(&self.grpc(), encoding)
    }
}

/// A `google.rpc.Status`.
fn encode(status: &Status, encoding: Encoding) -> Bytes {
    let (code, message) = (i32::from(status.code()), status.message());
    match encoding {
        Encoding::Json => serde_json::json!({ "code": code, "message": message }).to_string().into(),
        // The details of a gRPC status are that same message, whole.
        Encoding::Protobuf if !status.details().is_empty() => Bytes::copy_from_slice(status.details()),
        Encoding::Protobuf => {
            pb::Status { code, message: message.to_owned(), ..pb::Status::default() }.encode_to_vec().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_success_is_empty_and_a_partial_one_says_how_much() {
        let success = |rejected, message: &str| Success {
            signal: Signal::Traces,
            rejected,
            message: message.to_owned(),
        };
        assert_eq!(success(0, "").encode(Encoding::Protobuf), "");
        assert_eq!(success(0, "").encode(Encoding::Json), "{}");
        let of_logs = Success { signal: Signal::Logs, ..success(3, "") };
        assert_eq!(
            of_logs.encode(Encoding::Json),
            r#"{"partialSuccess":{"errorMessage":"","rejectedLogRecords":"3"}}"#
        );
        let partial = || success(2, "why");
        assert_eq!(
            partial().encode(Encoding::Json),
            r#"{"partialSuccess":{"errorMessage":"why","rejectedSpans":"2"}}"#
        );
        let bytes = partial().encode(Encoding::Protobuf);
        let partial_success = ExportTraceServiceResponse::decode(bytes).unwrap().partial_success.unwrap();
        assert_eq!((partial_success.rejected_spans, partial_success.error_message.as_str()), (2, "why"));
    }

    #[test]
    fn only_what_may_be_sent_again_says_so() {
        let later = Refusal::later("database", "away");
        let permanent = [
            Refusal::Malformed("x".to_owned()),
            Refusal::TooLarge("x".to_owned()),
            Refusal::Unsupported("x".to_owned()),
        ];
        assert_eq!(later.http(), 503);
        assert_eq!(later.grpc().code(), Code::Unavailable);
        assert!(later.grpc().get_details_retry_info().is_some());
        for refusal in permanent {
            assert!(![429, 502, 503, 504].contains(&refusal.http().as_u16()));
            assert!(refusal.grpc().get_details_retry_info().is_none());
            let status = pb::Status::decode(refusal.encode(Encoding::Protobuf)).unwrap();
            assert_eq!((status.code, status.message.as_str()), (i32::from(refusal.grpc().code()), "x"));
        }
    }
}
