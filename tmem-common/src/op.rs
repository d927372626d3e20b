//! Operations and their outcomes, as tracepoints, maps and traces number them.

/// What was asked of the engine.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// A frontend offered a page.
    Put = 0,
    /// A frontend asked for a page.
    Get = 1,
    /// A frontend withdrew a page or a whole object.
    Flush = 2,
    /// The engine dropped an ephemeral page to make room.
    Evict = 3,
}

/// Number of values of [`Op`]; the first dimension of per-op tables.
pub const OPS: usize = 4;

impl Op {
    /// Every op, in numeric order.
    pub const ALL: [Op; OPS] = [Op::Put, Op::Get, Op::Flush, Op::Evict];

    /// The name used in tables, JSON and tracepoints.
    pub const fn name(self) -> &'static str {
        match self {
            Op::Put => "put",
            Op::Get => "get",
            Op::Flush => "flush",
            Op::Evict => "evict",
        }
    }
}

/// How an operation ended.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Put: kept as compressed bytes.
    Stored = 0,
    /// Put: every word was the same; only the word is kept.
    StoredSame = 1,
    /// Put: kept as it is, since no codec made it smaller.
    StoredRaw = 2,
    /// Put refused: the budget, the pool's limit or its share is used up.
    RefusedLimit = 3,
    /// Put refused: the host had no memory to give.
    RefusedNoMemory = 4,
    /// Put refused: incompressible, and the tunable says not to keep such pages.
    RefusedIncompressible = 5,
    /// Put refused: the pool is frozen, being destroyed, or the tier is off.
    RefusedFrozen = 6,
    /// Get: the page was there.
    Hit = 7,
    /// Get or flush: nothing was there.
    Miss = 8,
    /// Get: the page was there but its bytes could not be decoded.
    Corrupt = 9,
    /// Flush: something was there and is gone.
    Flushed = 10,
    /// Evict: the page was dropped.
    Evicted = 11,
}

/// Number of values of [`Outcome`]; the second dimension of per-op tables.
pub const OUTCOMES: usize = 12;

impl Outcome {
    /// Every outcome, in numeric order.
    pub const ALL: [Outcome; OUTCOMES] = [
        Outcome::Stored,
        Outcome::StoredSame,
        Outcome::StoredRaw,
        Outcome::RefusedLimit,
        Outcome::RefusedNoMemory,
        Outcome::RefusedIncompressible,
        Outcome::RefusedFrozen,
        Outcome::Hit,
        Outcome::Miss,
        Outcome::Corrupt,
        Outcome::Flushed,
        Outcome::Evicted,
    ];

    /// The ways in which a put succeeds.
    pub const STORED: [Outcome; 3] = [Outcome::Stored, Outcome::StoredSame, Outcome::StoredRaw];

    /// The ways in which a put is refused.
    pub const REFUSED: [Outcome; 4] = [
        Outcome::RefusedLimit,
        Outcome::RefusedNoMemory,
        Outcome::RefusedIncompressible,
        Outcome::RefusedFrozen,
    ];

    /// The name used in tables, JSON and sysfs.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Stored => "stored",
            Outcome::StoredSame => "stored_same",
            Outcome::StoredRaw => "stored_raw",
            Outcome::RefusedLimit => "refused_limit",
            Outcome::RefusedNoMemory => "refused_no_memory",
            Outcome::RefusedIncompressible => "refused_incompressible",
            Outcome::RefusedFrozen => "refused_frozen",
            Outcome::Hit => "hit",
            Outcome::Miss => "miss",
            Outcome::Corrupt => "corrupt",
            Outcome::Flushed => "flushed",
            Outcome::Evicted => "evicted",
        }
    }

    /// True for [`Outcome::STORED`].
    pub const fn is_stored(self) -> bool {
        matches!(
            self,
            Outcome::Stored | Outcome::StoredSame | Outcome::StoredRaw
        )
    }
}
