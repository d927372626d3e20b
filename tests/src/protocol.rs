//! The words between host and guest: kernel arguments one way, console lines
//! the other way.
//!
//! The host starts a machine with
//! - `tmem.scenario=NAME[,NAME...]`: what to run, in this order, or `tmem.run=shell|demo|top|bench|bench-record|bench-watch`;
//! - `tmem.effort=quick|soak`: which of the scenario's two parameter sets;
//! - `tmem.params=K=V[,K=V...]`: overrides for each of them (`seed` is always there);
//! - `tmem.swap=/dev/NAME`: the swap disk, empty; absent when the machine has none;
//! - `tmem.disks=FS:/dev/NAME[,FS:/dev/NAME...]`: freshly made file systems, by
//!   [`FileSystem::name`](crate::FileSystem::name);
//! - `tmem.programs=/dev/NAME`: an ext4 with a Debian root that has fio and stress-ng;
//! - `tmem.slow=1`: the emulator needs a moment for the last lines before the power goes off;
//! - `tmem.tty=1 tmem.cols=N tmem.rows=N`: a person's terminal of that size is on the console.
//!
//! In the initramfs the guest finds itself as `/init`, the tool as `/bin/tmem`,
//! `/bin/busybox`, our modules as [`MODULE`], [`BROKEN_MODULE`], [`CONTROL_MODULE`]
//! and [`MISUSE_MODULE`],
//! and in [`MODULES_FILE`] the paths of the kernel modules to insert, one a line,
//! in that order.
//!
//! For each scenario the guest prints exactly one [`Line::Pass`] or [`Line::Fail`],
//! before it any number of [`Line::Data`], and [`Line::Done`] after the last one;
//! then it powers the machine off. A scenario leaves a clean state for the next.

use std::fmt;

/// Names the kernel modules to insert, one path a line, dependencies first.
pub const MODULES_FILE: &str = "/etc/tmem/modules";

/// The module under test.
pub const MODULE: &str = "/lib/tmem/tmem.ko";

/// The same module around the engine built with its `broken` feature.
pub const BROKEN_MODULE: &str = "/lib/tmem/tmem-broken.ko";

/// The same module with the parameter `break_hook`, by which its hooks go wrong.
pub const CONTROL_MODULE: &str = "/lib/tmem/tmem-control.ko";

/// The test module of `tests/kmod`: what else can sit on a hooked function.
pub const MISUSE_MODULE: &str = "/lib/tmem/tmem_misuse.ko";

/// The command line tool.
pub const CLI: &str = "/bin/tmem";

/// The pages that the swap bench swaps.
pub const BENCH_PAGES: &str = "/bench/pages";

/// For the interactive shell.
pub const BUSYBOX: &str = "/bin/busybox";

/// A console line that means something to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The scenario of this name showed what it is to show.
    Pass(String),
    /// The scenario of this name failed, and why, on one line.
    Fail(String, String),
    /// A result: one JSON object.
    Data(String),
    /// Nothing follows; the machine powers off.
    Done,
}

impl Line {
    /// Reads one console line; `None` for all that is not of the protocol.
    /// The kernel's own messages can precede on the same line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let at = line.find("TMEM-")?;
        let (word, rest) = line[at..]
            .trim_end()
            .split_once(' ')
            .unwrap_or((line[at..].trim_end(), ""));
        match word {
            "TMEM-OUTCOME" => {
                if let Some(name) = rest.strip_prefix("pass ") {
                    return Some(Self::Pass(name.trim().to_owned()));
                }
                let (name, why) = rest.strip_prefix("fail ")?.split_once(':')?;
                Some(Self::Fail(name.trim().to_owned(), why.trim().to_owned()))
            }
            "TMEM-DATA" => Some(Self::Data(rest.to_owned())),
            "TMEM-DONE" => Some(Self::Done),
            _ => None,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass(name) => write!(f, "TMEM-OUTCOME pass {name}"),
            Self::Fail(name, why) => {
                write!(
                    f,
                    "TMEM-OUTCOME fail {name}: {}",
                    why.replace(['\n', '\r'], "; ")
                )
            }
            Self::Data(json) => write!(f, "TMEM-DATA {json}"),
            Self::Done => f.write_str("TMEM-DONE"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for line in [
            Line::Pass("swap_anon".into()),
            Line::Fail("swap_thp".into(), "page 7: 3 bad words".into()),
            Line::Data(r#"{"stores":3}"#.into()),
            Line::Done,
        ] {
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
    }

    #[test]
    fn kernel_messages_and_carriage_returns_around_do_not_matter() {
        assert_eq!(
            Line::parse("[    3.1] random: TMEM-OUTCOME pass swap_anon\r"),
            Some(Line::Pass("swap_anon".into()))
        );
        assert_eq!(Line::parse("TMEM-DONE\r"), Some(Line::Done));
    }

    #[test]
    fn other_lines_say_nothing() {
        for line in [
            "",
            "tmem: loaded",
            "TMEM-OUTCOME",
            "TMEM-OUTCOME fail x",
            "TMEM-OTHER pass x",
        ] {
            assert_eq!(Line::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_message_of_several_lines_becomes_one() {
        let line = Line::Fail("a".into(), "one\ntwo".into()).to_string();
        assert_eq!(line.lines().count(), 1);
    }
}
