//! The conditions of `tmem check` and of hindsight recordings: one table makes the options and says what each asks.

use clap::error::Error;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use tmem_common::op::Op;

use super::args::parse_share;
use crate::check::{Condition, Quantity, Side};
use crate::units::parse_short_time;

/// How a bound is written.
#[derive(Clone, Copy)]
enum Form {
    Share,
    Ratio,
    Time,
    Pages,
}

struct Row {
    name: &'static str,
    help: &'static str,
    quantity: Quantity,
    side: Side,
    form: Form,
}

const fn row(
    name: &'static str,
    help: &'static str,
    quantity: Quantity,
    side: Side,
    form: Form,
) -> Row {
    Row {
        name,
        help,
        quantity,
        side,
        form,
    }
}

const fn latency(name: &'static str, help: &'static str, op: Op, quantile: f64) -> Row {
    let quantity = Quantity::Latency { op, quantile };
    row(name, help, quantity, Side::Max, Form::Time)
}

/// In the order in which they are reported.
static TABLE: [Row; 11] = [
    row(
        "min-hit-rate",
        "Gets that find their page, of all gets: 0.6 or 60%",
        Quantity::HitRate,
        Side::Min,
        Form::Share,
    ),
    row(
        "max-refused",
        "Refused puts, of all puts",
        Quantity::Refused,
        Side::Max,
        Form::Share,
    ),
    row(
        "min-ratio",
        "Bytes of the pages held for a byte of memory used, at the end",
        Quantity::Ratio,
        Side::Min,
        Form::Ratio,
    ),
    latency(
        "max-p50-put",
        "Half of the successful puts take no longer",
        Op::Put,
        0.5,
    ),
    latency(
        "max-p99-put",
        "99 % of the successful puts take no longer",
        Op::Put,
        0.99,
    ),
    latency(
        "max-p999-put",
        "99.9 % of the successful puts take no longer",
        Op::Put,
        0.999,
    ),
    latency(
        "max-p50-get",
        "Half of the hits take no longer",
        Op::Get,
        0.5,
    ),
    latency(
        "max-p99-get",
        "99 % of the hits take no longer",
        Op::Get,
        0.99,
    ),
    latency(
        "max-p999-get",
        "99.9 % of the hits take no longer",
        Op::Get,
        0.999,
    ),
    row(
        "max-pressure",
        "Share of the time in which some task waits for memory",
        Quantity::Pressure,
        Side::Max,
        Form::Share,
    ),
    row(
        "max-swap-written",
        "Pages written to swap devices",
        Quantity::SwapWritten,
        Side::Max,
        Form::Pages,
    ),
];

impl Row {
    fn option(&self) -> Arg {
        let option = Arg::new(self.name).long(self.name).help(self.help);
        match self.form {
            Form::Share => option.value_name("SHARE").value_parser(parse_share),
            Form::Ratio => option.value_name("RATIO").value_parser(parse_ratio),
            Form::Time => option.value_name("TIME").value_parser(parse_ns),
            Form::Pages => option.value_name("PAGES").value_parser(parse_pages),
        }
    }
}

/// What an interval has to hold.
#[derive(Clone, Debug)]
pub(super) struct Conditions(Vec<Condition>);

impl Conditions {
    /// The conditions asked for, in the order of the table.
    pub(super) fn list(&self) -> Vec<Condition> {
        self.0.clone()
    }
}

impl Args for Conditions {
    fn augment_args(command: Command) -> Command {
        command.args(TABLE.iter().map(Row::option))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Conditions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let condition = |row: &Row| {
            Some(Condition {
                name: row.name,
                quantity: row.quantity,
                side: row.side,
                bound: *matches.get_one::<f64>(row.name)?,
            })
        };
        Ok(Self(TABLE.iter().filter_map(condition).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|ratio| ratio.is_finite() && *ratio >= 0.0)
        .ok_or_else(|| "a number such as 2.5 is wanted".to_owned())
}

fn parse_ns(text: &str) -> Result<f64, String> {
    parse_short_time(text).map(|time| time.as_nanos() as f64)
}

fn parse_pages(text: &str) -> Result<f64, String> {
    text.parse::<u32>()
        .map(f64::from)
        .map_err(|_| "a number of pages is wanted".to_owned())
}
