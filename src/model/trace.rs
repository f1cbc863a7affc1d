//! The arena of one trace.

/// Index of a span in its trace's arena. The arena's order is canonical: start, then id, then digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanIdx(pub u32);
