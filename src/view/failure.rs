//! Why an answer could not be given, before it is decided whether a program (`api`) or a person (`web`) reads it.
//!
//! A failure carries words for the reader alone. What went wrong inside is logged where the failure is answered,
//! never shown.

use crate::store::StoreError;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A parameter that does not exist, or a value that it cannot take.
    Parameter {
        /// Its name as sent.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Nothing has that address.
    Missing {
        /// What was looked for.
        what: String,
    },
    /// What was asked for does not go with how things are.
    Conflict {
        /// How they are.
        detail: String,
    },
    /// A page of another site made a browser ask for something to be done.
    Foreign,
    /// The database is away; asking again will help.
    Unavailable,
    /// Something that should not happen did.
    Broken,
}

impl Failure {
    /// A parameter cannot be used.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::Parameter { name: name.to_owned(), detail: detail.into() }
    }

    /// Nothing has that address.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::Missing { what: what.into() }
    }

    /// What was asked for does not go with how things are.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::Conflict { detail: detail.into() }
    }

    /// The HTTP status that says so.
    pub fn status(&self) -> http::StatusCode {
        match self {
            Self::Parameter { .. } => http::StatusCode::BAD_REQUEST,
            Self::Missing { .. } => http::StatusCode::NOT_FOUND,
            Self::Conflict { .. } => http::StatusCode::CONFLICT,
            Self::Foreign => http::StatusCode::FORBIDDEN,
            Self::Unavailable => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => http::StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// One sentence for the reader.
    pub fn detail(&self) -> String {
        match self {
            Self::Parameter { name, detail } => format!("{name}: {detail}"),
            Self::Missing { what } => format!("there is no {what}"),
            Self::Conflict { detail } => detail.clone(),
            Self::Foreign => "asked by a page of another site".to_owned(),
            Self::Unavailable => "the database cannot be reached; try again shortly".to_owned(),
            Self::Broken => "the answer could not be made; the log of this server says why".to_owned(),
        }
    }
}

impl From<StoreError> for Failure {
    /// Logs what happened: from here on only the reader's words remain.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::DiskFull(_) => {
                tracing::warn!(%error, "cannot answer without the database");
                Self::Unavailable
            }
            StoreError::Invariant(_) => {
                tracing::error!(%error, "cannot answer");
                Self::Broken
            }
        }
    }
}
