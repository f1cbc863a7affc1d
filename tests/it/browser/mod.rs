//! The pages as people see them: in Debian's Chromium, of the real program, on real traces.

mod access;
mod walk;
