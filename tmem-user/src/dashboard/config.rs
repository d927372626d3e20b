//! The dashboard's configuration file: keys, colours and layout, in TOML.
//!
//! ```toml
//! [keys]
//! quit = ["q", "Ctrl-C"]
//!
//! [theme]
//! warning = "bold yellow"
//!
//! [layout]
//! views = ["overview", "pools", "policy"]
//! start = "pools"
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use ratatui::style::{Color, Modifier, Style};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::app::{View, WINDOWS};
use super::keys::{BINDINGS, Binding, Key, When};
use super::theme::Theme;
use crate::config::{ConfigError, Place, place, quoted, read_text, syntax_error};
use crate::units::parse_duration;

/// What a file can say.
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) keys: Vec<(&'static Binding, Vec<Key>)>,
    pub(super) styles: Vec<(&'static str, Style)>,
    pub(super) views: Vec<View>,
    pub(super) start: Option<View>,
    pub(super) window: Option<f64>,
    /// Time between two readings.
    pub interval: Option<Duration>,
    /// Whether only ASCII characters are used.
    pub ascii: bool,
    /// Whether clicks and the wheel are taken.
    pub mouse: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            styles: Vec::new(),
            views: View::ALL.to_vec(),
            start: None,
            window: None,
            interval: None,
            ascii: false,
            mouse: true,
        }
    }
}

/// Where the configuration is looked for when nobody names it: in the user's
/// directory, then in the system's.
pub fn usual_paths() -> Vec<PathBuf> {
    let user = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let mut paths: Vec<PathBuf> = user
        .map(|user| user.join("tmem/top.toml"))
        .into_iter()
        .collect();
    paths.push(PathBuf::from("/etc/tmem/top.toml"));
    paths
}

impl Config {
    /// Reads the file `named`, or the first of the usual ones that is there.
    ///
    /// # Errors
    /// The named file is not there; a file cannot be read, or says something that
    /// is not allowed.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let usual = usual_paths();
        let path = match named {
            Some(path) => path,
            None => match usual.iter().find(|path| path.exists()) {
                Some(path) => path,
                None => return Ok(Self::default()),
            },
        };
        Self::parse(path, &read_text(path)?)
    }

    /// Reads the text of the file `path`.
    ///
    /// # Errors
    /// What is not TOML, not known, or not allowed, with its place.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let root = DeTable::parse(text).map_err(|error| syntax_error(path, text, &error))?;
        let mut config = Self::default();
        let reader = Reader { path, text };
        for (name, value) in root.get_ref() {
            let section = name.get_ref().as_ref();
            let DeValue::Table(table) = value.get_ref() else {
                return Err(reader.bad(value, section, "a section: [keys], [theme], [layout]"));
            };
            for (name, value) in table {
                let key = format!("{section}.{}", name.get_ref());
                match section {
                    "keys" => config.take_key(&reader, name.get_ref(), &key, value)?,
                    "theme" => config.take_style(&reader, name.get_ref(), &key, value)?,
                    "layout" => config.take_layout(&reader, name.get_ref(), &key, value)?,
                    _ => return Err(reader.bad(value, &key, "in [keys], [theme] or [layout]")),
                }
            }
        }
        config.check_keys(&reader)?;
        Ok(config)
    }

    fn take_key(
        &mut self,
        reader: &Reader<'_>,
        name: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ConfigError> {
        let Some(binding) = BINDINGS.iter().find(|binding| binding.name == name) else {
            let names: Vec<_> = BINDINGS.iter().map(|binding| binding.name).collect();
            return Err(reader.bad(
                value,
                key,
                &format!("one of the actions {}", names.join(" ")),
            ));
        };
        let mut keys = Vec::new();
        for (item, text) in reader.texts(value, key)? {
            let parsed = Key::parse(&text);
            keys.push(parsed.ok_or_else(|| {
                reader.bad(
                    item,
                    key,
                    "a character, Ctrl-X, F1 to F12, Tab, Enter, Esc, Up, ...",
                )
            })?);
        }
        self.keys.push((binding, keys));
        Ok(())
    }

    /// One key for two actions of the file would leave one of them without.
    fn check_keys(&self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        for (position, (binding, keys)) in self.keys.iter().enumerate() {
            for (other, theirs) in &self.keys[position + 1..] {
                let twice = keys.iter().find(|key| theirs.contains(key));
                if let Some(key) = twice.filter(|_| binding.when == other.when) {
                    return Err(ConfigError::Bad {
                        place: reader.place(0),
                        key: "keys".to_owned(),
                        value: key.label(),
                        allowed: format!("for one of {} and {} only", binding.name, other.name),
                    });
                }
            }
        }
        Ok(())
    }

    fn take_style(
        &mut self,
        reader: &Reader<'_>,
        name: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ConfigError> {
        let Some(name) = Theme::NAMES.iter().find(|known| **known == name) else {
            return Err(reader.bad(value, key, &format!("one of {}", Theme::NAMES.join(" "))));
        };
        let style = reader.text(value).and_then(|text| parse_style(&text));
        let style = style.ok_or_else(|| {
            let allowed = "a color such as light-blue or #88c0d0, on COLOR for the background, and \
                           bold, dim, italic, underlined, reversed; or plain";
            reader.bad(value, key, allowed)
        })?;
        self.styles.push((name, style));
        Ok(())
    }

    fn take_layout(
        &mut self,
        reader: &Reader<'_>,
        name: &str,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ConfigError> {
        let titles: Vec<_> = View::ALL
            .iter()
            .map(|view| view.title().to_lowercase())
            .collect();
        let view = |text: &str| {
            let position = titles.iter().position(|title| title == text);
            position.map(|position| View::ALL[position])
        };
        let known = format!("one of {}", titles.join(" "));
        match name {
            "views" => {
                self.views.clear();
                for (item, text) in reader.texts(value, key)? {
                    let view = view(&text).ok_or_else(|| reader.bad(item, key, &known))?;
                    if !self.views.contains(&view) {
                        self.views.push(view);
                    }
                }
                if self.views.is_empty() {
                    return Err(reader.bad(value, key, &format!("at least {known}")));
                }
            }
            "start" => {
                let found = reader.text(value).and_then(|text| view(&text));
                self.start = Some(found.ok_or_else(|| reader.bad(value, key, &known))?);
            }
            "window" => {
                let seconds = reader.time(value).map(|time| time.as_secs_f64());
                let seconds = seconds.filter(|seconds| WINDOWS.contains(seconds));
                let wanted = "one of 10s 60s 5m 10m";
                self.window = Some(seconds.ok_or_else(|| reader.bad(value, key, wanted))?);
            }
            "interval" => {
                let wanted = "a time above 0 such as 500ms or 2s";
                let time = reader
                    .time(value)
                    .ok_or_else(|| reader.bad(value, key, wanted))?;
                self.interval = Some(time);
            }
            "ascii" => self.ascii = reader.switch(value, key)?,
            "mouse" => self.mouse = reader.switch(value, key)?,
            _ => {
                let names = "one of views start window interval ascii mouse";
                return Err(reader.bad(value, key, names));
            }
        }
        Ok(())
    }
}

/// A file being read.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn place(&self, at: usize) -> Place {
        place(self.path, self.text, at)
    }

    fn bad(&self, value: &Spanned<DeValue<'_>>, key: &str, allowed: &str) -> ConfigError {
        let shown = self.text.get(value.span()).unwrap_or_default();
        ConfigError::Bad {
            place: self.place(value.span().start),
            key: key.to_owned(),
            value: shown.trim_matches('"').to_owned(),
            allowed: allowed.to_owned(),
        }
    }

    fn text(&self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => None,
        }
    }

    /// A text, or a list of texts.
    fn texts<'v, 'i>(
        &self,
        value: &'v Spanned<DeValue<'i>>,
        key: &str,
    ) -> Result<Vec<(&'v Spanned<DeValue<'i>>, String)>, ConfigError> {
        let items: Vec<_> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let text = |item| {
            let text = self.text(item);
            Ok((
                item,
                text.ok_or_else(|| self.bad(item, key, "a string or a list of strings"))?,
            ))
        };
        items.into_iter().map(text).collect()
    }

    fn time(&self, value: &Spanned<DeValue<'_>>) -> Option<Duration> {
        parse_duration(&self.text(value)?).ok()
    }

    fn switch(&self, value: &Spanned<DeValue<'_>>, key: &str) -> Result<bool, ConfigError> {
        match value.get_ref() {
            DeValue::Boolean(on) => Ok(*on),
            _ => Err(self.bad(value, key, "true or false")),
        }
    }
}

/// Reads `bold light-blue on black`.
fn parse_style(text: &str) -> Option<Style> {
    let mut style = Style::new();
    let mut background = false;
    for word in text.split_whitespace() {
        let modifier = match word {
            "plain" => continue,
            "on" => {
                background = true;
                continue;
            }
            "bold" => Modifier::BOLD,
            "dim" => Modifier::DIM,
            "italic" => Modifier::ITALIC,
            "underlined" => Modifier::UNDERLINED,
            "reversed" => Modifier::REVERSED,
            color => {
                let color: Color = color.parse().ok()?;
                style = if background {
                    style.bg(color)
                } else {
                    style.fg(color)
                };
                background = false;
                continue;
            }
        };
        style = style.add_modifier(modifier);
    }
    (!background && !text.trim().is_empty()).then_some(style)
}

/// A file that says what holds anyway: every action with its keys, every setting.
pub fn template() -> String {
    let mut text = String::from("# Configuration of `tmem top`, with what holds without a file.\n");
    text.push_str("\n[keys]\n");
    for binding in BINDINGS {
        let keys: Vec<String> = binding
            .keys
            .iter()
            .map(|key| quoted(&key.label()))
            .collect();
        let when = match binding.when {
            When::Looking => "",
            When::Typing => "while typing: ",
        };
        text.push_str(&format!("# {when}{}\n", binding.help));
        text.push_str(&format!("{} = [{}]\n", binding.name, keys.join(", ")));
    }
    let titles: Vec<String> = View::ALL
        .iter()
        .map(|view| quoted(&view.title().to_lowercase()))
        .collect();
    text.push_str(&format!(
        "\n[theme]\n# any of {}: colors, on COLOR, bold, dim, italic, underlined, reversed\n",
        Theme::NAMES.join(", ")
    ));
    text.push_str("warning = \"bold yellow\"\nerror = \"bold light-magenta\"\n");
    text.push_str(&format!(
        "\n[layout]\nviews = [{}]\nstart = {}\n# what hit rate and percentiles cover: 10s, 60s, 5m \
         or 10m\nwindow = \"60s\"\ninterval = \"1s\"\nascii = false\nmouse = true\n",
        titles.join(", "),
        titles[0]
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("top.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_template_says_what_holds_anyway() {
        let config = parse(&template()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.keys.len(), BINDINGS.len());
        for (binding, keys) in &config.keys {
            assert_eq!(keys, binding.keys, "{}", binding.name);
        }
        assert_eq!(config.views, View::ALL);
        let mut theme = Theme::new(true, false);
        let usual = theme;
        for (name, style) in &config.styles {
            theme.change(name, *style);
        }
        assert_eq!((theme.warning, theme.error), (usual.warning, usual.error));
        assert!(config.mouse && !config.ascii);
    }

    #[test]
    fn a_file_changes_what_it_names() {
        let text = "[keys]\nquit = [\"x\", \"Ctrl-Q\"]\n[theme]\nfill = \"bold #102030 on white\"\n\
                    [layout]\nviews = [\"pools\", \"policy\"]\nstart = \"policy\"\nwindow = \"5m\"\n\
                    interval = \"250ms\"\nmouse = false\n";
        let config = parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.views, [View::Pools, View::Policy]);
        assert_eq!(
            (config.start, config.window),
            (Some(View::Policy), Some(300.0))
        );
        assert_eq!(config.interval, Some(Duration::from_millis(250)));
        let style = Style::new()
            .fg(Color::Rgb(0x10, 0x20, 0x30))
            .bg(Color::White);
        assert_eq!(
            config.styles,
            [("fill", style.add_modifier(Modifier::BOLD))]
        );
        assert!(!config.mouse);
    }

    #[test]
    fn what_is_not_allowed_is_named_with_its_place() {
        for (text, words) in [
            (
                "[keys]\nfly = \"x\"\n",
                "top.toml:2:7: keys.fly: \"x\" is not allowed; allowed: one",
            ),
            (
                "[keys]\nquit = [\"q\", \"hyper-x\"]\n",
                "top.toml:2:14: keys.quit: \"hyper-x\"",
            ),
            ("[keys]\nquit = 7\n", "top.toml:2:8: keys.quit: \"7\""),
            (
                "[keys]\nquit = \"x\"\nhelp = \"x\"\n",
                "for one of help and quit only",
            ),
            (
                "[theme]\nfill = \"sky\"\n",
                "top.toml:2:8: theme.fill: \"sky\"",
            ),
            ("[theme]\nsky = \"blue\"\n", "one of label value"),
            ("[layout]\nviews = []\n", "at least one of overview"),
            ("[layout]\nstart = \"tides\"\n", "one of overview pools"),
            ("[layout]\nwindow = \"7s\"\n", "one of 10s 60s 5m 10m"),
            ("[layout]\nmouse = \"no\"\n", "true or false"),
            ("[layout]\nsize = 1\n", "one of views start"),
            ("[colors]\na = 1\n", "in [keys], [theme] or [layout]"),
            ("quit = \"q\"\n", "a section"),
            ("[keys\n", "top.toml:1:"),
        ] {
            let error = parse(text).err().unwrap_or_default();
            assert!(error.contains(words), "{text:?}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
