//! What each part of the way costs by itself, on one core.

use std::hint::black_box;
use std::time::{Duration, Instant};

use debunk::clock;
use debunk::decode::{check, otlp};
use debunk::semconv::secrets;
use debunk::store::{Days, encode};

use crate::traffic::Stamp;

const ROUNDS: usize = 40;

pub(crate) fn run(stamps: &[Stamp]) {
    let days = Days::new(clock::now().date(), Duration::from_hours(7 * 24));
    let mut times = [Duration::ZERO; 4];
    let mut spans = 0;
    for stamp in stamps.iter().cycle().take(ROUNDS * stamps.len()) {
        let bytes = stamp.fresh();
        spans += stamp.spans;
        let mut begun = Instant::now();
        let mut lap = |part: usize| times[part] += std::mem::replace(&mut begun, Instant::now()).elapsed();
        let mut exports = otlp::protobuf(&bytes, &|_| Ok(())).unwrap();
        lap(0);
        check::check(&mut exports);
        lap(1);
        secrets::redact(&mut exports);
        lap(2);
        black_box(encode(exports, &days));
        lap(3);
    }
    let each = |part: usize| times[part].as_secs_f64() * 1e6 / spans as f64;
    println!(
        "  one core, µs a span: decode {:.2}, check {:.2}, redact {:.2}, rows and hashes {:.2}",
        each(0),
        each(1),
        each(2),
        each(3)
    );
}
