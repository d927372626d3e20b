//! Every key of the dashboard: a named action in one table, from which keys are
//! looked up and the help is drawn.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    Help,
    NextView,
    PreviousView,
    ShowView(usize),
    Up,
    Down,
    First,
    Last,
    Window,
    Freeze,
    RaiseLimit,
    LowerLimit,
    EditLimit,
    NextCodec,
    PreviousCodec,
    ToggleEnabled,
    EditSelected,
    Undo,
    Dismiss,
    Redraw,
    Accept,
    Cancel,
    Erase,
    EraseAll,
}

/// When a key means its action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// While looking at a view or at the help.
    Looking,
    /// While a value is being typed.
    Typing,
}

/// A key: its code, and whether Ctrl is held. Shift shows in the code already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    code: KeyCode,
    ctrl: bool,
}

impl Key {
    const fn new(code: KeyCode) -> Self {
        Self { code, ctrl: false }
    }

    const fn char(char: char) -> Self {
        Self::new(KeyCode::Char(char))
    }

    const fn ctrl(char: char) -> Self {
        Self {
            code: KeyCode::Char(char),
            ctrl: true,
        }
    }

    fn is(self, event: KeyEvent) -> bool {
        self.code == event.code && self.ctrl == event.modifiers.contains(KeyModifiers::CONTROL)
    }

    /// The key as people know it.
    pub(super) fn label(self) -> String {
        let name = match self.code {
            KeyCode::Char(' ') => "Space".into(),
            KeyCode::Char(char) if self.ctrl => char.to_ascii_uppercase().to_string(),
            KeyCode::Char(char) => char.to_string(),
            KeyCode::BackTab => "Shift-Tab".into(),
            code => code.to_string(),
        };
        if self.ctrl {
            format!("Ctrl-{name}")
        } else {
            name
        }
    }
}

/// One row of the table.
pub(super) struct Binding {
    pub(super) action: Action,
    /// The action's name.
    pub(super) name: &'static str,
    pub(super) keys: &'static [Key],
    pub(super) when: When,
    /// What it does, in a few words.
    pub(super) help: &'static str,
}

const fn looking(
    action: Action,
    name: &'static str,
    keys: &'static [Key],
    help: &'static str,
) -> Binding {
    Binding {
        action,
        name,
        keys,
        when: When::Looking,
        help,
    }
}

const fn typing(
    action: Action,
    name: &'static str,
    keys: &'static [Key],
    help: &'static str,
) -> Binding {
    Binding {
        action,
        name,
        keys,
        when: When::Typing,
        help,
    }
}

/// The table.
pub(super) const BINDINGS: &[Binding] = &[
    looking(
        Action::Help,
        "help",
        &[Key::char('?'), Key::new(KeyCode::F(1))],
        "these keys",
    ),
    looking(
        Action::Quit,
        "quit",
        &[Key::char('q'), Key::ctrl('c')],
        "leave",
    ),
    looking(
        Action::NextView,
        "next-view",
        &[Key::new(KeyCode::Tab), Key::new(KeyCode::Right)],
        "next view",
    ),
    looking(
        Action::PreviousView,
        "previous-view",
        &[
            Key::new(KeyCode::BackTab),
            Key::new(KeyCode::Left),
            Key::char('h'),
        ],
        "previous view",
    ),
    looking(
        Action::ShowView(0),
        "overview",
        &[Key::char('1')],
        "memory, rates, latency at a glance",
    ),
    looking(
        Action::ShowView(1),
        "pools",
        &[Key::char('2')],
        "each pool; the selected one in detail",
    ),
    looking(
        Action::ShowView(2),
        "latency",
        &[Key::char('3')],
        "percentiles and a heat map over time",
    ),
    looking(
        Action::ShowView(3),
        "tuning",
        &[Key::char('4')],
        "everything that can be set",
    ),
    looking(
        Action::ShowView(4),
        "events",
        &[Key::char('5')],
        "sampled operations",
    ),
    looking(
        Action::Up,
        "up",
        &[Key::new(KeyCode::Up), Key::char('k')],
        "row above",
    ),
    looking(
        Action::Down,
        "down",
        &[Key::new(KeyCode::Down), Key::char('j')],
        "row below",
    ),
    looking(
        Action::First,
        "first",
        &[Key::new(KeyCode::Home), Key::char('g')],
        "first row",
    ),
    looking(
        Action::Last,
        "last",
        &[Key::new(KeyCode::End), Key::char('G')],
        "last row",
    ),
    looking(
        Action::RaiseLimit,
        "raise-limit",
        &[Key::char('+'), Key::char('=')],
        "raise the limit (Pools: of that pool)",
    ),
    looking(
        Action::LowerLimit,
        "lower-limit",
        &[Key::char('-'), Key::char('_')],
        "lower the limit",
    ),
    looking(
        Action::EditLimit,
        "edit-limit",
        &[Key::char('l')],
        "type a limit",
    ),
    looking(
        Action::NextCodec,
        "next-codec",
        &[Key::char('c')],
        "next codec (Pools: of that pool)",
    ),
    looking(
        Action::PreviousCodec,
        "previous-codec",
        &[Key::char('C')],
        "previous codec",
    ),
    looking(
        Action::ToggleEnabled,
        "toggle-enabled",
        &[Key::char('o')],
        "accept new pages: on or off",
    ),
    looking(
        Action::EditSelected,
        "edit-selected",
        &[Key::new(KeyCode::Enter), Key::char('e')],
        "type a value for the row (in Tuning)",
    ),
    looking(
        Action::Undo,
        "undo",
        &[Key::char('u')],
        "take the last change back",
    ),
    looking(
        Action::Window,
        "window",
        &[Key::char('w')],
        "time that hit rate and percentiles cover",
    ),
    looking(
        Action::Freeze,
        "freeze",
        &[Key::char('f'), Key::char(' ')],
        "stop and resume the picture",
    ),
    looking(
        Action::Dismiss,
        "dismiss",
        &[Key::new(KeyCode::Esc)],
        "close the help, clear the message",
    ),
    looking(
        Action::Redraw,
        "redraw",
        &[Key::ctrl('l')],
        "ask the terminal's size and draw anew",
    ),
    typing(
        Action::Accept,
        "accept",
        &[Key::new(KeyCode::Enter)],
        "set the value typed",
    ),
    typing(
        Action::Cancel,
        "cancel",
        &[Key::new(KeyCode::Esc), Key::ctrl('c')],
        "leave the value as it is",
    ),
    typing(
        Action::Erase,
        "erase",
        &[Key::new(KeyCode::Backspace), Key::ctrl('h')],
        "erase a character",
    ),
    typing(
        Action::EraseAll,
        "erase-all",
        &[Key::ctrl('u')],
        "erase everything",
    ),
];

/// The action of a key.
pub(super) fn action(when: When, event: KeyEvent) -> Option<Action> {
    BINDINGS
        .iter()
        .find(|binding| binding.when == when && binding.keys.iter().any(|key| key.is(event)))
        .map(|binding| binding.action)
}

/// The first key of an action, for hints.
pub(super) fn hint(action: Action) -> String {
    BINDINGS
        .iter()
        .find(|binding| binding.action == action)
        .and_then(|binding| binding.keys.first())
        .map_or_else(String::new, |key| key.label())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode, modifiers: KeyModifiers) -> KeyEvent {
        KeyEvent::new(code, modifiers)
    }

    #[test]
    fn no_key_means_two_things_and_no_name_is_used_twice() {
        for (position, binding) in BINDINGS.iter().enumerate() {
            assert!(!binding.keys.is_empty(), "{} has no key", binding.name);
            for other in &BINDINGS[position + 1..] {
                assert_ne!(binding.name, other.name);
                if binding.when == other.when {
                    for key in binding.keys {
                        assert!(!other.keys.contains(key), "{} twice", key.label());
                    }
                }
            }
        }
    }

    #[test]
    fn keys_find_their_action() {
        let none = KeyModifiers::NONE;
        let looking = |code, modifiers| action(When::Looking, press(code, modifiers));
        assert_eq!(looking(KeyCode::Char('q'), none), Some(Action::Quit));
        assert_eq!(
            looking(KeyCode::Char('c'), KeyModifiers::CONTROL),
            Some(Action::Quit)
        );
        assert_eq!(looking(KeyCode::Char('c'), none), Some(Action::NextCodec));
        assert_eq!(
            looking(KeyCode::Char('+'), KeyModifiers::SHIFT),
            Some(Action::RaiseLimit)
        );
        assert_eq!(
            looking(KeyCode::BackTab, KeyModifiers::SHIFT),
            Some(Action::PreviousView)
        );
        assert_eq!(looking(KeyCode::Char('z'), none), None);
        assert_eq!(action(When::Typing, press(KeyCode::Char('q'), none)), None);
        assert_eq!(
            action(When::Typing, press(KeyCode::Enter, none)),
            Some(Action::Accept)
        );
    }

    #[test]
    fn labels_read_well() {
        assert_eq!(hint(Action::NextView), "Tab");
        assert_eq!(hint(Action::Redraw), "Ctrl-L");
        assert_eq!(hint(Action::Dismiss), "Esc");
        assert_eq!(hint(Action::PreviousView), "Shift-Tab");
    }
}
