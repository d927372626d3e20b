//! Judges a machine by what it writes on its serial console.

use std::time::{Duration, Instant};

use tmem_tests::protocol::Line;

/// What no healthy kernel prints. The machine is stopped at once.
const DEATHS: &[&str] = &[
    "Kernel panic",
    "BUG:",
    "kernel BUG at",
    "Oops:",
    "WARNING:",
    "------------[ cut here ]",
    "general protection fault",
    "Unable to handle",
    "unable to handle",
    "rcu_sched self-detected stall",
    "rcu_preempt self-detected stall",
    "rcu: INFO:",
    "detected stall",
    "blocked for more than",
    "soft lockup",
    "hard LOCKUP",
    "Missing ENDBR",
    "objtool",
    "stack-protector",
    "scheduling while atomic",
    "possible circular locking",
    "Failed to execute /init",
    "not syncing",
];

/// Of the lines after the first sign, those that say what broke and where.
const PARTICULARS: &[&str] = &[
    "kernel BUG at",
    "WARNING:",
    "BUG:",
    "Oops:",
    "Comm:",
    "RIP: 0010:",
];
/// So many of them.
const MOST_PARTICULARS: usize = 4;

/// What the guest said of one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The scenario.
    pub(crate) name: String,
    /// `None`: it passed; else why not.
    pub(crate) failure: Option<String>,
    /// Results, JSON objects as text.
    pub(crate) data: Vec<String>,
    /// Since the outcome before it, or since power on.
    pub(crate) took: Duration,
    /// The number of console lines up to its own.
    pub(crate) lines: usize,
}

/// What a line means for the machine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Read on.
    Continue,
    /// A scenario ended; read on.
    Outcome,
    /// It is done and powers off.
    Done,
    /// The kernel is broken: stop the machine.
    Dead,
}

/// All that one machine said.
#[derive(Debug)]
pub(crate) struct Console {
    /// In the order they came.
    pub(crate) outcomes: Vec<Outcome>,
    /// Results since the last outcome.
    data: Vec<String>,
    /// All lines.
    pub(crate) lines: Vec<String>,
    /// The line that showed first that the kernel is broken.
    death: Option<usize>,
    last: Instant,
}

impl Console {
    /// Of a machine that is switched on now.
    pub(crate) fn new() -> Self {
        Self {
            outcomes: Vec::new(),
            data: Vec::new(),
            lines: Vec::new(),
            death: None,
            last: Instant::now(),
        }
    }

    /// Takes the next line.
    pub(crate) fn line(&mut self, line: &str) -> Verdict {
        let line = line.trim_end_matches(['\r', '\n']);
        self.lines.push(line.to_owned());
        let mut outcome = |name, failure| {
            let now = Instant::now();
            self.outcomes.push(Outcome {
                name,
                failure,
                data: std::mem::take(&mut self.data),
                took: now - self.last,
                lines: self.lines.len(),
            });
            self.last = now;
            Verdict::Outcome
        };
        match Line::parse(line) {
            Some(Line::Pass(name)) => outcome(name, None),
            Some(Line::Fail(name, why)) => outcome(name, Some(why)),
            Some(Line::Data(json)) => {
                self.data.push(json);
                Verdict::Continue
            }
            Some(Line::Done) => Verdict::Done,
            None if DEATHS.iter().any(|words| line.contains(words)) => {
                self.death.get_or_insert(self.lines.len() - 1);
                Verdict::Dead
            }
            None => Verdict::Continue,
        }
    }

    /// Since the last outcome, or since power on.
    pub(crate) fn since_outcome(&self) -> Duration {
        self.last.elapsed()
    }

    /// What the kernel died of, in one line: the first sign, and what the lines after it say
    /// of its kind and place. Empty if it did not.
    pub(crate) fn last_words(&self) -> String {
        let Some(death) = self.death else {
            return String::new();
        };
        let mut words = self.lines[death].trim().to_owned();
        self.lines[death + 1..]
            .iter()
            .filter(|line| {
                PARTICULARS
                    .iter()
                    .any(|particular| line.contains(particular))
            })
            .take(MOST_PARTICULARS)
            .for_each(|line| {
                words.push_str("; ");
                words.push_str(without_time(line));
            });
        words
    }

    /// Whether some line has `words`.
    pub(crate) fn contains(&self, words: &str) -> bool {
        self.lines.iter().any(|line| line.contains(words))
    }

    /// The last `n` lines.
    pub(crate) fn tail(&self, n: usize) -> String {
        self.before(self.lines.len(), n)
    }

    /// The `n` lines before line `end`.
    pub(crate) fn before(&self, end: usize, n: usize) -> String {
        self.lines[end.saturating_sub(n)..end].join("\n")
    }
}

/// A line of the kernel's log without the time before it.
fn without_time(line: &str) -> &str {
    match line
        .trim()
        .strip_prefix('[')
        .and_then(|l| l.split_once("] "))
    {
        Some((_, rest)) => rest.trim_start(),
        None => line.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_with_their_data() {
        let mut console = Console::new();
        for (line, verdict) in [
            ("[    0.0] Linux version 6.12", Verdict::Continue),
            ("TMEM-DATA {\"stores\":7}\r", Verdict::Continue),
            ("TMEM-OUTCOME pass swap_anon\r\n", Verdict::Outcome),
            ("TMEM-OUTCOME fail swap_thp: bad page 3", Verdict::Outcome),
            ("TMEM-DONE", Verdict::Done),
        ] {
            assert_eq!(console.line(line), verdict, "{line}");
        }
        assert_eq!(console.outcomes[0].data, ["{\"stores\":7}"]);
        assert_eq!(console.outcomes[0].failure, None);
        assert!(console.outcomes[1].data.is_empty());
        assert_eq!(console.outcomes[1].failure.as_deref(), Some("bad page 3"));
    }

    #[test]
    fn each_sign_of_a_broken_kernel_stops_the_machine() {
        for line in [
            "[ 1.0] Kernel panic - not syncing: Attempted to kill init!",
            "[ 1.0] BUG: unable to handle page fault for address: 0",
            "[ 1.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s!",
            "[ 1.0] WARNING: CPU: 0 PID: 1 at mm/swapfile.c:1",
            "[ 1.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "[ 1.0] INFO: task tmem:77 blocked for more than 120 seconds.",
            "[ 1.0] Missing ENDBR: zswap_store+0x0/0x500",
            "[ 1.0] Oops: general protection fault, probably for non-canonical address",
        ] {
            assert_eq!(Console::new().line(line), Verdict::Dead, "{line}");
        }
    }

    #[test]
    fn what_follows_the_first_sign_says_what_broke() {
        let mut console = Console::new();
        assert_eq!(console.last_words(), "");
        for line in [
            "[  142.3] WARNING of nobody",
            "[  142.336530] ------------[ cut here ]------------",
            "[  142.336600] WARNING: CPU: 1 PID: 77 at mm/truncate.c:9 f+0x1/0x2",
            "[  142.336700] Modules linked in: tmem(OE) ext4",
            "[  142.336800] CPU: 1 UID: 0 PID: 77 Comm: tmem-guest Tainted: G",
            "[  142.336900] RIP: 0010:f+0x1/0x2",
            "[  142.337000] RIP: 0033:0x7f",
        ] {
            console.line(line);
        }
        assert_eq!(
            console.last_words(),
            "[  142.336530] ------------[ cut here ]------------; \
             WARNING: CPU: 1 PID: 77 at mm/truncate.c:9 f+0x1/0x2; \
             CPU: 1 UID: 0 PID: 77 Comm: tmem-guest Tainted: G; RIP: 0010:f+0x1/0x2"
        );
    }

    #[test]
    fn a_guests_message_is_no_sign() {
        let line = "TMEM-OUTCOME fail swap_x: dmesg has WARNING: 1";
        assert_eq!(Console::new().line(line), Verdict::Outcome);
    }
}
