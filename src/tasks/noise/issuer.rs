//! Who we are to miners: an authority that certifies a static key now and then. Opens no connection.
//!
//! Invariant: what [`Issuer::identity`] gives is believed for at least half its validity from now.

use super::chance;
use crate::stratum::v2::noise::{Authority, AuthorityPublic, Identity, Validity};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A static key serves at most this long. Every handshake has its own ephemeral keys, so a static one that served a
/// whole farm's reconnect gives nothing away; it saves each of them a key and a signature.
const RENEW_S: u64 = 3600;
/// How far a certificate begins in the past: miners without a battery have clocks that are late.
const BACKDATED_S: u64 = 86_400;

/// An authority and the identity it certified last.
#[derive(Debug)]
pub struct Issuer {
    authority: Authority,
    validity_s: u64,
    current: Mutex<Option<(u64, Arc<Identity>)>>,
}

impl Issuer {
    /// `validity`: how long a certificate is believed after it was made; at least a minute.
    pub fn new(authority: Authority, validity: Duration) -> Self {
        Self {
            authority,
            validity_s: validity.as_secs().max(60),
            current: Mutex::default(),
        }
    }

    /// What miners must be given.
    pub fn public(&self) -> AuthorityPublic {
        self.authority.public()
    }

    /// The identity of connections made at `now_s` (unix time).
    ///
    /// # Errors
    /// A new one is due and the machine has no random numbers.
    pub fn identity(&self, now_s: u64) -> io::Result<Arc<Identity>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let serves_s = RENEW_S.min(self.validity_s / 2);
        if let Some((made_s, identity)) = &*current {
            // A clock set back makes a new one too.
            if (*made_s..made_s + serves_s).contains(&now_s) {
                return Ok(identity.clone());
            }
        }
        let second = |unix_s: u64| u32::try_from(unix_s).unwrap_or(u32::MAX);
        let validity = Validity {
            from_s: second(now_s.saturating_sub(BACKDATED_S)),
            until_s: second(now_s.saturating_add(self.validity_s)),
        };
        let identity = Arc::new(Identity::new(&self.authority, validity, &chance()?));
        *current = Some((now_s, identity.clone()));
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_serves_until_half_its_validity_is_over_and_not_a_second_longer() {
        let issuer = Issuer::new(Authority::new([1; 32]), Duration::from_secs(100));
        let now = 1_795_000_000;
        let first = issuer.identity(now).expect("made");
        assert_eq!(u64::from(first.validity().until_s), now + 100);
        assert_eq!(u64::from(first.validity().from_s), now - BACKDATED_S);
        let same = issuer.identity(now + 49).expect("kept");
        assert!(Arc::ptr_eq(&first, &same));
        let next = issuer.identity(now + 50).expect("made");
        assert_eq!(u64::from(next.validity().until_s), now + 150);
    }

    #[test]
    fn a_long_validity_is_renewed_every_hour_and_a_clock_set_back_renews_too() {
        let day = Duration::from_secs(86_400);
        let issuer = Issuer::new(Authority::new([1; 32]), day);
        let now = 1_795_000_000;
        let first = issuer.identity(now).expect("made");
        let same = issuer.identity(now + RENEW_S - 1).expect("kept");
        assert!(Arc::ptr_eq(&first, &same));
        let next = issuer.identity(now + RENEW_S).expect("made");
        assert!(!Arc::ptr_eq(&first, &next));
        let back = issuer.identity(now).expect("made");
        assert_eq!(u64::from(back.validity().until_s), now + 86_400);
    }
}
