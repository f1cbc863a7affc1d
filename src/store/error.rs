//! What a failure of the database means to whoever asked.

use sqlx::Error;
use sqlx::migrate::MigrateError;

/// SQLSTATE of a server that has no room left.
const DISK_FULL: &str = "53100";

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away or too slow, or nobody knows whether it committed: try again later.
    #[error("{0}")]
    Unavailable(String),
    /// Its disk is full: try again when somebody has made room.
    #[error("{0}")]
    DiskFull(String),
    /// Our tables, our statements or the settings are wrong: trying again will not help.
    #[error("{0}")]
    Invariant(String),
}

impl StoreError {
    /// Trying again later may help.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::DiskFull(_))
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match sqlstate(&error).as_deref() {
            Some(DISK_FULL) => Self::DiskFull(message),
            _ if is_away(&error) => Self::Unavailable(message),
            _ => Self::Invariant(message),
        }
    }
}

fn is_away(error: &Error) -> bool {
    match error {
        Error::Io(_)
        | Error::Tls(_)
        | Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed
        | Error::BeginFailed
        // A connection that was cut in the middle of a message.
        | Error::Protocol(_) => true,
        Error::Database(inner) => inner.code().is_some_and(|code| passes_by_itself(&code)),
        Error::Migrate(inner) => match &**inner {
            MigrateError::Execute(inner) | MigrateError::ExecuteMigration(inner, _) => is_away(inner),
            _ => false,
        },
        _ => false,
    }
}

/// SQLSTATEs of conditions that end without a change of ours (PostgreSQL, appendix A).
fn passes_by_itself(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    match class {
        // Connections; deadlock and serialization; resources (disk, memory); operators and timeouts; I/O.
        "08" | "40" | "53" | "57" | "58" => true,
        // Lock not available; object in use.
        "55" => matches!(code, "55P03" | "55006"),
        // A standby that has not been promoted yet, or a server that is read-only for now; idle in transaction.
        "25" => matches!(code, "25006" | "25P03"),
        _ => false,
    }
}

/// The SQLSTATE of an error that the server reported.
pub(super) fn sqlstate(error: &Error) -> Option<String> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for code in ["57P01", "57P03", "53100", "53300", "08006", "57014", "40P01", "55P03"] {
            assert!(passes_by_itself(code), "{code}");
        }
        for code in ["42P01", "23505", "22021", "42601", "", "5"] {
            assert!(!passes_by_itself(code), "{code}");
        }
    }

    #[test]
    fn a_lost_connection_may_be_tried_again() {
        let cut = Error::Io(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(StoreError::from(cut).is_unavailable());
        assert!(StoreError::from(Error::PoolTimedOut).is_unavailable());
        assert!(!StoreError::from(Error::RowNotFound).is_unavailable());
        assert!(StoreError::DiskFull(String::new()).is_unavailable());
    }
}
