//! Tests that the server enrols nodes that generate their own keys. The server enrols each machine
//! only as its own node. A node's first keys need an operator's approval only with `--approve`.
//! Later keys of the node always need an approval.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::cluster::{Provisioning, boot_all, wait_healthy};
use tests::etcd;
use tests::harness::trial;
use tests::host::Host;
use tests::network::Link;
use tests::process::{self, KillOnDrop};
use tests::programs::{self, recipe};
use tests::requirement::NEEDS_SERVER_AND_HOSTS;
use tests::run;

use crate::bed::{SERVER, Server, allow, by_card, curl, expect, installs, script_of};
use crate::board;

/// The address at which the server signs certificate requests.
pub(crate) const ENROL: &str = "10.101.15.1:8443";
const TIMEOUT: Duration = Duration::from_secs(180);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "machines_enrol_over_https_after_an_operator_approves_their_keys",
            NEEDS_SERVER_AND_HOSTS,
            cluster,
        ),
        trial(
            "no_machine_gets_certificates_for_another_node_or_for_another_nodes_key",
            NEEDS_SERVER_AND_HOSTS,
            hostile,
        ),
        trial(
            "certificate_requests_during_a_build_block_no_other_request",
            NEEDS_SERVER_AND_HOSTS,
            during_a_build,
        ),
    ]
}

/// Builds the demo's cluster with nodes that generate their own keys and are identified by their
/// MAC addresses. Appends `lifetime` to the recipe after the lines of `[tls]`.
pub(crate) fn built_with(lifetime: &str) -> Result<(Provisioning, PathBuf)> {
    etcd::release(etcd::DEMO)?;
    let mut text = fs::read_to_string(recipe("demo"))?;
    for last in [101, 102, 103] {
        let address = format!("address = \"10.101.15.{last}\"\n");
        text = text.replace(&address, &format!("{address}{}", by_card(last)));
    }
    let enrol = format!("https://{ENROL}/");
    text = [
        &text,
        "\n[tls]\nkeys = \"node\"\nenrol = \"",
        &enrol,
        "\"\n",
        lifetime,
        "\n",
    ]
    .concat();
    let path = run::current()?.folder("recipe")?.join("recipe.toml");
    fs::write(&path, text)?;
    let provisioning = Provisioning::new()?;
    provisioning.build(&path)?;
    Ok((provisioning, path))
}

pub(crate) fn served(ours: &Provisioning, recipe: &Path, options: &[&str]) -> Result<Server> {
    served_at(ours, recipe, [SERVER, "0.0.0.0:8443"], options)
}

/// Serves at these addresses, the second of which is for enrolment.
pub(crate) fn served_at(
    ours: &Provisioning,
    recipe: &Path,
    [listen, enrol]: [&str; 2],
    options: &[&str],
) -> Result<Server> {
    let (pki, recipe) = (ours.pki(), recipe.to_string_lossy());
    let pki = pki.to_string_lossy();
    let fixed = [
        "--listen", listen, "--enrol", enrol, "--pki", &pki, "--recipe", &recipe,
    ];
    Server::serve(ours, &ours.out(), &[&fixed, options].concat())
}

fn approve(ours: &Provisioning, words: &[&str]) -> Result<String> {
    let pki = ours.pki();
    let pki = pki.to_string_lossy();
    programs::run_builder(&[&["pki", "approve", &pki], words].concat())?.ok()
}

/// Approves the key that waits for an operator, if the node has printed the same key.
pub(crate) fn approve_printed(ours: &Provisioning, name: &str, printed: &str) -> Result<()> {
    let shown = approve(ours, &[name])?;
    let key = shown.lines().next().and_then(|line| {
        line.strip_prefix(&format!("{name} is waiting for the approval of the key "))
    });
    let key = key.with_context(|| format!("no key of {name} is waiting: {shown}"))?;
    ensure!(
        printed.contains(&format!(" for the key {key}")),
        "{name} has not printed the key {key}:\n{printed}"
    );
    approve(ours, &[name, key]).map(drop)
}

fn cluster() -> Result<()> {
    let (ours, recipe) = built_with("")?;
    let token = board::token()?;
    let server = served(&ours, &recipe, &["--approve", "--board-token", &token])?;
    let names = ["etcd-1", "etcd-2", "etcd-3"];
    let install = |name: &&str| {
        let mut host = ours.machine(name)?;
        ours.install(&mut host)?;
        Ok(host)
    };
    let mut hosts = names.iter().map(install).collect::<Result<Vec<Host>>>()?;
    boot_all(&mut hosts)?;
    for host in &hosts {
        let name = host.name();
        let waits = "journalctl --no-pager -u firstboot | grep -qF '[key-not-approved]'";
        host.wait_for(waits, TIMEOUT)?;
        let journal = host.journal("firstboot")?;
        ensure!(
            !ours.pki().join(format!("nodes/{name}/server.crt")).exists(),
            "{name} has certificates before an operator approved its key"
        );
        let link = host.link();
        for text in [
            "</span> awaiting approval</span>",
            &format!("out.pki {name} "),
        ] {
            board::shows(link, text).context("before the approval")?;
        }
        approve_printed(&ours, name, &journal)?;
    }
    for host in &hosts {
        wait_healthy(host, 3, TIMEOUT)?;
        server.wait_for_output(&format!(
            "{}: receives new certificates for the key",
            host.name()
        ))?;
    }
    let said = server.output()?;
    for host in &hosts {
        let keys = host.read("/var/lib/firstboot/keys.pem")?;
        let secret: Vec<&str> = keys
            .split("-----BEGIN")
            .filter_map(|block| block.lines().nth(2))
            .collect();
        ensure!(secret.len() == 3, "{keys}");
        let journal = host.check(&["journalctl", "--no-pager"])?;
        ensure!(
            secret
                .iter()
                .all(|line| !said.contains(line) && !journal.contains(line)),
            "a private key of {} is in a log",
            host.name()
        );
    }
    Ok(())
}

/// Makes certificate requests with the name of etcd-3 for new keys, and writes the requests to the
/// file `name`.
fn request(name: &str) -> Result<PathBuf> {
    let folder = run::current()?.folder("request")?;
    let path = folder.join(name);
    let mut text = String::new();
    for purpose in ["server", "peer", "client"] {
        let key = folder.join(format!("{name}-{purpose}.key"));
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["req", "-new", "-newkey", "ec", "-nodes", "-sha256"]);
        openssl.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=etcd-3"]);
        openssl
            .args(["-addext", "subjectAltName=DNS:etcd-3", "-keyout"])
            .arg(key);
        text += &process::run(&mut openssl)?.ok()?;
    }
    fs::write(&path, text)?;
    Ok(path)
}

/// Posts a file from the machine with this network link. The machine claims to have this MAC
/// address.
pub(crate) fn post(from: &Link, card: &str, body: &Path) -> Result<(u16, String)> {
    let data = format!("@{}", body.display());
    let options = ["--insecure", "--tlsv1.3", "--data-binary", &data];
    let url = format!("https://{ENROL}/enrol?mac={}", card.replace(':', "%3A"));
    curl(&from.namespace, &options, &url)
}

#[track_caller]
fn answers((status, text): (u16, String), expected: u16, words: &str) -> Result<()> {
    ensure!(
        status == expected && text.contains(words),
        "expected {expected} with `{words}`, got {status}: {text}"
    );
    Ok(())
}

fn hostile() -> Result<()> {
    let (ours, recipe) = built_with("")?;
    let server = served(&ours, &recipe, &["--tree", "http://10.101.15.1:8081/none/"])?;
    let [one, two] = ["etcd-1", "etcd-2"].map(|name| ours.network.add(name));
    let (one, two) = (one?, two?);
    let (first, second) = (request("first")?, request("second")?);
    let stranger = "52:54:00:00:00:09";

    answers(post(&one, &two.mac, &first)?, 403, "[wrong-card]")?;
    answers(post(&one, stranger, &first)?, 404, "[unknown-machine]")?;
    let enrolled = ours.pki().join("nodes/etcd-2/enrolled.pub");
    ensure!(!enrolled.exists(), "a stranger was enrolled as etcd-2");

    let folder = run::current()?.folder("bodies")?;
    let body = |name: &str, text: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    let good = fs::read_to_string(&first)?;
    let (head, _) = good
        .rsplit_once("-----BEGIN")
        .context("the request is not PEM")?;
    for text in [
        "x",
        head,
        &good.replace("BEGIN CERTIFICATE", "BEGIN NEW CERTIFICATE"),
    ] {
        let text = body("bad", text)?;
        answers(post(&one, &one.mac, &text)?, 400, "[request]")?;
    }
    let large = body("large", &format!("{good}{}", "#".repeat(8192)))?;
    answers(post(&one, &one.mac, &large)?, 400, "[body]")?;
    let get = curl(
        &one.namespace,
        &["--insecure"],
        &format!("https://{ENROL}/enrol"),
    )?;
    answers(get, 405, "[method]")?;

    // The request contains the names of etcd-3, but the certificate contains the names of etcd-1.
    answers(post(&one, &one.mac, &first)?, 200, "payload")?;
    let cert = ours.pki().join("nodes/etcd-1/server.crt");
    let text = process::check(
        "openssl",
        &["x509", "-noout", "-text", "-in", &cert.to_string_lossy()],
    )?;
    ensure!(
        text.contains("DNS:etcd-1,") && !text.contains("etcd-3"),
        "{text}"
    );
    // A repeated request with the same keys gets the same answer, because the first answer might
    // have been lost.
    answers(post(&one, &one.mac, &first)?, 200, "payload")?;
    renewed_before_an_installation(&ours, &one, &first)?;
    // etcd-2 sends the request of etcd-1, as an attacker who intercepted the request would. Then
    // etcd-1 sends a request for other keys.
    answers(post(&two, &two.mac, &first)?, 403, "[key-of-another-node]")?;
    answers(post(&one, &one.mac, &second)?, 503, "[key-not-approved]")?;
    ensure!(
        !enrolled.exists(),
        "etcd-2 was enrolled with a key of etcd-1"
    );
    server.wait_for_output("[wrong-card]")?;
    server.wait_for_output("[key-not-approved]")?;
    // firstboot's own tests check that a node refuses a server whose key the image does not trust.
    changed_recipe(&server, &recipe, || post(&two, &two.mac, &second))
}

/// Many requests for certificates arrive while another program uses the PKI folder. The server
/// answers each request with the certificates, or with the message that the folder is busy and that
/// the machine must ask again. The server still answers other requests.
fn during_a_build() -> Result<()> {
    let (ours, recipe) = built_with("")?;
    let _server = served(&ours, &recipe, &[])?;
    let one = ours.network.add("etcd-1")?;
    let body = request("first")?;
    let lock = ours.pki().join(".lock");
    let mut build = Command::new("flock");
    build.arg(lock).args(["sleep", "15"]);
    let log = fs::File::create(run::current()?.folder("build")?.join("log"))?;
    let _build = KillOnDrop::spawn(&build, &log)?;
    std::thread::sleep(Duration::from_millis(500));

    let data = format!("@{}", body.display());
    let url = format!("https://{ENROL}/enrol?mac={}", one.mac);
    let options = ["--insecure", "--data-binary", &data, "--max-time", "40"];
    let ask = || curl(&one.namespace, &options, &url);

    let answers = std::thread::scope(|scope| -> Result<Vec<(u16, String)>> {
        let asking: Vec<_> = (0..30).map(|_| scope.spawn(ask)).collect();
        std::thread::sleep(Duration::from_secs(2));
        for _ in 0..5 {
            let begun = Instant::now();
            expect(&one.namespace, "image/SHA256SUMS", 200, "overlay")?;
            ensure!(
                begun.elapsed() < Duration::from_secs(3),
                "answered after {:?}",
                begun.elapsed()
            );
        }
        let ended = asking
            .into_iter()
            .map(|asking| asking.join().expect("no panic"));
        ended.collect()
    })?;
    let count = |status: u16, text: &str| {
        let is_it = |answer: &&(u16, String)| answer.0 == status && answer.1.contains(text);
        answers.iter().filter(is_it).count()
    };
    let (busy, signed) = (count(503, "[pki-busy]"), count(200, "payload"));
    println!("{busy} must ask again, and {signed} got certificates");
    ensure!(busy >= 20 && busy + signed == 30, "{answers:?}");
    self::answers(post(&one, &one.mac, &body)?, 200, "payload")
}

/// Checks that the renewal of a running node's certificates does not end the installation that the
/// operator has allowed.
fn renewed_before_an_installation(ours: &Provisioning, node: &Link, request: &Path) -> Result<()> {
    allow(ours, &["etcd-1", "--install"])?;
    // The first attempt to install the machine ends before the installer changes the disk. The old
    // system then renews its certificates again.
    for attempt in 1..=2 {
        answers(post(node, &node.mac, request)?, 200, "payload")?;
        let script = expect(&node.namespace, &script_of(node), 200, "#!ipxe\n")?;
        ensure!(
            installs(&script),
            "the renewal before attempt {attempt} ended the installation: {script}"
        );
    }
    Ok(())
}

/// Checks that the log reports a recipe that has become invalid, and that a machine still gets its
/// certificates.
fn changed_recipe(
    server: &Server,
    recipe: &Path,
    ask: impl Fn() -> Result<(u16, String)>,
) -> Result<()> {
    let text = fs::read_to_string(recipe)?;
    fs::write(recipe, "half a recipe")?;
    answers(ask()?, 200, "payload")?;
    server.wait_for_output("the earlier recipe stays in use")?;
    fs::write(recipe, text)?;
    answers(ask()?, 200, "payload")
}
