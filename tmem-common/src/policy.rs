//! Numbers and names of the eviction policies, as pools, sysfs, traces and the C module use them.

use crate::sysfs::{POOL_ADMISSION_ALWAYS, POOL_ADMISSION_REFAULTED};

/// Which page of an ephemeral pool goes first.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    /// The one that was not used for longest.
    Lru = 0,
    /// The one that came first.
    Fifo = 1,
    /// The one that came first, but those that were used since get another round (Corbató 1968).
    Clock = 2,
    /// A small queue for newcomers, a large one for those that were used again, and the names of
    /// newcomers that went (Yang et al., SOSP 2023).
    S3Fifo = 3,
    /// As clock, but a survivor stays where it is (Zhang et al., NSDI 2024).
    Sieve = 4,
    /// 2Q: a queue for newcomers, the names of those that went, and least recently used for pages
    /// that came again (Johnson and Shasha, VLDB 1994; the full version).
    TwoQ = 5,
}

/// Number of values of [`Policy`].
pub const POLICIES: usize = 6;

impl Policy {
    /// Every policy, in numeric order.
    pub const ALL: [Policy; POLICIES] = [
        Policy::Lru,
        Policy::Fifo,
        Policy::Clock,
        Policy::S3Fifo,
        Policy::Sieve,
        Policy::TwoQ,
    ];

    /// The name used in tables, JSON and sysfs.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::Lru => "lru",
            Policy::Fifo => "fifo",
            Policy::Clock => "clock",
            Policy::S3Fifo => "s3fifo",
            Policy::Sieve => "sieve",
            Policy::TwoQ => "2q",
        }
    }

    /// The policy of that number, if there is one.
    pub const fn from_number(number: u32) -> Option<Policy> {
        match number {
            0 => Some(Policy::Lru),
            1 => Some(Policy::Fifo),
            2 => Some(Policy::Clock),
            3 => Some(Policy::S3Fifo),
            4 => Some(Policy::Sieve),
            5 => Some(Policy::TwoQ),
            _ => None,
        }
    }

    /// The policy of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Policy> {
        Policy::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// How many names of pages that went are remembered, in percent of the pages held.
    pub const fn ghosts_percent(self) -> u32 {
        match self {
            Policy::S3Fifo => 90,
            Policy::TwoQ => 50,
            Policy::Lru | Policy::Fifo | Policy::Clock | Policy::Sieve => 0,
        }
    }
}

/// An ephemeral pool takes every page.
pub const ADMIT_ALL: u32 = 0;
/// An ephemeral pool takes pages that were asked for since they were offered before.
pub const ADMIT_REFAULTED: u32 = 255;
/// The largest number of earlier offers that an ephemeral pool can ask for.
pub const MAX_SIGHTINGS: u32 = 15;
/// The longest time to live that an ephemeral pool can give its pages, in seconds: 365 days.
pub const MAX_TTL: u32 = 365 * 24 * 60 * 60;

/// The admission that a text stands for: see [`crate::sysfs::POOL_ADMISSION`].
pub fn admission_of(text: &str) -> Option<u32> {
    match text {
        POOL_ADMISSION_ALWAYS => Some(ADMIT_ALL),
        POOL_ADMISSION_REFAULTED => Some(ADMIT_REFAULTED),
        _ => text
            .parse()
            .ok()
            .filter(|offers| (1..=MAX_SIGHTINGS).contains(offers)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back() {
        for policy in Policy::ALL {
            assert_eq!(Policy::from_number(policy as u32), Some(policy));
            assert_eq!(Policy::from_name(policy.name()), Some(policy));
        }
        assert_eq!(Policy::from_number(POLICIES as u32), None);
        assert_eq!(Policy::from_name("LRU"), None);
        let admissions = ["always", "refaulted", "1", "15", "0", "16", ""].map(admission_of);
        let wanted = [
            Some(ADMIT_ALL),
            Some(ADMIT_REFAULTED),
            Some(1),
            Some(15),
            None,
            None,
            None,
        ];
        assert_eq!(admissions, wanted);
    }
}
