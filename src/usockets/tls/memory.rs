//! What servers remember of sessions, so that clients can take them up again.

use ring::digest;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// The keys of tickets, and the sessions of clients that take none.
///
/// All servers of a process that show the same certificates and ask the same of their clients share one: a client that comes
/// back to a port on which several loops listen may well come to another of them. rustls sees to it that a session is taken up
/// only for the name with which it began, and with a cipher that is allowed.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<ServerSessionMemoryCache>,
}

/// What servers must have in common.
type Policy = [u8; digest::SHA256_OUTPUT_LEN];

impl Memory {
    /// That of servers which show `chain`, and accept clients of these authorities, with these demands on them.
    pub(super) fn of(
        chain: &[CertificateDer<'_>],
        authorities: Option<&[CertificateDer<'_>]>,
        demands: [bool; 2],
        size: usize,
    ) -> Result<Arc<Self>, rustls::Error> {
        static ALL: OnceLock<Mutex<HashMap<Policy, Weak<Memory>>>> = OnceLock::new();
        let policy = policy(chain, authorities, demands, size);
        // Nothing that is done under the lock leaves the map half changed.
        let mut all = ALL.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(memory) = all.get(&policy).and_then(Weak::upgrade) {
            return Ok(memory);
        }
        all.retain(|_, memory| memory.strong_count() > 0);
        let memory = Arc::new(Self { ticketer: Ticketer::new()?, sessions: ServerSessionMemoryCache::new(size) });
        all.insert(policy, Arc::downgrade(&memory));
        Ok(memory)
    }
}

fn policy(
    chain: &[CertificateDer<'_>],
    authorities: Option<&[CertificateDer<'_>]>,
    demands: [bool; 2],
    size: usize,
) -> Policy {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&[u8::from(demands[0]), u8::from(demands[1]), u8::from(authorities.is_some())]);
    hash.update(&size.to_be_bytes());
    for list in [chain, authorities.unwrap_or_default()] {
        hash.update(&list.len().to_be_bytes());
        for certificate in list {
            hash.update(&certificate.len().to_be_bytes());
            hash.update(certificate);
        }
    }
    let mut policy = [0; digest::SHA256_OUTPUT_LEN];
    policy.copy_from_slice(hash.finish().as_ref());
    policy
}

impl StoresServerSessions for Memory {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.sessions.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.take(key)
    }

    fn can_cache(&self) -> bool {
        self.sessions.can_cache()
    }
}
