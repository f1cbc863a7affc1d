//! Tests of the whole service on real components.

fn main() {}
