//! Which functions of zswap and zram can be timed on a kernel without the module, and
//! what they return. They are the kernel's own and change between versions.

/// A function, and the eBPF programs for its beginning and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The kernel's function.
    pub function: &'static str,
    /// Runs when it is called.
    pub enter: &'static str,
    /// Runs when it returns.
    pub leave: &'static str,
}

/// What to attach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// The functions that are there.
    pub functions: Vec<Probe>,
    /// Whether zswap's store returns a bool, true for success, and not an int, 0 for success.
    pub store_is_bool: bool,
    /// The same of its load.
    pub load_is_bool: bool,
}

const fn probe(function: &'static str, enter: &'static str, leave: &'static str) -> Probe {
    Probe {
        function,
        enter,
        leave,
    }
}

/// Names of one function over the kernel's versions, the newest first, with its programs.
const FUNCTIONS: [&[Probe]; 3] = [
    &[
        probe("zswap_store", "zswap_store_in", "zswap_store_out"),
        probe("zswap_frontswap_store", "zswap_store_in", "zswap_store_out"),
    ],
    &[
        probe("zswap_load", "zswap_load_in", "zswap_load_out"),
        probe("zswap_frontswap_load", "zswap_load_in", "zswap_load_out"),
    ],
    // Up to 6.3 swap pages come this way, and by bios when this one fails.
    &[
        probe("zram_rw_page", "zram_page_in", "zram_page_out"),
        probe("zram_submit_bio", "zram_bio_in", "zram_bio_out"),
    ],
];

/// What can be timed, by the kernel's symbols (the text of /proc/kallsyms) and version.
pub fn probes(symbols: &str, version: (u32, u32)) -> Probes {
    let is_there = |function: &str| {
        symbols
            .lines()
            .any(|line| line.split_whitespace().nth(2) == Some(function))
    };
    let functions: Vec<Probe> = FUNCTIONS
        .iter()
        .filter_map(|names| names.iter().find(|probe| is_there(probe.function)).copied())
        .collect();
    let has = |name| functions.iter().any(|probe| probe.function == name);
    Probes {
        store_is_bool: has("zswap_store"),
        load_is_bool: has("zswap_load") && version < (6, 15),
        functions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(symbols: &str, version: (u32, u32)) -> (Vec<&'static str>, bool, bool) {
        let found = probes(symbols, version);
        let names = found.functions.iter().map(|probe| probe.function).collect();
        (names, found.store_is_bool, found.load_is_bool)
    }

    #[test]
    fn each_version_has_its_functions() {
        let old = "0 t zswap_frontswap_store\n0 t zswap_frontswap_load\n0 t zram_rw_page\t[zram]\n\
                   0 t zram_submit_bio\t[zram]\n";
        let want = vec![
            "zswap_frontswap_store",
            "zswap_frontswap_load",
            "zram_rw_page",
        ];
        assert_eq!(names(old, (6, 1)), (want, false, false));
        let new = "0 T zswap_store\n0 T zswap_load\n0 t __pfx_zram_submit_bio\t[zram]\n\
                   0 t zram_submit_bio\t[zram]\n";
        let want = vec!["zswap_store", "zswap_load", "zram_submit_bio"];
        assert_eq!(names(new, (6, 12)), (want.clone(), true, true));
        assert_eq!(names(new, (7, 2)), (want, true, false));
    }

    #[test]
    fn names_are_whole_words() {
        let other = "0 t zswap_store_page\n0 t my_zswap_load\n0 t zswap_load.cold\n";
        assert_eq!(probes(other, (6, 12)), Probes::default());
    }
}
