//! The `tmem` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tmem_user::cli::run()
}
