//! `grpc.health.v1.Health/Check`, for whoever asks over gRPC whether this door is open: probes and load balancers.
//!
//! It says what `/readyz` says of the database. Watching is not here: the protocol lets a server do without.

use bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field, string};
use tonic::{Code, Status};

use super::accept::Refusal;

pub(super) const CHECK: &str = "/grpc.health.v1.Health/Check";

/// The services of this door by their names; the empty name is the whole server.
const SERVICES: [&str; 2] = ["", "opentelemetry.proto.collector.trace.v1.TraceService"];

/// Field 1 of `HealthCheckResponse`: `SERVING` is 1, `NOT_SERVING` is 2.
const SERVING: [u8; 2] = [0x08, 1];
const NOT_SERVING: [u8; 2] = [0x08, 2];

/// The answer to a request, as protobuf.
pub(super) fn check(request: Bytes, serves: bool) -> Result<Bytes, Status> {
    let service = service(request).map_err(|why| Refusal::Malformed(why.to_string()).grpc())?;
    if !SERVICES.contains(&service.as_str()) {
        return Err(Status::new(Code::NotFound, "no such service at this port"));
    }
    Ok(Bytes::from_static(if serves { &SERVING } else { &NOT_SERVING }))
}

/// Field 1 of `HealthCheckRequest`.
fn service(mut request: Bytes) -> Result<String, prost::DecodeError> {
    let mut service = String::new();
    while request.has_remaining() {
        let (field, kind): (u32, WireType) = decode_key(&mut request)?;
        match field {
            1 => string::merge(kind, &mut service, &mut request, DecodeContext::default())?,
            _ => skip_field(kind, field, &mut request, DecodeContext::default())?,
        }
    }
    Ok(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_and_its_service_are_known_and_nothing_else_is() {
        let ask = |name: &str| {
            let mut request = vec![0x0a, name.len() as u8];
            request.extend(name.as_bytes());
            check(request.into(), true)
        };
        assert_eq!(check(Bytes::new(), true).unwrap(), &SERVING[..]);
        assert_eq!(check(Bytes::new(), false).unwrap(), &NOT_SERVING[..]);
        assert_eq!(ask(SERVICES[1]).unwrap(), &SERVING[..]);
        assert_eq!(ask("other").unwrap_err().code(), Code::NotFound);
        for damaged in [&b"\x0a\x05ab"[..], b"\xff", b"\x0a\x01\xff"] {
            assert_eq!(check(Bytes::from_static(damaged), true).unwrap_err().code(), Code::InvalidArgument);
        }
    }
}
