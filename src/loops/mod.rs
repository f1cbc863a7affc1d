//! Work that goes on by itself: judging quiet traces, delivering alerts, keeping partitions, ageing
//! findings.
//!
//! A loop is a `step` that does one unit of work and leaves nothing half done; [`Supervisor`] repeats it with
//! back-off until shutdown. Tests call `step`.

mod age;
mod deliver;
mod evaluate;
mod fit;
mod keep;
mod remind;
mod supervisor;

pub use age::age;
pub use deliver::{Deliver, Schedule};
pub use evaluate::{Evaluate, Judge, observe};
pub use fit::Fit;
pub use keep::keep;
pub use remind::remind;
pub use supervisor::{Progress, Shutdown, Supervisor};
