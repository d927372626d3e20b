//! `tmem top`: the dashboard. A pure [`app::App`] is fed with keys and with news
//! from a sampler thread; [`view::render`] draws it. Here is the loop between
//! them.

mod app;
pub mod config;
mod curve;
#[cfg(test)]
mod fake;
mod format;
mod history;
mod keys;
mod lists;
mod sampler;
mod terminal;
mod theme;
mod view;

use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ratatui::crossterm::event::{self, Event};

use crate::source::Source;
use app::{App, Effect, News};
use config::Config;
use sampler::Wanted;
use terminal::Screen;
use theme::Theme;

/// Longest time that a reading or a signal waits for the loop. Keys do not wait.
const PATIENCE: Duration = Duration::from_millis(100);

/// How the dashboard looks and how often it reads.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time between two readings.
    pub interval: Duration,
    /// Whether colours are used.
    pub color: bool,
    /// Whether only ASCII characters are used for bars and maps.
    pub ascii: bool,
    /// Keys, colours and layout.
    pub config: Config,
}

impl Default for Options {
    /// One reading a second; colours unless `NO_COLOR` is set to something.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            color: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            ascii: false,
            config: Config::default(),
        }
    }
}

/// Shows `source` until the user leaves, the terminal is gone, or SIGTERM, SIGINT or SIGHUP arrives.
/// The terminal is as before on return, whatever happens.
///
/// # Errors
/// When there is no terminal, it fails, or the sampler thread ends.
pub fn run(mut source: Box<dyn Source>, options: &Options) -> Result<()> {
    let mut app = App::new(
        source.describe(),
        options.interval,
        Theme::new(options.color, options.ascii),
        &options.config,
    );
    let mut screen = Screen::take(options.config.mouse)?;
    let (ask, wanted) = mpsc::channel();
    let (news, told) = mpsc::channel();
    let interval = options.interval;
    // Ends when `ask` and `told` are dropped, at its next tick; it is not waited
    // for, since a reading may take its time.
    thread::Builder::new()
        .name("tmem-sampler".into())
        .spawn(move || sampler::run(source.as_mut(), interval, &wanted, &news))
        .context("starting the sampler thread")?;

    let shown = show(&mut app, &mut screen, &ask, &told);
    // Without a terminal nothing can be drawn, and nobody is told so.
    if screen.is_gone()? { Ok(()) } else { shown }
}

fn show(
    app: &mut App,
    screen: &mut Screen,
    ask: &Sender<Wanted>,
    told: &Receiver<News>,
) -> Result<()> {
    let mut stale = true;
    while !app.quit && !screen.stopped() && !screen.is_gone()? {
        loop {
            match told.try_recv() {
                Ok(news) => {
                    app.on_news(news);
                    stale = true;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => bail!("the sampler thread ended"),
            }
        }
        if stale {
            screen
                .terminal
                .draw(|frame| view::render(app, frame))
                .context("drawing")?;
            stale = false;
        }
        screen.wait(PATIENCE)?;
        while !app.quit
            && !screen.is_gone()?
            && event::poll(Duration::ZERO).context("waiting for keys")?
        {
            stale = true;
            let effect = match event::read().context("reading a key")? {
                Event::Key(key) => app.on_key(key),
                Event::Mouse(mouse) => {
                    app.on_mouse(mouse);
                    None
                }
                _ => None,
            };
            match effect {
                Some(Effect::Set { key, value }) => {
                    ask.send(Wanted::Set { key, value })
                        .context("the sampler thread ended")?;
                }
                Some(Effect::Travel(steps)) => {
                    ask.send(Wanted::Travel(steps))
                        .context("the sampler thread ended")?;
                }
                Some(Effect::Redraw) => screen.redraw()?,
                None => {}
            }
        }
    }
    Ok(())
}
