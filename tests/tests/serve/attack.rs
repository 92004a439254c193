//! Tests hostile requests. No hostile request reads a file that is not public, hides a second
//! request, or reopens the time window in which the server hands out a document.

mod log;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use tests::cluster::Provisioning;
use tests::harness::trial;
use tests::programs;
use tests::requirement::NEEDS_SERVER;
use tests::run;

use crate::bed::{SERVER, Server, built, curl, document_of, expect, get, raw, script_of};
use crate::board;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_head_request_opens_no_window", NEEDS_SERVER, head),
        trial("a_file_is_found_under_one_path_only", NEEDS_SERVER, paths),
        trial("links_are_not_followed", NEEDS_SERVER, links),
        trial("no_request_hides_a_second_request", NEEDS_SERVER, smuggled),
        trial("no_client_can_fill_the_log", NEEDS_SERVER, log::log),
        trial("a_full_disk_refuses_no_machine", NEEDS_SERVER, log::full),
        trial(
            "signals_stop_the_server_and_wrong_options_are_refused",
            NEEDS_SERVER,
            stops_and_listens,
        ),
    ]
}

fn head() -> Result<()> {
    let ours = built()?;
    let server = Server::start(
        &ours,
        &[
            "--open",
            "0",
            "--tree",
            "http://10.101.15.1:8081/none/",
            "--board-token",
            &board::token()?,
        ],
    )?;
    let one = ours.network.add("etcd-1")?;
    let bearer = format!("Authorization: Bearer {}", board::TOKEN);
    for (page, status) in [
        (String::new(), 200),
        ("board".to_owned(), 200),
        ("board/events".to_owned(), 200),
        ("metrics".to_owned(), 200),
        (document_of(&one.mac), 405),
        (script_of(&one), 405),
        ("image/centos7.ks?node=etcd-1".to_owned(), 200),
        ("image/overlay.tar.gz".to_owned(), 200),
    ] {
        let (found, text) = curl(
            &one.namespace,
            &["--head", "--header", &bearer],
            &format!("http://{SERVER}/{page}"),
        )?;
        ensure!(found == status, "{page}: {found}: {text}");
    }
    // After the HEAD request for a file, the connection can still be used.
    let both = "HEAD /image/overlay.tar.gz HTTP/1.1\r\nHost: a\r\n\r\nGET /image/SHA256SUMS HTTP/1.1\r\nHost: a\r\n\r\n";
    let said = raw(&one.namespace, both)?;
    ensure!(
        said.matches("200 OK").count() == 2 && said.contains("  overlay.tar.gz"),
        "{said}"
    );
    std::thread::sleep(Duration::from_millis(300));
    let said = server.output()?;
    ensure!(
        !said.contains("etcd-1: "),
        "the log of a HEAD request claims that the node received something:\n{said}"
    );
    let state = ours.out().with_file_name("out.state").join("demo/etcd-1");
    ensure!(
        !state.join("document.json").exists(),
        "a HEAD request counts as a delivery of the document"
    );
    let installation = fs::read_to_string(state.join("install.json"))?;
    ensure!(
        !installation.contains("\"last\""),
        "a HEAD request is recorded: {installation}"
    );
    expect(&one.namespace, &document_of(&one.mac), 200, "payload")?;
    Ok(())
}

fn paths() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, &["--tree", "http://10.101.15.1:8081/none/"])?;
    let one = ours.network.add("etcd-1")?;
    let kickstart = ours.kickstart()?;
    let written = [
        "image//centos7.ks",
        "image/%63entos7.ks",
        "/image/./centos7.ks",
        "image%2Fcentos7.ks",
        "%69mage/centos7.ks",
    ];
    for page in written {
        let found = expect(&one.namespace, &format!("{page}?node=etcd-1"), 200, "%pre")?;
        ensure!(found == kickstart, "{page} returns another file");
    }
    // Each download is logged.
    server.wait_for_outputs("etcd-1: downloads the kickstart", written.len())?;
    for page in [
        "nodes/etcd-1/node.json",
        "image/../nodes/etcd-1/node.json",
        "image/%2e%2e/nodes/etcd-1/node.json",
        "image/%2e%2e%2fnodes%2fetcd-1%2fnode.json",
        "image/..%5cnodes/etcd-1/node.json",
        "image/%252e%252e/nodes/etcd-1/node.json",
        "image/centos7.ks%00.txt",
        "image/",
        "image",
        "tree/../out/nodes/etcd-1/node.json",
        "boot.ipxe/../node.json",
        "..",
    ] {
        let (status, text) = get(&one.namespace, page)?;
        ensure!(
            matches!(status, 400 | 404) && !text.contains("payload"),
            "{page} is answered {status}: {text}"
        );
    }
    Ok(())
}

fn links() -> Result<()> {
    let ours = built()?;
    let tree = run::current()?.folder("tree")?;
    for folder in ["images/pxeboot", "LiveOS"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    fs::write(tree.join("images/pxeboot/vmlinuz"), "kernel")?;
    for file in ["images/pxeboot/initrd.img", "LiveOS/squashfs.img"] {
        fs::write(tree.join(file), "")?;
    }
    let _server = Server::start(&ours, &["--tree", &tree.to_string_lossy()])?;
    let one = ours.network.add("etcd-1")?;
    expect(
        &one.namespace,
        "tree//images/pxeboot/vmlinuz",
        200,
        "kernel",
    )?;
    let secret = ours.out().join("nodes/etcd-1/node.json");
    for folder in [ours.out().join("image"), tree] {
        symlink(&secret, folder.join("file"))?;
        symlink(ours.out().join("nodes"), folder.join("folder"))?;
        symlink("/", folder.join("root"))?;
        nix::unistd::mkfifo(&folder.join("fifo"), nix::sys::stat::Mode::S_IRUSR)?;
        let place = if folder.ends_with("image") {
            "image"
        } else {
            "tree"
        };
        for path in ["file", "folder/etcd-1/node.json", "root/etc/passwd", "fifo"] {
            expect(
                &one.namespace,
                &format!("{place}/{path}"),
                404,
                "[not-found]",
            )?;
        }
    }
    // The server must also refuse a node's folder that is a symbolic link.
    fs::rename(
        ours.out().join("nodes/etcd-2"),
        ours.out().join("nodes-of-2"),
    )?;
    symlink("../nodes-of-2", ours.out().join("nodes/etcd-2"))?;
    let (status, text) = get(&one.namespace, &document_of("52:54:0a:65:0f:66"))?;
    ensure!(
        status != 200 && !text.contains("payload"),
        "{status}: {text}"
    );
    Ok(())
}

fn smuggled() -> Result<()> {
    let ours = built()?;
    let server = Server::start(&ours, &[])?;
    let one = ours.network.add("etcd-1")?;
    let inner = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", document_of(&one.mac));
    for head in heads(inner.len()) {
        let shown = &head[..head.len().min(120)];
        let said = raw(&one.namespace, &(head.clone() + &inner))?;
        ensure!(
            !said.contains("payload"),
            "{shown}: the second request is answered:\n{said}"
        );
        ensure!(
            said.lines()
                .filter(|line| line.starts_with("HTTP/1.1 "))
                .count()
                <= 1,
            "{shown}: several answers:\n{said}"
        );
        ensure!(
            said.is_empty() || said.starts_with("HTTP/1.1 4"),
            "{shown}:\n{said}"
        );
    }
    ensure!(
        raw(&one.namespace, "GET / HTTP/1.0\r\n\r\n")?.contains(" 200 OK"),
        "HTTP/1.0 needs no Host"
    );
    let script = raw(&one.namespace, "GET /boot.ipxe HTTP/1.0\r\n\r\n")?;
    ensure!(
        script.contains("chain http://10.101.15.1:8081/boot.ipxe?"),
        "{script}"
    );
    ensure!(
        !server.output()?.contains("handed out"),
        "{}",
        server.output()?
    );
    Ok(())
}

/// Returns request heads that hide a second request of `length` bytes, and other request heads that
/// no server may accept.
fn heads(length: usize) -> Vec<String> {
    vec![
        format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: {length}\r\n\r\n"
        ),
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n".to_owned(),
        "POST /report HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            .to_owned(),
        "POST /report HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n".to_owned()
            + &"a".repeat(4990),
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\nbroken\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(),
        "PUT / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20_000)),
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(200)
        ),
    ]
}

fn stops_and_listens() -> Result<()> {
    let ours = built()?;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (found, said) = Server::start(&ours, &[])?.end(signal)?;
        ensure!(found == Some(code), "{signal}: {found:?}");
        ensure!(
            said.ends_with("\ninterrupted\n"),
            "the message mentions files that the server did not write:\n{said}"
        );
    }
    needs_no_output(&ours)?;
    let refused = |options: &[&str], code, words: &str| -> Result<()> {
        let out = ours.out().to_string_lossy().into_owned();
        let ran = programs::run_builder(&[&["serve", &out], options].concat())?;
        ensure!(
            ran.code() == code && ran.stderr.contains(words),
            "{options:?}: {ran:?}"
        );
        Ok(())
    };
    refused(
        &["--listen", "builder.example:80"],
        2,
        "`builder.example` is not an address or localhost",
    )?;
    refused(
        &["--state", "/etc/passwd"],
        1,
        "/etc/passwd is not a folder; name the folder of the server's records",
    )?;
    refused(
        &["--tree", "https://vault.centos.org/7.9.2009/os/x86_64/"],
        2,
        "the usual iPXE builds do not support HTTPS",
    )?;
    refused(
        &["--append", "quiet\nboot"],
        2,
        "the boot loaders cannot pass the character '\\n' to the kernel",
    )?;
    refused(&["--loaders", "/nowhere"], 2, "expected an existing folder")?;
    let own = ours.pki().join("nodes/etcd-1");
    let [cert, key] =
        ["server.crt", "server.key"].map(|name| own.join(name).to_string_lossy().into_owned());
    tests::process::check("chmod", &["640", &key])?;
    refused(
        &["--tls-cert", &cert, "--tls-key", &key],
        1,
        "its mode is 0640",
    )
}

/// Checks that a full disk for the server's output does not stop the server and does not change its
/// exit codes.
fn needs_no_output(ours: &Provisioning) -> Result<()> {
    let mut command = ours.network.world().command("sh");
    command
        .args(["-c", "exec \"$@\" > /dev/full 2>&1", "sh"])
        .arg(programs::builder()?)
        .arg("serve")
        .arg(ours.out());
    let silent = Server::unheard(command.args(["--listen", SERVER]), ours.network.world())?;
    let (found, _) = silent.end(Signal::SIGTERM)?;
    ensure!(found == Some(143), "with a full output disk: {found:?}");
    let builder = programs::builder()?;
    let mut none = std::process::Command::new("sh");
    none.args(["-c", "\"$@\" > /dev/full 2>&1", "sh"])
        .arg(builder)
        .args(["serve", "/nowhere"]);
    let code = tests::process::run(&mut none)?.code();
    ensure!(
        code == 1,
        "an error that cannot be printed has the exit code {code}"
    );
    Ok(())
}
