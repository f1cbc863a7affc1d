//! What the door accepts, refuses and rejects: every case over every transport.

mod bad;
mod good;
mod house;
mod limits;
mod lost;
