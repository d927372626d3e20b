//! The tables of the views: which rows they show, in which order, and which one
//! is selected. A selection holds on to its row by what the row is, so that a
//! table that sorts itself anew never puts another one under the cursor.

use std::cmp::Ordering;

use tmem_common::event::Event;
use tmem_common::op::{OPS, Op, Outcome};

use super::app::{App, View};
use super::history::outcome;

/// What the user chose for the table of one view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// What the selected row is; `None`: the first, whatever it is.
    pub(super) selected: Option<u64>,
    /// Only rows with each of these words are shown.
    pub(super) filter: String,
    /// Number of the order, among [`orders`].
    pub(super) order: usize,
    pub(super) reversed: bool,
    /// Whether the selected row has all the room.
    pub(super) expanded: bool,
}

/// The orders of a view's rows, the usual one first.
pub(super) fn orders(view: View) -> &'static [&'static str] {
    match view {
        View::Pools => &["id", "name", "pages", "held", "hits", "put/s", "get/s"],
        View::Files => &["busy", "file", "hits", "misses", "hit rate", "stored"],
        View::Cgroups => &[
            "busy", "cgroup", "put/s", "get/s", "stored", "hits", "refused",
        ],
        View::Overview | View::Latency | View::Policy | View::Events => &[],
    }
}

/// By what rows are sorted: figures fall, texts and numbers of things rise.
#[derive(Clone, Debug, PartialEq)]
enum Rank {
    Falling(f64),
    Rising(String, u64),
}

impl Rank {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Rank::Falling(mine), Rank::Falling(theirs)) => theirs.total_cmp(mine),
            (Rank::Rising(mine, number), Rank::Rising(theirs, other)) => {
                (mine, number).cmp(&(theirs, other))
            }
            _ => Ordering::Equal,
        }
    }
}

impl App {
    /// The list of the view on show.
    pub(super) fn list(&self) -> &List {
        &self.lists[self.view as usize]
    }

    pub(super) fn list_mut(&mut self) -> &mut List {
        &mut self.lists[self.view as usize]
    }

    /// The rows of a view in the order shown: numbers into what it lists.
    pub(super) fn rows(&self, view: View) -> Vec<usize> {
        let list = &self.lists[view as usize];
        let words: Vec<String> = list
            .filter
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        let wanted = |row: &usize| {
            if words.is_empty() {
                return true;
            }
            let text = self.row_text(view, *row).to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        let mut rows: Vec<usize> = (0..self.row_count(view)).filter(wanted).collect();
        if let Some(order) = orders(view).get(list.order) {
            rows.sort_by_cached_key(|row| SortKey(self.rank(view, *row, order)));
        }
        if list.reversed {
            rows.reverse();
        }
        rows
    }

    fn row_count(&self, view: View) -> usize {
        let history = self.history();
        match view {
            View::Overview => 0,
            View::Pools => history.latest().map_or(0, |latest| latest.pools.len()),
            View::Latency => OPS,
            View::Files => history.files().len(),
            View::Cgroups => history.cgroups().len(),
            View::Policy => self.tunables.len(),
            View::Events => history.events().len(),
        }
    }

    /// What a filter looks at.
    fn row_text(&self, view: View, row: usize) -> String {
        let history = self.history();
        match view {
            View::Pools => history
                .latest()
                .and_then(|latest| latest.pools.get(row))
                .map(|pool| {
                    format!(
                        "{} {} {} {}",
                        pool.id,
                        pool.name(),
                        pool.kind.name(),
                        pool.codec
                    )
                }),
            View::Files => history.files().get(row).map(|file| {
                let seen = &file.seen;
                format!("{} {} {}", seen.place(), seen.device_name(), seen.inode)
            }),
            View::Cgroups => history.cgroups().get(row).map(|cgroup| cgroup.name()),
            View::Policy => self
                .tunables
                .get(row)
                .map(|tunable| format!("{} {}", tunable.key, tunable.value)),
            View::Events => history
                .events()
                .nth(row)
                .map(|event| self.event_text(event)),
            View::Overview | View::Latency => None,
        }
        .unwrap_or_default()
    }

    fn event_text(&self, event: &Event) -> String {
        let latest = self.history().latest();
        let pool = latest.and_then(|latest| latest.pools.iter().find(|pool| pool.id == event.pool));
        format!(
            "{} {} {} {} {} {}",
            Op::ALL.get(event.op as usize).map_or("", |op| op.name()),
            Outcome::ALL
                .get(event.outcome as usize)
                .map_or("", |outcome| outcome.name()),
            pool.map_or_else(|| event.pool.to_string(), |pool| pool.name()),
            event.object,
            event.index,
            event.cgroup,
        )
    }

    fn rank(&self, view: View, row: usize, order: &str) -> Rank {
        let history = self.history();
        let falling = |count: u64| Rank::Falling(count as f64);
        let none = Rank::Rising(String::new(), 0);
        match view {
            View::Pools => {
                let Some(pool) = history.latest().and_then(|latest| latest.pools.get(row)) else {
                    return none;
                };
                let rates = history.pool_rates(pool.id).per_second;
                match order {
                    "name" => Rank::Rising(pool.name(), pool.id.into()),
                    "pages" => falling(pool.stats.pages),
                    "held" => falling(pool.stats.store_bytes + pool.stats.metadata_bytes),
                    "hits" => falling(outcome(&pool.stats, Outcome::Hit)),
                    "put/s" => Rank::Falling(rates[Op::Put as usize]),
                    "get/s" => Rank::Falling(rates[Op::Get as usize]),
                    _ => Rank::Rising(String::new(), pool.id.into()),
                }
            }
            View::Files => {
                let Some(file) = history.files().get(row) else {
                    return none;
                };
                let seen = &file.seen;
                match order {
                    "busy" => Rank::Falling(file.puts_per_second + file.gets_per_second),
                    "hits" => falling(seen.hits),
                    "misses" => falling(seen.misses),
                    "hit rate" => Rank::Falling(seen.hit_share().unwrap_or(-1.0)),
                    "stored" => falling(seen.stored),
                    _ => Rank::Rising(seen.label(), seen.inode),
                }
            }
            View::Cgroups => {
                let Some(cgroup) = history.cgroups().get(row) else {
                    return none;
                };
                match order {
                    "busy" => Rank::Falling(cgroup.puts_per_second + cgroup.gets_per_second),
                    "put/s" => Rank::Falling(cgroup.puts_per_second),
                    "get/s" => Rank::Falling(cgroup.gets_per_second),
                    "stored" => falling(cgroup.stored()),
                    "hits" => falling(cgroup.count(Outcome::Hit)),
                    "refused" => falling(cgroup.refused()),
                    _ => Rank::Rising(cgroup.name(), cgroup.id),
                }
            }
            View::Overview | View::Latency | View::Policy | View::Events => none,
        }
    }

    /// What a row is, whatever its place.
    fn identity(&self, view: View, row: usize) -> Option<u64> {
        let history = self.history();
        match view {
            View::Overview => None,
            View::Pools => Some(history.latest()?.pools.get(row)?.id.into()),
            View::Files => Some(history.files().get(row)?.identity()),
            View::Cgroups => Some(history.cgroups().get(row)?.id),
            View::Latency | View::Policy => Some(row as u64),
            View::Events => Some(history.events().nth(row)?.time_ns),
        }
    }

    /// The place of the selected row among `rows`; the first if it is not there.
    pub(super) fn selected_place(&self, view: View, rows: &[usize]) -> usize {
        let Some(selected) = self.lists[view as usize].selected else {
            return 0;
        };
        rows.iter()
            .position(|row| self.identity(view, *row) == Some(selected))
            .unwrap_or(0)
    }

    /// The selected row of a view, if it has any.
    pub(super) fn selected_row(&self, view: View) -> Option<usize> {
        let rows = self.rows(view);
        rows.get(self.selected_place(view, &rows)).copied()
    }

    /// Moves the selection of the view on show to `to(place, last)`.
    pub(super) fn select(&mut self, to: impl Fn(usize, usize) -> usize) {
        let view = self.view;
        let rows = self.rows(view);
        let last = rows.len().saturating_sub(1);
        let place = to(self.selected_place(view, &rows), last).min(last);
        // The newest event stays selected as long as nobody leaves it.
        let follow = view == View::Events && place == 0;
        let selected = rows.get(place).and_then(|row| self.identity(view, *row));
        self.list_mut().selected = selected.filter(|_| !follow);
    }

    /// Takes the next order of the view on show; its name, if it has any.
    pub(super) fn next_order(&mut self) -> Option<&'static str> {
        let orders = orders(self.view);
        let list = self.list_mut();
        list.order = (list.order + 1) % orders.len().max(1);
        list.reversed = false;
        orders.get(list.order).copied()
    }
}

/// An order of [`Rank`]s that sorting takes.
struct SortKey(Rank);

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.compare(&other.0)
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SortKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SortKey {}
