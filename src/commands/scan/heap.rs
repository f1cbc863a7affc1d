//! Spans that wait until all files are read: in parts by trace, in memory as long as they are few, else in a
//! temporary file.
//!
//! Each part is a sequence of records: a resource or scope where it differs from what the part holds already, then
//! the spans that came from it, encoded. The file has no name, so that nothing of it is left however we end.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::batch::{Batch, Digest, Head};

/// Traces are dealt out to so many parts; one is in memory whole while it is judged.
pub(super) const PARTS: usize = 64;
/// Most bytes of encoded spans in memory.
const MOST_HELD: usize = 48 << 20;
/// Room grows by so much: doubling would hold twice what is needed.
const GROWTH: usize = 64 << 10;
/// Resources and scopes that a part remembers to have written.
const MOST_KNOWN: usize = 256;

const RESOURCE: u8 = 0;
const SCOPE: u8 = 1;
const SPAN: u8 = 2;

/// All spans that were read.
pub(super) struct Heap {
    parts: Vec<Part>,
    held: usize,
    most_held: usize,
    file: Option<File>,
    written: u64,
    /// Some of them are events that wait for their spans.
    pub(super) has_events: bool,
}

#[derive(Default)]
struct Part {
    /// What is not in the file.
    bytes: Vec<u8>,
    /// Where in the file the rest is: offset and length.
    chunks: Vec<(u64, usize)>,
    /// Numbers of resources and scopes: an empty one of each is encoded alike.
    known: HashMap<(u8, Digest), u32>,
    resources: u32,
    scopes: u32,
}

impl Heap {
    pub(super) fn new() -> Self {
        Self::holding(MOST_HELD)
    }

    fn holding(most_held: usize) -> Self {
        let parts = std::iter::repeat_with(Part::default).take(PARTS).collect();
        Self { parts, held: 0, most_held, file: None, written: 0, has_events: false }
    }

    /// Takes the spans of one document.
    pub(super) fn add(&mut self, batch: &Batch) -> io::Result<()> {
        self.has_events |= 0 < batch.events;
        for span in &batch.spans {
            // Some senders count ids up, others begin them with the time.
            let mixed = (span.head.trace.0 as u64 ^ (span.head.trace.0 >> 64) as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let part = &mut self.parts[(mixed >> 32) as usize % PARTS];
            let before = part.bytes.len();
            part.add(batch, span);
            self.held += part.bytes.len() - before;
        }
        if self.most_held < self.held { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(nameless()?),
        };
        for part in self.parts.iter_mut().filter(|part| !part.bytes.is_empty()) {
            file.write_all(&part.bytes)?;
            part.chunks.push((self.written, part.bytes.len()));
            self.written += part.bytes.len() as u64;
            part.bytes.clear();
        }
        self.held = 0;
        Ok(())
    }

    /// Bytes of all parts.
    pub(super) fn size(&self) -> u64 {
        self.written + self.held as u64
    }

    /// The records of one part.
    pub(super) fn read(&self, number: usize) -> io::Result<Vec<u8>> {
        let part = &self.parts[number];
        let length = part.chunks.iter().map(|(_, length)| length).sum::<usize>();
        let mut bytes = vec![0; length];
        let mut rest = bytes.as_mut_slice();
        for (offset, length) in &part.chunks {
            let (chunk, after) = rest.split_at_mut(*length);
            self.file.as_ref().expect("chunks are of a file").read_exact_at(chunk, *offset)?;
            rest = after;
        }
        bytes.extend_from_slice(&part.bytes);
        Ok(bytes)
    }
}

impl Part {
    fn add(&mut self, batch: &Batch, span: &super::batch::Encoded) {
        let resource = self.emitter(RESOURCE, &batch.resources[span.resource as usize]);
        let scope = self.emitter(SCOPE, &batch.scopes[span.scope as usize]);
        let encoded = &batch.bytes[span.range.clone()];
        self.reserve(1 + Head::SIZE + 12 + encoded.len());
        self.bytes.push(SPAN);
        span.head.write(&mut self.bytes);
        for number in [resource, scope, encoded.len() as u32] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.bytes.extend_from_slice(encoded);
    }

    /// The number that a resource or scope has in this part; writes it where it is new.
    fn emitter(&mut self, kind: u8, (digest, encoded): &(Digest, Vec<u8>)) -> u32 {
        if let Some(known) = self.known.get(&(kind, *digest)) {
            return *known;
        }
        if MOST_KNOWN <= self.known.len() {
            self.known.clear();
        }
        let count = if kind == RESOURCE { &mut self.resources } else { &mut self.scopes };
        let number = *count;
        *count += 1;
        self.known.insert((kind, *digest), number);
        self.reserve(5 + encoded.len());
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(encoded);
        number
    }

    fn reserve(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            self.bytes.reserve_exact(more.max(GROWTH));
        }
    }
}

/// A file without a name, in the folder for temporary ones.
fn nameless() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("debunk-scan-{:016x}", rand::random::<u64>()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// One span of a part.
pub(super) struct Record<'a> {
    pub(super) head: Head,
    pub(super) resource: Arc<Resource>,
    pub(super) scope: Arc<InstrumentationScope>,
    /// The span in protobuf.
    pub(super) encoded: &'a [u8],
}

/// The spans of a part, in the order in which they came. We wrote them, so they can be read.
pub(super) fn records(bytes: &[u8]) -> Vec<Record<'_>> {
    const OURS: &str = "we wrote it";
    let (mut resources, mut scopes, mut records) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = bytes;
    while let Some((kind, after)) = rest.split_first() {
        rest = after;
        if *kind == SPAN {
            let head = Head::read(&mut rest);
            let (resource, scope) = (number(&mut rest), number(&mut rest));
            let encoded = leaf(&mut rest);
            records.push(Record {
                head,
                resource: Arc::clone(&resources[resource]),
                scope: Arc::clone(&scopes[scope]),
                encoded,
            });
        } else if *kind == RESOURCE {
            resources.push(Arc::new(Resource::decode(leaf(&mut rest)).expect(OURS)));
        } else {
            scopes.push(Arc::new(InstrumentationScope::decode(leaf(&mut rest)).expect(OURS)));
        }
    }
    records
}

fn number(rest: &mut &[u8]) -> usize {
    u32::from_le_bytes(fixed(rest)) as usize
}

fn leaf<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (leaf, after) = rest[4..].split_at(u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize);
    *rest = after;
    leaf
}

/// So many bytes from the front.
pub(super) fn fixed<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (fixed, after) = rest.split_first_chunk().expect("we wrote it whole");
    *rest = after;
    *fixed
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::Span;

    use super::super::batch;
    use super::*;
    use crate::model::Received;

    /// Documents of one span each, in a few traces and resources.
    fn batches() -> Vec<Batch> {
        let resource = |number| Resource { dropped_attributes_count: number % 3, ..Resource::default() };
        let span = |number: u32| Span {
            trace_id: u128::from(1 + number % 7).to_be_bytes().to_vec(),
            span_id: u64::from(1 + number).to_be_bytes().to_vec(),
            name: "x".repeat(100),
            ..Span::default()
        };
        let one = |number| {
            let resource = Arc::new(resource(number));
            batch::encode(&[Received { resource, scope: Arc::default(), span: span(number) }])
        };
        (0..500).map(one).collect()
    }

    /// (trace, resource, span) of all that a heap holds.
    fn content(heap: &Heap) -> Vec<(u128, u32, Vec<u8>)> {
        let mut all = Vec::new();
        for part in 0..PARTS {
            let bytes = heap.read(part).unwrap();
            all.extend(
                records(&bytes).iter().map(|one| {
                    (one.head.trace.0, one.resource.dropped_attributes_count, one.encoded.to_vec())
                }),
            );
        }
        all.sort();
        all
    }

    #[test]
    fn what_went_to_the_file_comes_back_like_what_stayed() {
        let (mut kept, mut spilled) = (Heap::new(), Heap::holding(10_000));
        for batch in batches() {
            kept.add(&batch).unwrap();
            spilled.add(&batch).unwrap();
        }
        assert!(kept.file.is_none() && 30_000 < spilled.written, "{}", spilled.written);
        assert_eq!(content(&kept).len(), 500);
        assert_eq!(content(&kept), content(&spilled));
    }
}
