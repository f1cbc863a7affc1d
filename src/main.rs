//! Parses the command line and prints the error chain.

fn main() {}
