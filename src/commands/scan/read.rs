//! Files to a heap of spans: one thread cuts documents, several decode them, and what they decoded is taken in the
//! order of the files, so that reports and errors do not depend on which of them was faster.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::Context as _;

use super::batch::{self, Batch};
use super::heap::Heap;
use super::{bar, note};
use crate::decode::check::{self, Rejections};
use crate::decode::file::{Document, Documents, FileError};
use crate::findings::report::Read;
use crate::model::Received;
use crate::semconv;

/// Documents that wait for one thread. A single one may be large.
const QUEUE: usize = 1;

/// A document, and how much of all files was read with it.
struct Cut {
    file: usize,
    read: u64,
    document: Result<Document, FileError>,
}

/// What became of it.
struct Decoded {
    file: usize,
    read: u64,
    batch: Result<(Batch, Rejections), FileError>,
}

/// All spans of all files.
pub(super) fn files(files: &[PathBuf], workers: usize) -> anyhow::Result<(Heap, Read)> {
    thread::scope(|scope| {
        let (mut queues, mut results) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (queue, documents) = sync_channel(QUEUE);
            let (send, result) = sync_channel(QUEUE);
            scope.spawn(move || decode_all(&documents, &send));
            queues.push(queue);
            results.push(result);
        }
        scope.spawn(move || cut_all(files, &queues));
        collect(files, &results)
    })
}

/// Deals documents out in turn, until nobody takes them any more.
fn cut_all(files: &[PathBuf], queues: &[SyncSender<Cut>]) {
    let mut turn = queues.iter().cycle();
    let mut send = |cut| turn.next().is_some_and(|queue| queue.send(cut).is_ok());
    let mut before = 0;
    for (number, file) in files.iter().enumerate() {
        let mut documents = match Documents::open(file) {
            Ok(documents) => documents,
            Err(error) => {
                send(Cut { file: number, read: before, document: Err(error) });
                return;
            }
        };
        while let Some(document) = documents.next() {
            let read = before + documents.bytes_read();
            if !send(Cut { file: number, read, document }) {
                return;
            }
        }
        before += documents.bytes_read();
    }
}

fn decode_all(documents: &Receiver<Cut>, results: &SyncSender<Decoded>) {
    for Cut { file, read, document } in documents {
        let batch = document.and_then(|document| decode(&document));
        if results.send(Decoded { file, read, batch }).is_err() {
            return;
        }
    }
}

fn decode(document: &Document) -> Result<(Batch, Rejections), FileError> {
    let request = document.decode()?;
    let mut exports = request.resource_spans;
    let rejections = check::check(&mut exports);
    exports.extend(request.events);
    // As at the door of the server: what is judged, and so what is reported, holds no secret.
    semconv::secrets::redact(&mut exports);
    Ok((batch::encode(&Received::flatten(exports)), rejections))
}

/// Takes what was decoded in the order in which it was dealt out.
fn collect(files: &[PathBuf], results: &[Receiver<Decoded>]) -> anyhow::Result<(Heap, Read)> {
    let mut heap = Heap::new();
    let mut read = Read { files: files.len() as u64, ..Read::default() };
    let bar = bar(files.iter().map(|file| size(file)).sum(), "read", "{bytes}/{total_bytes}");
    let mut told = None;
    for result in results.iter().cycle() {
        // The first that has no more tells that there are none.
        let Ok(decoded) = result.recv() else { break };
        let (batch, rejections) = decoded.batch?;
        if told != Some(decoded.file) && 0 < rejections.total() {
            told = Some(decoded.file);
            bar.suspend(|| note(&format!("{}: {}", files[decoded.file].display(), rejections.message())))?;
        }
        read.rejected += rejections.total();
        read.spans += batch.spans.len() as u64 - batch.events;
        heap.add(&batch).context("cannot write spans to a temporary file")?;
        bar.set_position(decoded.read);
    }
    bar.finish_and_clear();
    Ok((heap, read))
}

/// A pipe has no size to measure progress by.
fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| if metadata.is_file() { metadata.len() } else { 0 })
}
