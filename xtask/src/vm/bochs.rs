//! Machines in Bochs, whose CPUs enforce Indirect Branch Tracking. One CPU, no
//! direct kernel boot: the kernel comes from a CD made here.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::machine::{Boot, Files, Running};
use crate::prepare::roots;
use crate::process::{describe, output};
