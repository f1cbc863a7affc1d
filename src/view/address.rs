//! Names in addresses. What no text can hold is the name of nothing, so it is missing as anything else would be.

use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;

use super::Failure;

/// Refuses an address of which a name is no text, or holds a NUL, which no text of the database does.
pub fn refuse_nameless(names: Result<RawPathParams, RawPathParamsRejection>) -> Result<(), Failure> {
    let is_nameless = match names {
        Ok(names) => names.iter().any(|(_, name)| name.contains('\0')),
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(_)) => true,
        // Addresses without names.
        Err(_) => false,
    };
    if is_nameless { Err(Failure::missing("such address")) } else { Ok(()) }
}
