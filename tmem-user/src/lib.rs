//! The library behind the `tmem` tool.
