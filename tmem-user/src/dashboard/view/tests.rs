//! Each view on a test terminal, at sizes from too small to huge.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use tmem_common::event::Event;
use tmem_common::op::{Op, Outcome};

use super::render;
use crate::dashboard::app::{App, News, View};
use crate::dashboard::config::Config;
use crate::dashboard::fake;
use crate::dashboard::keys::BINDINGS;
use crate::dashboard::theme::Theme;
use crate::source::{Change, Unmeasured};

const SIZES: [(u16, u16); 3] = [(60, 20), (80, 24), (200, 60)];

pub(super) fn app() -> App {
    let mut app = fake::app(90);
    app.on_news(News::Tunables(fake::tunables()));
    app
}

pub(super) fn draw(app: &App, (width, height): (u16, u16)) -> TestBackend {
    let mut terminal = match Terminal::new(TestBackend::new(width, height)) {
        Ok(terminal) => terminal,
        Err(error) => match error {},
    };
    match terminal.draw(|frame| render(app, frame)) {
        Ok(_) => terminal.backend().clone(),
        Err(error) => match error {},
    }
}

/// The screen as lines of text.
fn screen(app: &App, size: (u16, u16)) -> String {
    let backend = draw(app, size);
    let buffer = backend.buffer();
    let mut text = String::new();
    for y in 0..size.1 {
        for x in 0..size.0 {
            text.push_str(buffer[(x, y)].symbol());
        }
        text.push('\n');
    }
    text
}

pub(super) fn press(app: &mut App, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            key => KeyCode::Char(key),
        };
        app.on_key(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

#[track_caller]
fn assert_shows(screen: &str, wanted: &[&str]) {
    for text in wanted {
        assert!(screen.contains(text), "{text:?} is missing in\n{screen}");
    }
}

#[test]
fn the_overview_shows_every_figure_at_every_size() {
    for size in SIZES {
        let screen = screen(&app(), size);
        assert_shows(
            &screen,
            &[
                "17.0 MiB of 64.0 MiB  26.6 %",
                "pages in 46.9 MiB",
                "saved 29.9 MiB",
                "ratio 2.81",
                "effective 2.76",
                "1,050",
                "hit rate 83.3 %",
                "swap writes avoided 90,000 (1,000/s)",
                "p99.9",
                "evict",
                "? help",
                "q quit",
            ],
        );
    }
    assert_shows(
        &screen(&app(), (200, 60)),
        &[
            "written 10/s",
            "pressure: some 12.5 %",
            "held",
            "peak 1,050",
        ],
    );
}

#[test]
fn the_latency_figures_are_those_of_the_work_done() {
    // Hits take 2.5 to 10 us; the far quicker misses are not among them.
    let app = app();
    let line = screen(&app, (80, 24));
    let line = line
        .lines()
        .skip_while(|line| !line.contains("p99.9"))
        .find(|line| line.trim_start().starts_with("get"))
        .unwrap_or_default();
    let p50 = line.split_whitespace().nth(1).unwrap_or_default();
    let p50: f64 = p50.parse().unwrap_or_default();
    assert!((2.5..10.0).contains(&p50), "{line}");
}

#[test]
fn the_pools_view_lists_pools_and_details_the_selected() {
    for size in SIZES {
        let mut app = app();
        press(&mut app, "2");
        let shown = screen(&app, size);
        assert_shows(
            &shown,
            &[
                "swap",
                "files",
                "12,000",
                "Pool 0 swap (persistent)",
                "stored 90,000",
            ],
        );
        press(&mut app, "j");
        assert_shows(&screen(&app, size), &["Pool 1 files (ephemeral, frozen)"]);
    }
}

#[test]
fn the_latency_view_has_a_map_of_the_selected_operation() {
    for size in SIZES {
        let mut app = app();
        press(&mut app, "3");
        let shown = screen(&app, size);
        assert_shows(&shown, &["p50", "put over time", "now", "█", "us"]);
        press(&mut app, "j");
        assert_shows(&screen(&app, size), &["get over time"]);
        press(&mut app, "G");
        assert_shows(
            &screen(&app, size),
            &["evict over time", "none in this time"],
        );
    }
}

#[test]
fn the_policy_and_events_views_list_what_there_is() {
    for size in SIZES {
        let mut app = app();
        press(&mut app, "6");
        assert_shows(
            &screen(&app, size),
            &[
                "keep_incompressible",
                "pools.1.codec",
                "takes 0 or 1",
                "Whether new pages",
            ],
        );
        press(&mut app, "7");
        assert_shows(
            &screen(&app, size),
            &["one page in 64", "2 lost", "stored", "2.10 us", "4817"],
        );
        press(&mut app, "je");
        assert_shows(&screen(&app, size), &["4818", "2.20 us", "object", "(0x1)"]);
        press(&mut app, "e/refused");
        assert_shows(
            &screen(&app, size),
            &["none with these words", "rows with: refused"],
        );
    }
}

#[test]
fn the_policy_view_marks_the_limit_in_the_curve_of_the_last_minutes() {
    let event = |op: Op, index| Event {
        index,
        op: op as u32,
        outcome: Outcome::Hit as u32,
        ..Event::default()
    };
    let mut app = app();
    assert_shows(&policy(&mut app, (80, 24)), &["no page was asked for yet"]);
    // Of 96 MiB that were put and then read, the oldest first, a smaller memory has the last.
    const PAGE: u64 = 64 << 10;
    let pages = (96 << 20) / PAGE;
    for second in 91..=150 {
        let mut snapshot = fake::snapshot(second);
        snapshot.used_bytes = snapshot.totals.pages * PAGE;
        if let Some(observed) = &mut snapshot.observed {
            observed.sample_one_in = 1;
            observed.events = match second {
                91 => (0..pages).map(|index| event(Op::Put, index)).collect(),
                92 => (0..pages).map(|index| event(Op::Get, index)).collect(),
                _ => Vec::new(),
            };
        }
        app.on_news(News::Snapshot(Box::new(snapshot)));
    }
    for size in SIZES {
        let shown = policy(&mut app, size);
        assert_shows(
            &shown,
            &[
                "Misses by limit, last 1 min",
                "32.0 MiB 66.",
                "limit 64.0 MiB 33.",
                "128 MiB 0.0 %",
            ],
        );
    }
    let (width, _) = SIZES[2];
    let shown = policy(&mut app, SIZES[2]);
    let lines: Vec<Vec<char>> = shown.lines().map(|line| line.chars().collect()).collect();
    let scale = lines
        .iter()
        .rposition(|line| line.iter().collect::<String>().contains(" limit  "))
        .unwrap_or_default();
    // The scale ends with twice the limit: the mark is in the middle, from top to bottom.
    let middle = usize::from(width) / 2;
    for row in 1..8 {
        let line = &lines[scale - row];
        assert!(line[middle - 1..=middle + 1].contains(&'|'), "{shown}");
    }
    // Nearly all misses at the left edge, none from three quarters on.
    assert_eq!(lines[scale - 8][1], '█', "{shown}");
    assert_eq!(lines[scale - 1][usize::from(width) * 7 / 8], ' ', "{shown}");
}

fn policy(app: &mut App, size: (u16, u16)) -> String {
    press(app, "6");
    screen(app, size)
}

#[test]
fn the_files_view_tells_which_files_profit() {
    for size in SIZES {
        let mut app = app();
        press(&mut app, "4");
        let shown = screen(&app, size);
        assert_shows(
            &shown,
            &[
                "index.db",
                "100.0 %",
                "27,000",
                "File index.db in /srv",
                "reads avoided 105 MiB",
            ],
        );
        let order = |shown: &str| shown.find("index.db") < shown.find("access.log");
        assert!(order(&shown), "{shown}");
        press(&mut app, "s");
        let shown = screen(&app, size);
        assert!(!order(&shown), "by name: {shown}");
        assert_shows(&shown, &["sorted by file", "File access.log"]);
        press(&mut app, "/log\n");
        let shown = screen(&app, size);
        assert_shows(
            &shown,
            &["File access.log in /srv", "hits 0", "misses 4,500"],
        );
        assert!(!shown.contains("index.db"), "{shown}");
        press(&mut app, "e");
        assert_shows(&screen(&app, size), &["inode 132", "device 8:1"]);
    }
}

#[test]
fn the_cgroups_view_lists_who_is_served() {
    for size in SIZES {
        let mut app = app();
        press(&mut app, "5");
        let shown = screen(&app, size);
        assert_shows(
            &shown,
            &[
                "/user.slice",
                "id 77",
                "900",
                "100.0 %",
                "Cgroup /user.slice",
            ],
        );
        press(&mut app, "j");
        assert_shows(&screen(&app, size), &["Cgroup id 77", "misses 1,800"]);
        press(&mut app, "ses");
        let shown = screen(&app, size);
        assert_shows(&shown, &["refused: incompressible 0", "sorted by put/s"]);
        assert!(!shown.contains("/user.slice"), "{shown}");
    }
}

#[test]
fn a_source_without_tunables_says_what_it_has_to_say() {
    let mut app = fake::app(3);
    let mut noted = fake::snapshot(4);
    noted.notes = vec!["First of all.".into(), "tmem would add: more.".into()];
    app.on_news(News::Snapshot(Box::new(noted)));
    press(&mut app, "6");
    for size in SIZES {
        assert_shows(
            &screen(&app, size),
            &[
                "Nothing can be set here",
                "First of all.",
                "tmem would add: more.",
            ],
        );
    }
}

#[test]
fn expanding_gives_the_selected_row_the_room() {
    for size in SIZES {
        let mut app = app();
        press(&mut app, "2je");
        let shown = screen(&app, size);
        assert_shows(&shown, &["Pool 1 files"]);
        assert!(
            !shown.contains("Pool 0") && !shown.contains("swap  "),
            "{shown}"
        );
        press(&mut app, "3je");
        let shown = screen(&app, size);
        assert_shows(&shown, &["get over time", "█"]);
        assert!(!shown.contains("Percentiles"), "{shown}");
    }
}

#[test]
fn clicks_choose_tabs_and_rows_and_the_wheel_moves() {
    use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
    for size in SIZES {
        let mut app = app();
        let mouse = |app: &mut App, text: &str, kind| {
            let shown = screen(app, size);
            let (row, line) = shown
                .lines()
                .enumerate()
                .find(|(_, line)| line.contains(text))
                .unwrap_or_else(|| panic!("no {text:?} in\n{shown}"));
            let column = line
                .split(text)
                .next()
                .map_or(0, |before| before.chars().count());
            app.on_mouse(MouseEvent {
                kind,
                column: column as u16,
                row: row as u16,
                modifiers: KeyModifiers::NONE,
            });
        };
        let click = MouseEventKind::Down(MouseButton::Left);
        mouse(&mut app, "Pools", click);
        assert_eq!(app.view, View::Pools);
        mouse(&mut app, "files", click);
        assert_eq!(app.pool_in_scope(), Some(1));
        mouse(&mut app, "files", MouseEventKind::ScrollUp);
        assert_eq!(app.pool_in_scope(), Some(0));
        mouse(&mut app, "tmem", click);
        assert_eq!(app.pool_in_scope(), Some(0));
    }
}

#[test]
fn every_tab_is_in_sight_at_every_size() {
    for size in SIZES {
        let shown = screen(&app(), size);
        let tabs = shown.lines().nth(1).unwrap_or_default();
        for view in View::ALL {
            assert!(tabs.contains(view.title()), "{tabs}");
        }
    }
}

#[test]
fn the_tool_shows_what_it_costs() {
    assert_shows(
        &screen(&app(), (80, 24)),
        &["this tool 9.00 MiB", "CPU 0.40 %", "eBPF 0.03 %"],
    );
}

#[test]
fn help_holds_every_action_of_the_table() {
    let mut app = app();
    press(&mut app, "?");
    let narrow = screen(&app, (60, 60));
    let usual = screen(&app, (80, 60));
    for binding in BINDINGS {
        assert_shows(&usual, &[binding.name, binding.help]);
        assert_shows(&narrow, &[binding.help]);
    }
    // On a small terminal the last ones are reached by scrolling.
    let last = BINDINGS.last().map_or("", |binding| binding.help);
    assert!(!screen(&app, (60, 20)).contains(last));
    press(&mut app, "G");
    assert_shows(&screen(&app, (60, 20)), &[last]);
}

#[test]
fn typing_shows_the_old_value_the_text_and_what_is_allowed() {
    let mut app = app();
    press(&mut app, "L5");
    for size in SIZES {
        assert_shows(
            &screen(&app, size),
            &["limit: bytes such as", " 64M -> 64M5", "Enter set"],
        );
    }
}

#[test]
fn changes_and_errors_stand_in_the_status_line() {
    let mut app = app();
    app.on_news(News::Changed(Change {
        key: "limit".into(),
        old: "64M".into(),
        new: "72M".into(),
    }));
    assert_shows(&screen(&app, (60, 20)), &["limit: 64M -> 72M"]);
    app.on_news(News::NotChanged(
        "limit: value \"x\" is not allowed; allowed: bytes such as 512M (/sys/kernel/mm/tmem/limit)"
            .into(),
    ));
    let shown = screen(&app, (60, 20));
    assert_shows(
        &shown,
        &["! limit: value", "(/sys/kernel/mm/tmem/limit)", "q quit"],
    );
    app.on_news(News::NoSnapshot("the module is gone".into()));
    assert_shows(
        &screen(&app, (60, 20)),
        &["! no reading: the module is gone"],
    );
    app.on_news(News::Snapshot(Box::new(fake::snapshot(99))));
    assert!(!screen(&app, (60, 20)).contains("no reading"));
}

#[test]
fn what_is_not_measured_says_why() {
    let mut unmeasured = fake::snapshot(91);
    unmeasured.observed = None;
    unmeasured.disk = None;
    unmeasured.pressure = None;
    unmeasured.unmeasured = vec![Unmeasured {
        what: "latency",
        why: "needs CAP_BPF".into(),
    }];
    let mut app = app();
    app.on_news(News::Snapshot(Box::new(unmeasured)));
    for keys in ["1", "3", "4", "5", "7"] {
        press(&mut app, keys);
        for size in SIZES {
            assert_shows(
                &screen(&app, size),
                &["not measured", "latency: needs CAP_BPF"],
            );
        }
    }
}

#[test]
fn no_size_and_no_state_breaks_drawing() {
    let empty = App::new(
        "nothing".into(),
        std::time::Duration::from_secs(1),
        Theme::new(true, false),
        &Config::default(),
    );
    let mut full = app();
    let mut states = vec![empty];
    full.on_news(News::NotChanged("word ".repeat(200)));
    states.push(full);
    let mut hollow = fake::app(0);
    let mut zero = fake::snapshot(1);
    zero.limit_bytes = 0;
    zero.overhang_bytes = 5 << 20;
    zero.pools.clear();
    hollow.on_news(News::Snapshot(Box::new(zero)));
    states.push(hollow);
    for state in &mut states {
        for view in View::ALL {
            state.view = view;
            for (help, expanded) in [(false, false), (true, false), (false, true)] {
                state.help = help;
                state.list_mut().expanded = expanded;
                for width in (1..130).step_by(13) {
                    for height in (1..40).step_by(5) {
                        draw(state, (width, height));
                    }
                }
            }
        }
    }
    states[0].help = false;
    states[0].view = View::Overview;
    assert_shows(
        &screen(&states[0], (60, 20)),
        &["waiting for the first reading"],
    );
    assert_shows(&screen(&states[0], (30, 5)), &["too small: 30 x 5"]);
}

#[test]
fn without_color_nothing_is_colored_and_ascii_is_ascii() {
    let mut app = app();
    app.theme = Theme::new(false, true);
    for view in View::ALL {
        app.view = view;
        let backend = draw(&app, (120, 40));
        for cell in &backend.buffer().content {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
        }
        assert!(screen(&app, (120, 40)).is_ascii());
    }
}

#[test]
fn colors_are_among_the_sixteen() {
    let app = app();
    for cell in &draw(&app, (80, 24)).buffer().content {
        assert!(!matches!(cell.fg, Color::Rgb(..) | Color::Indexed(_)));
    }
}
