//! The thread that owns the source: it takes a snapshot a tick and makes
//! changes, so that a slow reading never holds up a key.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::app::News;
use super::history::POINTS;
use crate::source::Source;

/// What is wanted of the source.
pub(super) enum Wanted {
    /// A change.
    Set { key: String, value: String },
    /// Another time of a recording, so many readings on.
    Travel(i64),
}

/// Reads `source` every `interval` and whenever something was set, until the
/// other side of a channel is gone.
pub(super) fn run(
    source: &mut dyn Source,
    interval: Duration,
    wanted: &Receiver<Wanted>,
    news: &Sender<News>,
) {
    let mut due = Instant::now();
    let first = moment(source, 0).unwrap_or_else(|| snapshot(source));
    if news.send(tunables(source)).is_err() || news.send(first).is_err() {
        return;
    }
    loop {
        // A reading that took longer than the interval is not caught up with.
        due = (due + interval).max(Instant::now());
        loop {
            match wanted.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Wanted::Travel(steps)) => {
                    if let Some(moment) = moment(source, steps)
                        && news.send(moment).is_err()
                    {
                        return;
                    }
                }
                Ok(Wanted::Set { key, value }) => {
                    let told = match source.set(&key, &value) {
                        Ok(change) => News::Changed(change),
                        Err(error) => News::NotChanged(error.to_string()),
                    };
                    for told in [told, tunables(source), snapshot(source)] {
                        if news.send(told).is_err() {
                            return;
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if news.send(snapshot(source)).is_err() {
            return;
        }
    }
}

/// Where a recording stands after so many steps, with all that the dashboard remembers.
fn moment(source: &mut dyn Source, steps: i64) -> Option<News> {
    let moment = source.travel(steps, POINTS + 1)?;
    Some(News::Moment(Box::new(moment)))
}

fn snapshot(source: &mut dyn Source) -> News {
    match source.snapshot() {
        Ok(snapshot) => News::Snapshot(Box::new(snapshot)),
        Err(error) => News::NoSnapshot(error.to_string()),
    }
}

fn tunables(source: &mut dyn Source) -> News {
    match source.tunables() {
        Ok(tunables) => News::Tunables(tunables),
        Err(error) => News::NoSnapshot(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::dashboard::fake::FakeSource;

    /// What the sampler says about one change, at an interval too long to tick.
    fn after(key: &str, value: &str) -> (Vec<News>, String) {
        let (ask, wanted) = mpsc::channel();
        let (news, told) = mpsc::channel();
        let mut source = FakeSource::new();
        let values = source.values.clone();
        ask.send(Wanted::Set {
            key: key.into(),
            value: value.into(),
        })
        .ok();
        drop(ask);
        run(&mut source, Duration::from_secs(3600), &wanted, &news);
        drop(news);
        let limit = values.lock().map(|values| values[1].value.clone());
        (told.iter().collect(), limit.unwrap_or_default())
    }

    #[test]
    fn a_change_is_made_and_told_with_what_it_led_to() {
        let (news, limit) = after("limit", "96M");
        assert_eq!(limit, "96M");
        assert!(matches!(
            &news[..],
            [
                News::Tunables(_),
                News::Snapshot(_),
                News::Changed(change),
                News::Tunables(tunables),
                News::Snapshot(_),
            ] if change.old == "64M" && change.new == "96M" && tunables[1].value == "96M"
        ));
    }

    #[test]
    fn a_refusal_is_told_with_its_reason() {
        let (news, limit) = after("limit", "refuse");
        assert_eq!(limit, "64M");
        assert!(matches!(&news[2], News::NotChanged(reason) if reason == "refused"));
        let (news, _) = after("nonsense", "1");
        assert!(matches!(&news[2], News::NotChanged(reason) if reason.contains("nonsense")));
    }
}
