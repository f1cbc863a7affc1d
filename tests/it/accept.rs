//! What the door accepts, refuses and rejects: every case over every transport.

mod bad;
mod connect;
mod exporters;
mod good;
mod house;
mod idle;
mod limits;
mod logs;
mod lost;
mod send;
mod sizes;
