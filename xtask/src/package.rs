//! `cargo xtask package`: Debian packages. `tmem` is the static tool with its units,
//! manual pages, completions and defaults. `tmem-dkms` is the module's C sources
//! with the engine as prebuilt assembly, so that building it needs gcc, make and
//! headers only.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::build;
use crate::paths;
use crate::prepare::Nightly;
use crate::process::{output, run, say};

/// Of both packages unless told otherwise; that of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

const MAINTAINER: &str = "The tmem developers <tmem@localhost.invalid>";

/// What `tmem.conf.d` begins with: nothing but an explanation.
const DEFAULTS: &str = "\
# Tunables of tmem, made true by tmem.service and `tmem apply`. Put your own
# files into /etc/tmem.conf.d; one named like this one takes its place.
#
# limit = \"min(ram / 4, 4G)\"
# codec = \"zstd\"
#
# [pools.swap]
# weight = 200
#
# [mounts.\"/srv\"]
# keep = true
";

/// How DKMS builds the module.
const DKMS_CONF: &str = "\
PACKAGE_NAME=\"tmem\"
PACKAGE_VERSION=\"@VERSION@\"
BUILT_MODULE_NAME[0]=\"tmem\"
DEST_MODULE_LOCATION[0]=\"/updates/dkms\"
MAKE[0]=\"make -C ${kernel_source_dir} M=${dkms_tree}/tmem/@VERSION@/build modules\"
CLEAN=\"make -C ${kernel_source_dir} M=${dkms_tree}/tmem/@VERSION@/build clean\"
AUTOINSTALL=\"yes\"
";

/// Scripts of the packages, as dpkg wants them: (name, text).
type Scripts = [(&'static str, &'static str)];

const TOOL_SCRIPTS: &Scripts = &[
    (
        "postinst",
        "#!/bin/sh\nset -e\nif [ -d /run/systemd/system ]; then systemctl daemon-reload; fi\n",
    ),
    (
        "prerm",
        "#!/bin/sh\nset -e\nif [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then\n\
         \tsystemctl disable --now tmem-mounts.service tmem-tune.service tmem-serve.service \
         tmem.service\nfi\n",
    ),
    (
        "postrm",
        "#!/bin/sh\nset -e\nif [ -d /run/systemd/system ]; then systemctl daemon-reload; fi\n",
    ),
];

const MODULE_SCRIPTS: &Scripts = &[
    (
        "postinst",
        "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n\
         \t/usr/lib/dkms/common.postinst tmem @VERSION@ /usr/share/tmem-dkms \"\" \"$2\"\nfi\n",
    ),
    (
        "prerm",
        "#!/bin/sh\nset -e\nif [ \"$(dkms status -m tmem -v @VERSION@)\" ]; then\n\
         \tdkms remove -m tmem -v @VERSION@ --all\nfi\n",
    ),
];

/// Builds both packages into `folder`, with `version`; their paths.
pub(crate) fn packages(nightly: &Nightly, folder: &Path, version: &str) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let (sources, programs) = build::for_packages(nightly)?;
    Ok(vec![
        tool(&programs.tmem, folder, version)?,
        module(&sources, folder, version)?,
    ])
}

/// A package being put together.
struct Stage<'a> {
    root: PathBuf,
    version: &'a str,
}

impl<'a> Stage<'a> {
    fn new(name: &str, version: &'a str) -> Result<Self> {
        let root = paths::output().join("package").join(name);
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
        }
        fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
        Ok(Self { root, version })
    }

    /// The path of a file of the package, in a folder that is there.
    fn path(&self, path: &str) -> Result<PathBuf> {
        let path = self.root.join(path);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        Ok(path)
    }

    fn write(&self, path: &str, text: &str, mode: u32) -> Result<()> {
        let path = self.path(path)?;
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        set_mode(&path, mode)
    }

    fn copy(&self, from: &Path, path: &str, mode: u32) -> Result<()> {
        let path = self.path(path)?;
        fs::copy(from, &path).with_context(|| from.display().to_string())?;
        set_mode(&path, mode)
    }

    fn copyright(&self, package: &str) -> Result<()> {
        let text = "Copyright: the tmem developers\n\nLicense: GPL-2.0-only\n On Debian systems \
                    the text of this license is in /usr/share/common-licenses/GPL-2.\n";
        self.write(&format!("usr/share/doc/{package}/copyright"), text, 0o644)
    }

    /// Writes what dpkg has to know, and packs; the package's path.
    fn pack(
        &self,
        package: &str,
        fields: &str,
        scripts: &Scripts,
        folder: &Path,
    ) -> Result<PathBuf> {
        let bytes: u64 = output(Command::new("du").args(["-sk"]).arg(&self.root))?
            .split_whitespace()
            .next()
            .and_then(|kib| kib.parse().ok())
            .context("du prints no number")?;
        let version = self.version;
        let control = format!(
            "Package: {package}\nVersion: {version}\nMaintainer: {MAINTAINER}\n\
             Section: kernel\nPriority: optional\nInstalled-Size: {bytes}\n{fields}"
        );
        self.write("DEBIAN/control", &control, 0o644)?;
        for (name, text) in scripts {
            let text = text.replace("@VERSION@", version);
            self.write(&format!("DEBIAN/{name}"), &text, 0o755)?;
        }
        let made = folder.join(format!("{package}_{version}.deb"));
        run(Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Zxz"])
            .arg(&self.root)
            .arg(&made)
            .stdout(std::io::stderr()))?;
        Ok(made)
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| path.display().to_string())
}

fn tool(tmem: &Path, folder: &Path, version: &str) -> Result<PathBuf> {
    say("packing tmem");
    let stage = Stage::new("tmem", version)?;
    let share = paths::workspace().join("tmem-user/share");
    stage.copy(tmem, "usr/bin/tmem", 0o755)?;
    for unit in [
        "tmem.service",
        "tmem-mounts.service",
        "tmem-serve.service",
        "tmem-tune.service",
    ] {
        let from = share.join("systemd").join(unit);
        stage.copy(&from, &format!("usr/lib/systemd/system/{unit}"), 0o644)?;
    }
    stage.write("usr/lib/tmem.conf.d/10-defaults.conf", DEFAULTS, 0o644)?;
    stage.copy(
        &share.join("grafana-dashboard.json"),
        "usr/share/tmem/grafana-dashboard.json",
        0o644,
    )?;
    for (shell, path) in [
        ("bash", "usr/share/bash-completion/completions/tmem"),
        ("zsh", "usr/share/zsh/vendor-completions/_tmem"),
        ("fish", "usr/share/fish/vendor_completions.d/tmem.fish"),
    ] {
        let text = output(Command::new(tmem).args(["completions", shell]))?;
        stage.write(path, &text, 0o644)?;
    }
    let pages = stage.path("usr/share/man/man1/tmem.1")?;
    let pages = pages.parent().unwrap_or(&stage.root);
    run(Command::new(tmem).arg("man").arg(pages))?;
    for page in fs::read_dir(pages).with_context(|| pages.display().to_string())? {
        run(Command::new("gzip").arg("-9n").arg(page?.path()))?;
    }
    stage.copyright("tmem")?;
    let fields = "\
Architecture: amd64
Recommends: tmem-dkms
Suggests: prometheus
Description: watch and tune tmem, a compressed second chance for memory
 Pages that memory reclaim throws out are kept compressed in memory by the
 module of tmem-dkms. This tool watches it through eBPF, tunes it while it runs,
 checks conditions for scripts, and serves metrics. Without the module it shows
 the kernel's own zswap and zram.
";
    stage.pack("tmem", fields, TOOL_SCRIPTS, folder)
}

fn module(sources: &[(String, PathBuf)], folder: &Path, version: &str) -> Result<PathBuf> {
    say("packing tmem-dkms");
    let stage = Stage::new("tmem-dkms", version)?;
    let source = format!("usr/src/tmem-{version}");
    for (name, from) in sources {
        stage.copy(from, &format!("{source}/{name}"), 0o644)?;
    }
    let conf = DKMS_CONF.replace("@VERSION@", version);
    stage.write(&format!("{source}/dkms.conf"), &conf, 0o644)?;
    stage.copyright("tmem-dkms")?;
    let fields = "\
Architecture: amd64
Depends: dkms, gcc, make
Recommends: tmem, linux-headers-amd64
Description: module of tmem, a compressed second chance for memory (DKMS)
 Pages that memory reclaim throws out are kept compressed in memory. The module
 is built for each kernel from C sources and the engine as prebuilt assembly.
";
    stage.pack("tmem-dkms", fields, MODULE_SCRIPTS, folder)
}

/// Makes the packages and looks into them: that nothing is missing, and that the
/// module's sources are those that the tests build for every kernel.
pub(crate) fn check(nightly: &Nightly) -> Result<()> {
    let folder = paths::output().join("package");
    let made = packages(nightly, &folder.join("made"), VERSION)?;
    let (sources, _) = build::for_packages(nightly)?;
    let mut unpacked = Vec::new();
    for (package, name) in made.iter().zip(["tmem", "tmem-dkms"]) {
        let root = folder.join("unpacked").join(name);
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
        }
        fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
        run(Command::new("dpkg-deb").arg("-R").arg(package).arg(&root))?;
        unpacked.push(root);
    }
    let [tool, module] = unpacked.as_slice() else {
        bail!("not two packages");
    };
    for path in [
        "usr/bin/tmem",
        "usr/lib/systemd/system/tmem.service",
        "usr/lib/systemd/system/tmem-mounts.service",
        "usr/lib/systemd/system/tmem-serve.service",
        "usr/lib/systemd/system/tmem-tune.service",
        "usr/lib/tmem.conf.d/10-defaults.conf",
        "usr/share/man/man1/tmem.1.gz",
        "usr/share/man/man1/tmem-top.1.gz",
        "usr/share/man/man1/tmem-mount-watch.1.gz",
        "usr/share/bash-completion/completions/tmem",
        "usr/share/doc/tmem/copyright",
        "DEBIAN/prerm",
    ] {
        ensure!(tool.join(path).is_file(), "the package tmem has no {path}");
    }
    // What units and defaults say, the tool understands.
    let defaults = tool.join("usr/lib/tmem.conf.d/10-defaults.conf");
    run(Command::new(tool.join("usr/bin/tmem"))
        .args(["show-config"])
        .arg(&defaults)
        .stdout(Stdio::null()))?;
    let source = module.join(format!("usr/src/tmem-{VERSION}"));
    for (name, from) in &sources {
        let packed = source.join(name);
        let same = fs::read(&packed).with_context(|| packed.display().to_string())?
            == fs::read(from).with_context(|| from.display().to_string())?;
        ensure!(same, "{name} in the package is not {}", from.display());
    }
    let conf = fs::read_to_string(source.join("dkms.conf"))?;
    ensure!(
        conf.contains(&format!("PACKAGE_VERSION=\"{VERSION}\"")) && !conf.contains('@'),
        "dkms.conf: {conf}"
    );
    Ok(())
}
