//! Trace files, whatever form they have: OTLP/JSON as one document or one a line, OTLP protobuf, plain or
//! compressed with gzip or zstd. The content decides, never the name.
//!
//! Documents come out one at a time, so a file may be larger than memory; a single document may not.

mod cut;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_proto::tonic::trace::v1::ResourceSpans;

use super::bounded::{self, Compression};
use super::{DecodeError, Malformed, NoRoom, Place, json, logs, otlp};
use cut::Cut;

/// Largest single document, decompressed.
const MAX_DOCUMENT: usize = 256 << 20;

/// Most memory that one document may take when decoded.
const MAX_DECODED: usize = 4 << 30;

/// Some editors put it before text; JSON has none.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// One export of a file.
#[derive(Debug)]
pub struct Request {
    /// The line where it begins.
    pub line: usize,
    /// What it holds; ids are not checked yet.
    pub resource_spans: Vec<ResourceSpans>,
    /// Exceptions that stood in it as log records, for spans that may stand elsewhere. They need no check.
    pub events: Vec<ResourceSpans>,
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system says no.
    #[error("cannot read {file}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is no trace, or a broken one.
    #[error("{file}: {malformed}")]
    Malformed {
        /// The file.
        file: String,
        /// The place, and what is wrong there.
        malformed: Malformed,
    },
}

/// The exports of one file, in order; ends after the first error.
pub struct Requests {
    documents: Documents,
    ended: bool,
}

impl Requests {
    /// Opens a file; `-` is standard input.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Documents::open(path).map(|documents| Self { documents, ended: false })
    }
}

impl Iterator for Requests {
    type Item = Result<Request, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.documents.next().map(|document| document?.decode());
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// One document of a file, not decoded yet.
pub struct Document {
    file: Arc<str>,
    form: Form,
    line: usize,
    bytes: Vec<u8>,
}

impl Document {
    /// Reads it; it can be done elsewhere than the file is read.
    pub fn decode(&self) -> Result<Request, FileError> {
        let request = match self.form {
            Form::Protobuf => {
                let decoded = otlp::protobuf(&self.bytes, &room());
                let resource_spans = decoded.map_err(|error| malformed(error, Place::Byte(0)));
                resource_spans.map(|resource_spans| Request { line: 1, resource_spans, events: Vec::new() })
            }
            Form::Json => self.decode_json(),
        };
        request.map_err(|malformed| FileError::Malformed { file: self.file.to_string(), malformed })
    }

    fn decode_json(&self) -> Result<Request, Malformed> {
        let line = self.line;
        let request = json::request(&self.bytes, &room()).map_err(|error| {
            let mut error = malformed(error, Place::Line(1, 1));
            if let Malformed { place: Place::Line(within, _), .. } = &mut error {
                *within += line - 1;
            }
            error
        })?;
        if !request.has_spans && !request.has_logs {
            let why = match request.foreign {
                Some(foreign) => format!("no OTLP trace: it holds {foreign}"),
                None => "no OTLP trace: there is no resourceSpans in it".to_owned(),
            };
            return Err(Malformed::at(Place::Line(line, 1), why));
        }
        let events = logs::of(request.resource_logs).exports;
        Ok(Request { line, resource_spans: request.resource_spans, events })
    }
}

/// The documents of one file, in order; ends after the first error.
pub struct Documents {
    file: Arc<str>,
    input: Box<dyn BufRead + Send>,
    form: Form,
    /// The line that is read next, counted from 1.
    line: usize,
    read: Arc<AtomicU64>,
    ended: bool,
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Protobuf,
}

impl Documents {
    /// Opens a file; `-` is standard input.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        if path == Path::new("-") {
            return Self::from_reader("standard input", io::stdin());
        }
        let file = path.display().to_string();
        let input = File::open(path);
        Self::from_reader(
            &file,
            input.map_err(|source| FileError::Unreadable { file: file.clone(), source })?,
        )
    }

    fn from_reader(file: &str, input: impl Read + Send + 'static) -> Result<Self, FileError> {
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted { input, read: Arc::clone(&read) };
        let sniffed = plain(counted).map(|(start, input)| (sniff(&start), start, input));
        let (form, start, input) =
            sniffed.map_err(|source| FileError::Unreadable { file: file.to_owned(), source })?;
        let form = form.map_err(|malformed| FileError::Malformed { file: file.to_owned(), malformed })?;
        let start = start.strip_prefix(BOM).unwrap_or(&start).to_vec();
        let input = Box::new(BufReader::with_capacity(64 << 10, Cursor::new(start).chain(input)));
        Ok(Self { file: file.into(), input, form, line: 1, read, ended: false })
    }

    /// How much of the file, as it lies on disk, has been read.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn read_next(&mut self) -> Result<Option<Document>, Stop> {
        let (line, bytes) = match self.form {
            Form::Protobuf => {
                self.ended = true;
                let mut bytes = Vec::new();
                (&mut self.input).take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes)?;
                if bytes.len() > MAX_DOCUMENT {
                    return Err(too_large(Place::Byte(MAX_DOCUMENT)).into());
                }
                (1, bytes)
            }
            Form::Json => {
                if !self.skip_blank()? {
                    return Ok(None);
                }
                (self.line, self.cut_document()?)
            }
        };
        Ok(Some(Document { file: Arc::clone(&self.file), form: self.form, line, bytes }))
    }

    /// Passes over white space; false at the end of the file.
    fn skip_blank(&mut self) -> io::Result<bool> {
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Ok(false);
            }
            let blank = chunk.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(chunk.len());
            self.line += lines(&chunk[..blank]);
            let found = blank < chunk.len();
            self.input.consume(blank);
            if found {
                return Ok(true);
            }
        }
    }

    /// Takes the bytes up to where the first brace closes. What is in between need not be JSON: the reader says
    /// what is wrong, and where.
    fn cut_document(&mut self) -> Result<Vec<u8>, Stop> {
        let mut document = Vec::new();
        let mut cut = Cut::default();
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Ok(document);
            }
            let end = cut.end(chunk);
            let taken = &chunk[..end.unwrap_or(chunk.len())];
            if document.len() + taken.len() > MAX_DOCUMENT {
                return Err(too_large(Place::Line(self.line, 1)).into());
            }
            document.extend_from_slice(taken);
            self.line += lines(taken);
            let length = taken.len();
            self.input.consume(length);
            if end.is_some() {
                return Ok(document);
            }
        }
    }
}

impl Iterator for Documents {
    type Item = Result<Document, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read_next().map_err(|stop| match stop {
            Stop::Unreadable(source) => FileError::Unreadable { file: self.file.to_string(), source },
            Stop::Malformed(malformed) => FileError::Malformed { file: self.file.to_string(), malformed },
        });
        self.ended |= !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

/// What ends the reading, before it knows the name of the file.
enum Stop {
    Unreadable(io::Error),
    Malformed(Malformed),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

fn malformed(error: DecodeError, start: Place) -> Malformed {
    match error {
        DecodeError::Malformed(malformed) => malformed,
        DecodeError::NoRoom(_) => too_large(start),
    }
}

fn too_large(place: Place) -> Malformed {
    Malformed::at(
        place,
        format_args!("a single document of more than {MAX_DOCUMENT} bytes, or of as much when decoded"),
    )
}

/// Room for one document.
fn room() -> impl Fn(usize) -> Result<(), NoRoom> {
    let left = Cell::new(MAX_DECODED);
    move |bytes| {
        left.set(left.get().checked_sub(bytes).ok_or(NoRoom::Ever)?);
        Ok(())
    }
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().map(|byte| usize::from(*byte == b'\n')).sum()
}

/// Takes off the compression, and looks at how what is below begins.
fn plain(input: impl Read + Send + 'static) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let (start, input) = peek(input, 4)?;
    let compression = Compression::sniff(&start);
    let whole = Cursor::new(start).chain(input);
    peek(bounded::stream(compression, BufReader::with_capacity(64 << 10, whole))?, 256)
}

fn peek<R: Read>(mut input: R, most: u64) -> io::Result<(Vec<u8>, R)> {
    let mut start = Vec::new();
    input.by_ref().take(most).read_to_end(&mut start)?;
    Ok((start, input))
}

/// Tells JSON from protobuf. Both may begin with a line feed, which is also the key of protobuf's first field; but
/// only JSON goes on with a brace, a quote and a letter.
fn sniff(start: &[u8]) -> Result<Form, Malformed> {
    let neither = |why| Err(Malformed::at(Place::Byte(0), why));
    let text = start.strip_prefix(BOM).unwrap_or(start).trim_ascii_start();
    let looks_like_json = match text {
        [b'{', rest @ ..] => match rest.trim_ascii_start() {
            [b'"', letter, ..] => letter.is_ascii_alphanumeric() || start[0] != b'\n',
            _ => start[0] != b'\n',
        },
        _ => false,
    };
    match (start, text) {
        _ if looks_like_json => Ok(Form::Json),
        ([], _) => neither("the file is empty"),
        ([0x0a, ..], _) => Ok(Form::Protobuf),
        (_, [b'[', ..]) => neither("no OTLP trace: a JSON array, expected an object with resourceSpans"),
        _ => {
            neither("no OTLP trace: neither JSON nor protobuf, nor one of them compressed with gzip or zstd")
        }
    }
}

/// Counts what is read, so that others can show progress.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
    use prost::Message;

    use super::*;

    const LINE: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"}]{ \" \\"}]}]}]}"#;

    fn read(bytes: &[u8]) -> Result<Vec<(usize, String)>, String> {
        requests(bytes)
            .map_err(|error| error.to_string())?
            .map(|request| {
                let request = request.map_err(|error| error.to_string())?;
                Ok((request.line, request.resource_spans[0].scope_spans[0].spans[0].name.clone()))
            })
            .collect()
    }

    fn requests(bytes: &[u8]) -> Result<Requests, FileError> {
        let documents = Documents::from_reader("f", Cursor::new(bytes.to_vec()))?;
        Ok(Requests { documents, ended: false })
    }

    fn protobuf() -> Vec<u8> {
        let span = Span { name: "p".to_owned(), ..Span::default() };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_content_decides_what_a_file_is() {
        let name = "}]{ \" \\".to_owned();
        let two = format!("\n{LINE}\n\n{LINE}");
        let pretty = LINE.replacen('[', "\n [\n", 1);
        let both = Ok(vec![(2, name.clone()), (4, name.clone())]);
        assert_eq!(read(two.as_bytes()), both);
        assert_eq!(read(&gzip(two.as_bytes())), both);
        assert_eq!(read(&zstd::encode_all(two.as_bytes(), 1).unwrap()), both);
        assert_eq!(read(pretty.as_bytes()), Ok(vec![(1, name.clone())]));
        assert_eq!(
            read(format!("{pretty}{LINE}\r\n").as_bytes()),
            Ok(vec![(1, name.clone()), (3, name.clone())])
        );
        assert_eq!(read(&[BOM, LINE.as_bytes()].concat()), Ok(vec![(1, name)]));
        assert_eq!(read(&protobuf()), Ok(vec![(1, "p".to_owned())]));
        assert_eq!(read(&gzip(&protobuf())), Ok(vec![(1, "p".to_owned())]));
    }

    #[test]
    fn protobuf_that_begins_like_json_is_protobuf() {
        // A ResourceSpans of 123 bytes, with a Resource of 34: a line feed, a brace, a line feed, a quote.
        let mut bytes = vec![0x0a, 123, 0x0a, 34];
        // One attribute whose key fills the resource, and a schema URL that fills the rest.
        bytes.extend([0x0a, 32, 0x0a, 30]);
        bytes.extend([b'k'; 30]);
        bytes.extend([0x1a, 123 - 38]);
        bytes.extend([b'u'; 123 - 38]);
        assert_eq!(bytes[..4], *b"\n{\n\"");
        let read: Vec<_> = requests(&bytes).unwrap().map(|request| request.unwrap().resource_spans).collect();
        assert_eq!(read[0][0].schema_url.len(), 85);
    }

    #[test]
    fn what_is_no_trace_is_named_with_its_place() {
        let line = |text: &str| format!("{LINE}\n{text}\n{LINE}\n");
        let cases = [
            (line(r#"{"resourceSpans":[,]}"#), "f: line 2 column 19: expected value"),
            (
                line(r#"{"data":[]}"#),
                "f: line 2 column 1: no OTLP trace: it holds data, as Jaeger's export has it",
            ),
            (line(r#"{"resourceMetrics":[]}"#), "f: line 2 column 1: no OTLP trace: it holds metrics"),
            (line(r#"{"a":1}"#), "f: line 2 column 1: no OTLP trace: there is no resourceSpans in it"),
            (line("nonsense"), "f: line 2 column 2: expected ident"),
            (format!("{LINE}\n{{\"resourceSpans\":"), "f: line 2 column 17: EOF while parsing a value"),
            (
                "[1]".to_owned(),
                "f: byte 0: no OTLP trace: a JSON array, expected an object with resourceSpans",
            ),
            (String::new(), "f: byte 0: the file is empty"),
            (
                "hello".to_owned(),
                "f: byte 0: no OTLP trace: neither JSON nor protobuf, nor one of them compressed with gzip or zstd",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes()).unwrap_err(), expected, "{text}");
        }
        let cut = &protobuf()[..5];
        assert_eq!(read(cut).unwrap_err(), "f: byte 0: field longer than its message");
        let whole = gzip(LINE.as_bytes());
        assert!(read(&whole[..whole.len() - 9]).unwrap_err().starts_with("cannot read f"));
    }

    #[test]
    fn progress_is_what_was_read_of_the_file() {
        let text = LINE.repeat(1_000);
        let packed = gzip(text.as_bytes());
        let size = packed.len() as u64;
        let mut documents = Documents::from_reader("f", Cursor::new(packed)).unwrap();
        assert_eq!(documents.by_ref().map(Result::unwrap).count(), 1_000);
        assert_eq!(documents.bytes_read(), size);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Requests::open(Path::new("/nowhere/at.all")).err().unwrap();
        assert_eq!(error.to_string(), "cannot read /nowhere/at.all");
    }
}
