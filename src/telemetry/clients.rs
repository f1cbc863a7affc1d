//! Who sends how much: counts by the address of the peer, for whoever looks for the loudest one.
//!
//! The table is bounded. Where it is full, whoever was silent longest goes, and its counts are kept in one sum.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;

/// Peers told apart.
const MOST_CLIENTS: usize = 256;

/// What one peer sent since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Requests, however they ended.
    pub requests: u64,
    /// Requests refused for now.
    pub refused: u64,
    /// Requests that were malformed or too large.
    pub rejected: u64,
    /// Spans that were new.
    pub stored: u64,
    /// Spans that were there already.
    pub duplicates: u64,
    /// Spans rejected out of requests that were accepted.
    pub rejected_spans: u64,
}

/// Counts by peer.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// Those told apart, with their last request.
    pub by_address: BTreeMap<IpAddr, (Sent, OffsetDateTime)>,
    /// Of all that had to go: how many times one did, and their sum.
    pub others: (u64, Sent),
}

#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Clients>);

impl Table {
    pub(super) fn add(&self, peer: IpAddr, sent: Sent, now: OffsetDateTime) {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !clients.by_address.contains_key(&peer) && MOST_CLIENTS <= clients.by_address.len() {
            clients.forget_one();
        }
        let (sum, last) = clients.by_address.entry(peer).or_insert((Sent::default(), now));
        sum.add(sent);
        *last = now;
    }

    pub(super) fn read(&self) -> Clients {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Clients {
    fn forget_one(&mut self) {
        let silent = self.by_address.iter().min_by_key(|(_, (_, last))| *last).map(|(peer, _)| *peer);
        if let Some((sent, _)) = silent.and_then(|peer| self.by_address.remove(&peer)) {
            self.others.0 += 1;
            self.others.1.add(sent);
        }
    }
}

impl Sent {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.refused += other.refused;
        self.rejected += other.rejected;
        self.stored += other.stored;
        self.duplicates += other.duplicates;
        self.rejected_spans += other.rejected_spans;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn however_many_peers_there_are_the_table_is_bounded_and_nothing_is_lost_from_the_sum() {
        let table = Table::default();
        let one = Sent { requests: 1, stored: 3, ..Sent::default() };
        let start = OffsetDateTime::UNIX_EPOCH;
        let peer = |number: u32| IpAddr::from(Ipv4Addr::from(number));
        for number in 0..5_000 {
            let now = start + time::Duration::seconds(i64::from(number));
            table.add(peer(number), one, now);
            // Whoever goes on sending stays.
            table.add(peer(0), one, now);
        }
        let clients = table.read();
        assert_eq!(clients.by_address.len(), MOST_CLIENTS);
        assert_eq!(clients.by_address[&peer(0)].0.requests, 5_001);
        assert!(clients.by_address.contains_key(&peer(4_999)) && !clients.by_address.contains_key(&peer(1)));
        let known: u64 = clients.by_address.values().map(|(sent, _)| sent.stored).sum();
        assert_eq!(known + clients.others.1.stored, 30_000);
        assert_eq!(clients.others.0, 5_000 - MOST_CLIENTS as u64);
    }
}
