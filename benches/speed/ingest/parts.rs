//! What the way from the wire to rows costs by itself, on one core, against decoding every span.

use std::hint::black_box;
use std::time::{Duration, Instant};

use debunk::clock;
use debunk::decode::items::{self, Item};
use debunk::decode::plain::Limits;
use debunk::decode::{check, otlp};
use debunk::semconv::secrets;
use debunk::store::{Batch, Days, encode};

use crate::traffic::Stamp;

const ROUNDS: usize = 40;

pub(crate) fn run(stamps: &[Stamp]) {
    let days = Days::new(clock::now().date(), Duration::from_hours(7 * 24));
    let mut times = [Duration::ZERO; 6];
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
        look(&bytes, |item| _ = black_box(item));
        lap(4);
        let mut batch = Batch::new(days);
        look(&bytes, |item| match item {
            Item::Resource(resource) => batch.resource(&resource),
            Item::Scope(scope) => batch.scope(&scope),
            Item::Plain(span) => batch.plain(&span),
            Item::Decoded(span) => batch.span(span),
        });
        black_box(batch);
        lap(5);
    }
    let each = |part: usize| times[part].as_secs_f64() * 1e6 / spans as f64;
    println!(
        "  one core, µs a span: look {:.2}, look and rows {:.2}; decoded: {:.2} (decode {:.2}, check {:.2}, redact \
         {:.2}, rows {:.2})",
        each(4),
        each(5),
        (0..4).map(each).sum::<f64>(),
        each(0),
        each(1),
        each(2),
        each(3)
    );
}

fn look(bytes: &[u8], mut take: impl FnMut(Item<'_>)) {
    let limits = Limits { count: 128, length: 64 << 10 };
    let take = &mut |item: Item<'_>| {
        take(item);
        Ok(())
    };
    items::protobuf(bytes, &limits, &|_| Ok(()), take).unwrap();
}
