//! Drives Debian's Chromium with chromedriver, to test pages as their readers see them.
//!
//! chromedriver implements W3C's WebDriver, which is JSON over HTTP, and forwards commands of the
//! Chrome DevTools Protocol to Chromium.

mod axe;

use std::fs::{self, File};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Method;
use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::network::Namespace;
use crate::process::KillOnDrop;
use crate::run;

/// The time limit for the start of the driver, and for one command. A busy machine needs a while to
/// start a browser.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The maximum number of times that a function is run again because the page was reloaded.
const MAX_RELOADS: u32 = 2;
/// The height of a screen, in CSS pixels.
const HEIGHT: u32 = 900;
/// The options with which Chromium runs as root, without a screen or a GPU, and sends no requests
/// of its own.
const OPTIONS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with one open page. Chromium and its driver are killed on drop.
#[derive(Debug)]
pub struct Browser {
    http: Client,
    session: String,
    _driver: KillOnDrop,
}

/// The screen on which a page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// The width in CSS pixels. The browser shows a narrow page as a phone does.
    pub width: u32,
    /// Whether the user prefers dark colours.
    pub dark: bool,
}

impl Screen {
    /// The screens of a phone and of a desktop computer, with light and with dark colours.
    pub const ALL: [Self; 4] = [
        Self::new(400, false),
        Self::new(400, true),
        Self::new(1400, false),
        Self::new(1400, true),
    ];

    const fn new(width: u32, dark: bool) -> Self {
        Self { width, dark }
    }

    fn is_phone(self) -> bool {
        self.width < 600
    }
}

impl Browser {
    /// Starts Chromium in the namespace, with an empty profile. `scripts` decides whether pages may
    /// run JavaScript.
    pub fn start(namespace: &Namespace, scripts: bool) -> Result<Self> {
        let folder = run::current()?.folder("browser")?;
        let log = folder.join("log");
        // The driver is the first process of a new PID namespace, so all processes of the browser
        // end with the driver.
        let mut command = namespace.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["chromedriver", "--port=0"]);
        command.env("HOME", &folder).env("TMPDIR", &folder);
        let mut driver = KillOnDrop::spawn(&command, &File::create(&log)?)?;
        let end = Instant::now() + TIMEOUT;
        let port = loop {
            let said = fs::read_to_string(&log)?;
            if let Some(port) = port_in(&said) {
                break port;
            }
            let over = driver.ended()?.is_some() || Instant::now() >= end;
            ensure!(!over, "chromedriver does not start:\n{said}");
            sleep(Duration::from_millis(20));
        };
        // The client needs a TLS provider. An error only means that a provider is already
        // installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The client's thread, which does all the work, is started in the namespace and stays in
        // it.
        let http = namespace
            .within(|| Client::builder().no_proxy().timeout(TIMEOUT).build())?
            .context("cannot make an HTTP client")?;
        let mut browser = Self {
            http,
            session: format!("http://127.0.0.1:{port}/session"),
            _driver: driver,
        };
        let created = browser.ask(Method::POST, "", &capabilities(&folder, scripts))?;
        let id = created["sessionId"].as_str().context("no session id")?;
        browser.session = format!("{}/{id}", browser.session);
        Ok(browser)
    }

    /// Opens a page, and waits until it is loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.ask(Method::POST, "/url", &json!({ "url": url }))
            .map(drop)
    }

    /// Shows the page on this screen.
    pub fn show_on(&self, screen: Screen) -> Result<()> {
        let metrics = json!({
            "width": screen.width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": screen.is_phone(),
        });
        self.command("Emulation.setDeviceMetricsOverride", &metrics)?;
        let scheme = if screen.dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.command("Emulation.setEmulatedMedia", &media).map(drop)
    }

    /// Runs a function body in the page, and returns its result or the result of its promise. If
    /// the page reloads itself, the function ends, and is run again, at most twice.
    pub fn evaluate(&self, script: &str) -> Result<Value> {
        let body = json!({ "script": script, "args": [] });
        let run = || self.ask(Method::POST, "/execute/sync", &body);
        let mut answer = run();
        for _ in 0..MAX_RELOADS {
            match answer {
                Err(error) if error.to_string().contains("aborted by navigation") => answer = run(),
                _ => break,
            }
        }
        answer
    }

    /// Returns the visible text of the element with this id.
    pub fn text_of(&self, id: &str) -> Result<String> {
        let text = self.evaluate(&format!("return document.getElementById('{id}').innerText"))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the element with this id shows all of these words, and returns its text.
    pub fn wait_for(&self, id: &str, words: &[&str], timeout: Duration) -> Result<String> {
        let end = Instant::now() + timeout;
        loop {
            let text = self.text_of(id)?;
            let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
            if missing.is_empty() {
                return Ok(text);
            }
            ensure!(
                Instant::now() < end,
                "#{id} does not show {missing:?} after {timeout:?}, but:\n{text}"
            );
            sleep(Duration::from_millis(100));
        }
    }

    /// Returns the URLs that the page has requested since the last call.
    pub fn requests(&self) -> Result<Vec<String>> {
        let mut urls = Vec::new();
        for entry in self.log("performance")? {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap_or("{}"))?;
            let event = &message["message"];
            if event["method"] == "Network.requestWillBeSent" {
                let url = event["params"]["request"]["url"].as_str();
                urls.push(url.context("a request has no URL")?.to_owned());
            }
        }
        Ok(urls)
    }

    /// Returns the faults of the page that the browser has logged since the last call, such as
    /// violations of the content security policy.
    pub fn faults(&self) -> Result<Vec<String>> {
        let log = self.log("browser")?;
        let severe = log.iter().filter(|entry| entry["level"] == "SEVERE");
        Ok(severe.map(|entry| entry["message"].to_string()).collect())
    }

    /// Writes a picture of the whole page as a PNG file.
    pub fn screenshot(&self, path: &Path) -> Result<()> {
        let all = json!({ "captureBeyondViewport": true });
        let picture = self.command("Page.captureScreenshot", &all)?;
        let bytes = BASE64.decode(picture["data"].as_str().context("no picture")?)?;
        fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    fn log(&self, kind: &str) -> Result<Vec<Value>> {
        let log = self.ask(Method::POST, "/se/log", &json!({ "type": kind }))?;
        log.as_array().cloned().context("the log is not a list")
    }

    /// Sends a command of the Chrome DevTools Protocol.
    fn command(&self, name: &str, parameters: &Value) -> Result<Value> {
        let body = json!({ "cmd": name, "params": parameters });
        self.ask(Method::POST, "/goog/cdp/execute", &body)
    }

    /// Sends a WebDriver command, and returns the value in the answer.
    fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{path}", self.session);
        let request = self.http.request(method, &url).body(body.to_string());
        let answer = request.send().and_then(reqwest::blocking::Response::text)?;
        let mut answer: Value = serde_json::from_str(&answer)
            .with_context(|| format!("chromedriver answers {answer}"))?;
        let value = answer["value"].take();
        ensure!(
            value["error"].is_null(),
            "{path}: {}: {}",
            value["error"],
            value["message"]
        );
        Ok(value)
    }
}

fn capabilities(folder: &Path, scripts: bool) -> Value {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let options: Vec<&str> = OPTIONS.into_iter().chain([profile.as_str()]).collect();
    // 1 allows JavaScript, and 2 blocks it.
    let setting = if scripts { 1 } else { 2 };
    json!({ "capabilities": { "alwaysMatch": {
        "goog:chromeOptions": {
            "args": options,
            "prefs": { "profile.managed_default_content_settings.javascript": setting },
        },
        "goog:loggingPrefs": { "performance": "ALL", "browser": "ALL" },
    }}})
}

/// Returns the port in the driver's output.
fn port_in(said: &str) -> Option<u16> {
    let (_, rest) = said.split_once("was started successfully on port ")?;
    rest.split_once('.')?.0.parse().ok()
}
