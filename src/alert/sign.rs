//! Signatures of Standard Webhooks 1.0.0: HMAC-SHA256 over id, time and body. It signs and never verifies.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// What the specification calls a safe length of a secret, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A receiver's secret, checked. It never prints.
#[derive(Clone)]
pub(super) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Reads `whsec_<base64>`; the error says what is wrong without repeating the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let encoded = text.trim().strip_prefix("whsec_").ok_or("the secret does not start with whsec_")?;
        let secret = BASE64.decode(encoded).map_err(|_| "the secret is no base64 after whsec_")?;
        if !LENGTHS.contains(&secret.len()) {
            return Err(format!("the secret has {} bytes, it needs 24 to 64", secret.len()));
        }
        let mac = Hmac::new_from_slice(&secret).expect("HMAC takes keys of any length");
        Ok(Self(mac))
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, unix_seconds: i64, body: &str) -> String {
        let mut mac = self.0.clone();
        for part in [id, ".", &unix_seconds.to_string(), ".", body] {
            mac.update(part.as_bytes());
        }
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn an_independent_library_signs_alike() {
        let theirs = standardwebhooks::Webhook::new(SECRET).unwrap();
        let ours = SigningKey::parse(SECRET).unwrap();
        for body in ["{}", "{\"why\":\"Grüße, 10 µs\"}", ""] {
            let expected = theirs.sign("msg_1", 1_700_000_000, body.as_bytes()).unwrap();
            assert_eq!(ours.sign("msg_1", 1_700_000_000, body), expected);
        }
    }

    #[test]
    fn a_bad_secret_is_described_and_not_repeated() {
        for (text, says) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_"),
            ("whsec_not base64", "base64"),
            ("whsec_c2hvcnQ=", "5 bytes"),
        ] {
            let error = SigningKey::parse(text).unwrap_err();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains(text.trim_start_matches("whsec_")), "{error}");
        }
    }

    #[test]
    fn a_key_never_prints() {
        assert_eq!(format!("{:?}", SigningKey::parse(SECRET).unwrap()), "***");
    }
}
