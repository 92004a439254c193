//! The builder as a server, and the machines that send it requests.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::cluster::Provisioning;
use tests::etcd;
use tests::network::{Link, Namespace};
use tests::process::{self, KillOnDrop};
use tests::programs::{self, recipe};
use tests::run;

/// The address on which the builder serves.
pub(crate) const SERVER: &str = "10.101.15.1:8081";
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(180);

/// Builds the demo's cluster. The nodes are identified by their MAC addresses, fetch all files from
/// `builder serve`, and may be installed.
pub(crate) fn built() -> Result<Provisioning> {
    let copy = |from: &Path, to: &Path| {
        process::check(
            "cp",
            &["-a", &from.to_string_lossy(), &to.to_string_lossy()],
        )
    };
    let folder = |ours: &Provisioning| {
        Ok::<_, anyhow::Error>(
            ours.out()
                .parent()
                .context("the output folder has no parent")?
                .to_owned(),
        )
    };
    let made = ["out", "out.pki", "out.state"];
    if let Some(kept) = BUILT.get() {
        let ours = Provisioning::new()?;
        for name in made {
            copy(&kept.join(name), &folder(&ours)?.join(name))?;
        }
        return Ok(ours);
    }
    let ours = built_with(by_card)?;
    let kept = run::current()?.folder("built")?;
    for name in made {
        copy(&folder(&ours)?.join(name), &kept.join(name))?;
    }
    let _ = BUILT.set(kept);
    Ok(ours)
}

/// The output of this program's first call to [`built`]. Later calls copy this output, because a
/// build takes several seconds.
static BUILT: OnceLock<PathBuf> = OnceLock::new();

/// Returns the recipe line with the MAC address of the node whose address ends in this byte.
pub(crate) fn by_card(last: u8) -> String {
    format!("mac = \"52:54:0a:65:0f:{last:02x}\"\n")
}

/// Builds the demo's cluster with these recipe lines for each node's machine, and allows all
/// installations. `machine` makes the lines from the last byte of the node's address.
pub(crate) fn built_with(machine: impl Fn(u8) -> String) -> Result<Provisioning> {
    etcd::release(etcd::DEMO)?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&recipe_with(machine)?)?;
    allow(&provisioning, &["--all", "--install"])?;
    Ok(provisioning)
}

/// Writes the demo's recipe with these lines for each node's machine. `machine` makes the lines
/// from the last byte of the node's address.
pub(crate) fn recipe_with(machine: impl Fn(u8) -> String) -> Result<PathBuf> {
    let mut text = fs::read_to_string(recipe("demo"))?.replace(
        "servers = [\"http://10.101.15.1:8080/image/\"]",
        &format!(
            "servers = [\"http://{SERVER}/image/\"]\n\n[metadata]\nurl = \"http://{SERVER}/\""
        ),
    );
    for last in [101, 102, 103] {
        let address = format!("address = \"10.101.15.{last}\"\n");
        text = text.replace(&address, &format!("{address}{}", machine(last)));
    }
    let path = run::current()?.folder("recipe")?.join("recipe.toml");
    fs::write(&path, text)?;
    Ok(path)
}

/// A running `builder serve`.
pub(crate) struct Server {
    process: KillOnDrop,
    log: PathBuf,
}

impl Server {
    /// Serves the current output with these additional options.
    pub(crate) fn start(ours: &Provisioning, options: &[&str]) -> Result<Self> {
        Self::serve(
            ours,
            &ours.out(),
            &[&["--listen", SERVER], options].concat(),
        )
    }

    /// Serves the output at this path, with exactly these options.
    pub(crate) fn serve(ours: &Provisioning, out: &Path, options: &[&str]) -> Result<Self> {
        let mut builder = ours
            .network
            .world()
            .command(&programs::builder()?.to_string_lossy());
        builder.arg("serve").arg(out).args(options);
        Self::run(&builder)
    }

    /// Starts the server with a command line that the test provides.
    pub(crate) fn run(command: &Command) -> Result<Self> {
        let log = run::current()?.folder("serve")?.join("log");
        let mut server = Self {
            process: KillOnDrop::spawn(command, &File::create(&log)?)?,
            log,
        };
        let end = Instant::now() + START_TIMEOUT;
        while !server.output()?.contains("serving ") {
            let over = server.process.ended()?.is_some() || Instant::now() >= end;
            ensure!(!over, "builder serve did not start:\n{}", server.output()?);
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Starts a server whose output the test does not read. The server counts as started as soon as
    /// it answers.
    pub(crate) fn unheard(command: &Command, world: &Namespace) -> Result<Self> {
        let log = run::current()?.folder("serve")?.join("log");
        let mut server = Self {
            process: KillOnDrop::spawn(command, &File::create(&log)?)?,
            log,
        };
        let end = Instant::now() + START_TIMEOUT;
        while get(world, "image/SHA256SUMS").is_err() {
            let over = server.process.ended()?.is_some() || Instant::now() >= end;
            ensure!(!over, "builder serve did not answer");
            sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Returns everything that the server has printed so far.
    pub(crate) fn output(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))
    }

    /// Waits until the server has printed this text, because the server writes the log
    /// independently of the answers.
    pub(crate) fn wait_for_output(&self, words: &str) -> Result<()> {
        self.wait_for_outputs(words, 1)
    }

    /// Waits until the server has printed this text `count` times.
    pub(crate) fn wait_for_outputs(&self, words: &str, count: usize) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        while self.output()?.matches(words).count() < count {
            ensure!(
                Instant::now() < end,
                "the server does not print `{words}` {count} times:\n{}",
                self.output()?
            );
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Returns the server's process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends the server a signal, and returns the server's exit code and output.
    pub(crate) fn end(mut self, signal: nix::sys::signal::Signal) -> Result<(Option<i32>, String)> {
        // `setpriv` and `nsenter` replace themselves with the builder, which therefore has their
        // pid.
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(self.id())?),
            signal,
        )?;
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.process.ended()? {
                return Ok((status.code(), self.output()?));
            }
            ensure!(
                Instant::now() < end,
                "the server does not stop after {signal}"
            );
            sleep(Duration::from_millis(20));
        }
    }
}

/// Requests a path from a namespace, and returns the status and the text of the answer.
pub(crate) fn get(from: &Namespace, page: &str) -> Result<(u16, String)> {
    curl(from, &[], &format!("http://{SERVER}/{page}"))
}

/// Makes a request with curl options and a complete URL.
pub(crate) fn curl(from: &Namespace, options: &[&str], url: &str) -> Result<(u16, String)> {
    let mut curl = from.command("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--path-as-is",
        "--globoff",
        "--max-time",
        "10",
    ]);
    let said = process::run(
        curl.args(options)
            .args(["--write-out", "\n%{http_code}"])
            .arg(url),
    )?
    .ok()?;
    let (text, status) = said.rsplit_once('\n').context("curl prints no status")?;
    Ok((status.parse()?, text.to_owned()))
}

/// Requests a path, and expects an answer with this status and these words.
pub(crate) fn expect(from: &Namespace, page: &str, status: u16, words: &str) -> Result<String> {
    let (found, text) = get(from, page)?;
    ensure!(
        found == status && text.contains(words),
        "{page}: expected {status} with `{words}`, got {found}: {text}"
    );
    Ok(text)
}

/// Returns the path and query with which a node's machine requests its document.
pub(crate) fn document_of(mac: &str) -> String {
    format!("node.json?mac={}", mac.replace(':', "%3A"))
}

/// Returns the path and query with which iPXE on a machine requests its script.
pub(crate) fn script_of(link: &Link) -> String {
    format!("boot.ipxe?mac={}&serial=&uuid=", link.mac)
}

/// Reports a stage from this machine to the URL in its boot script.
pub(crate) fn report(
    from: &Namespace,
    script: &str,
    stage: &str,
    why: &str,
) -> Result<(u16, String)> {
    let url = report_url(script)?;
    curl(
        from,
        &[
            "--data-urlencode",
            &format!("stage={stage}"),
            "--data-urlencode",
            &format!("why={why}"),
        ],
        &url,
    )
}

/// Returns the URL for reports in a boot script.
pub(crate) fn report_url(script: &str) -> Result<String> {
    let word = script
        .split_whitespace()
        .find_map(|word| word.strip_prefix("etcd-image.report="));
    Ok(word
        .with_context(|| format!("no report in {script}"))?
        .to_owned())
}

/// Returns whether a boot script starts an installation.
pub(crate) fn installs(script: &str) -> bool {
    script.lines().any(|line| line.starts_with("kernel "))
}

pub(crate) fn allow(ours: &Provisioning, words: &[&str]) -> Result<String> {
    let out = ours.out().to_string_lossy().into_owned();
    programs::run_builder(&[&["allow", "--out", &out], words].concat())?.ok()
}

pub(crate) fn connect(from: &Namespace) -> Result<TcpStream> {
    let server: SocketAddr = SERVER.parse()?;
    let stream =
        from.within(move || TcpStream::connect_timeout(&server, Duration::from_secs(10)))??;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    Ok(stream)
}

/// Sends these bytes to the server, and returns its answer. The answer ends when the server closes
/// the connection or sends nothing for a while.
pub(crate) fn raw(from: &Namespace, request: &str) -> Result<String> {
    let mut stream = connect(from)?;
    stream.write_all(request.as_bytes())?;
    read_all(&mut stream, Duration::from_secs(3))
}

/// Returns everything that arrives before the connection ends or is silent for this long.
pub(crate) fn read_all(stream: &mut TcpStream, silence: Duration) -> Result<String> {
    stream.set_read_timeout(Some(silence))?;
    let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}
