//! Shows the board in a browser, and checks the rules that every state of the board must satisfy.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::browser::{Browser, Screen};
use tests::network::Namespace;

use crate::bed::SERVER;
use crate::board::TOKEN;

/// The environment variable that names the folder for pictures of all states.
const PICTURES: &str = "ETCD_IMAGE_SCREENSHOTS";
/// The time within which the page must show a change to a record.
pub(super) const LIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// More screen widths, in CSS pixels: a screen of 1280 pixels at a zoom of 400 % is 320 wide, and
/// the layout changes between 1200 and 1201.
const OTHER_WIDTHS: [u32; 3] = [320, 1200, 1201];

/// JavaScript that returns the number of CSS pixels by which the page is wider than the screen.
const OVERFLOW: &str =
    "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
/// JavaScript that returns the labels of ambiguous chips. A chip is a coloured label for a state. A
/// label is ambiguous if it appears in several colours, or if it contains no letters.
const AMBIGUOUS: &str = r#"
const classes = {};
for (const chip of document.querySelectorAll(".chip")) {
  (classes[chip.innerText] ??= new Set()).add(chip.className);
}
const all = Object.entries(classes);
return all.filter(([text, found]) => found.size > 1 || !/[a-z]/i.test(text)).map(([text]) => text);
"#;

pub(super) struct Page {
    pub(super) browser: Browser,
    /// The name of the test, which is part of the names of the pictures.
    test: &'static str,
    /// Whether the page may run JavaScript.
    scripts: bool,
}

impl Page {
    /// Opens the board with its token, from the server's host. The URL contains the host's address
    /// instead of loopback, so the server does not treat the browser as local.
    pub(super) fn open(world: &Namespace, test: &'static str, scripts: bool) -> Result<Self> {
        let browser = Browser::start(world, scripts)?;
        browser.open(&format!("http://any:{TOKEN}@{SERVER}/board"))?;
        browser.requests()?;
        // Omit the token from the URL. The browser has stored the token, as after its own password
        // prompt.
        browser.open(&format!("http://{SERVER}/board"))?;
        Ok(Self {
            browser,
            test,
            scripts,
        })
    }

    /// Checks that the page shows these words, and that the page is usable on every screen.
    pub(super) fn check(&self, state: &str, words: &[&str]) -> Result<()> {
        self.check_on_screens(state, words)
            .with_context(|| format!("{}: {state}", self.test))
    }

    fn check_on_screens(&self, state: &str, words: &[&str]) -> Result<()> {
        let browser = &self.browser;
        for screen in Screen::ALL {
            browser.show_on(screen)?;
            browser.wait_for("board", words, Duration::ZERO)?;
            // axe waits for timers, which do not run without JavaScript.
            if self.scripts {
                browser.check_accessibility()?;
            }
            self.fits(screen)?;
            if let Some(folder) = std::env::var_os(PICTURES) {
                let (width, scheme) = (screen.width, if screen.dark { "dark" } else { "light" });
                let name = format!("{}-{state}-{width}-{scheme}.png", self.test);
                browser.screenshot(&PathBuf::from(folder).join(name))?;
            }
        }
        for width in OTHER_WIDTHS {
            let screen = Screen { width, dark: false };
            browser.show_on(screen)?;
            self.fits(screen)?;
        }
        let ambiguous = browser.evaluate(AMBIGUOUS)?;
        ensure!(
            ambiguous == serde_json::json!([]),
            "only the colour distinguishes {ambiguous}"
        );
        Ok(())
    }

    fn fits(&self, screen: Screen) -> Result<()> {
        let overflow = self.browser.evaluate(OVERFLOW)?;
        ensure!(overflow == 0, "{screen:?}: {overflow} pixels too wide");
        Ok(())
    }

    /// Waits until the page shows these words. Fails if the page was reloaded.
    pub(super) fn follows(&self, words: &[&str], timeout: Duration) -> Result<()> {
        let begun = Instant::now();
        self.browser.wait_for("board", words, timeout)?;
        println!("{words:?} after {:.1?}", begun.elapsed());
        let kept = self.browser.evaluate("return window.kept === true")?;
        ensure!(kept == true, "the page was reloaded");
        Ok(())
    }

    /// Waits until the page receives changes, and marks the page, so that the test can detect a
    /// reload.
    pub(super) fn becomes_live(&self) -> Result<()> {
        self.browser.wait_for("live", &["Live"], LIVE_TIMEOUT)?;
        self.browser.evaluate("window.kept = true").map(drop)
    }

    /// Checks that the browser sent requests only to the board, and logged no faults.
    pub(super) fn stays_at_home(&self) -> Result<()> {
        let requests = self.browser.requests()?;
        let own = format!("http://{SERVER}/board");
        let other: Vec<_> = requests
            .iter()
            .filter(|url| !url.starts_with(&own) && !url.starts_with("data:"))
            .collect();
        ensure!(
            requests.contains(&own) && other.is_empty(),
            "{other:?} of {requests:?}"
        );
        let faults = self.browser.faults()?;
        ensure!(faults.is_empty(), "the browser logged {faults:?}");
        Ok(())
    }
}
