//! Reports `healthy`, or `refused` with the reason, to the server that installed this machine. The
//! installation wrote the server's URL to the disk. A machine that no server installed has no URL,
//! and does not send reports.
//!
//! A report only informs the operator. If the server does not answer, firstboot continues after a
//! few seconds.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use recipes::InstallStage;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;

use crate::runtime::block_on;
use crate::{files, metadata, paths};

/// The time limit for a report.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum length of a reason in characters.
const REASON: usize = 400;

/// Reports a stage, if the installation configured a server.
pub(crate) fn report(stage: InstallStage, why: Option<&str>) {
    match file().and_then(|url| {
        url.map(|url| send(&url, stage, why).with_context(|| place(&url)))
            .transpose()
    }) {
        Ok(_) => {}
        // Do not call `say`, because the unit's status line in `systemctl status` is reserved for
        // the state of the node.
        Err(error) => println!("cannot report `{stage}` to the server: {error:#}"),
    }
}

/// Returns the URL that the installation wrote.
fn file() -> Result<Option<Url>> {
    // Do not report before the installation is complete, because the server concludes from a report
    // that the installation is complete.
    if files::read_if_there(paths::INSTALLED)?.is_none() {
        return Ok(None);
    }
    let Some(bytes) = files::read_if_there(paths::REPORT)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    let url: Url = text
        .trim()
        .parse()
        .with_context(|| format!("{} does not contain a URL", paths::REPORT))?;
    ensure!(
        matches!(url.scheme(), "http" | "https"),
        "{} does not contain an HTTP URL",
        paths::REPORT
    );
    Ok(Some(url))
}

fn send(url: &Url, stage: InstallStage, why: Option<&str>) -> Result<()> {
    let body = body(stage, why);
    block_on(async {
        let request = metadata::http_client(url)?
            .post(url.clone())
            .timeout(REPORT_TIMEOUT);
        let request = request
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        ensure!(
            answer.status().is_success(),
            "the server answered {}",
            answer.status()
        );
        Ok(())
    })
}

fn body(stage: InstallStage, why: Option<&str>) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("stage", stage.as_str());
    if let Some(why) = why {
        form.append_pair("why", &why.chars().take(REASON).collect::<String>());
    }
    form.finish()
}

/// Returns the URL that messages show, without the query, because the query contains the machine's
/// token.
fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_characters() {
        let body = body(InstallStage::Refused, Some(&"ä&".repeat(1000)));
        assert!(
            body.starts_with("stage=refused&why=%C3%A4%26%C3%A4%26"),
            "{body}"
        );
        let (_, why) = url::form_urlencoded::parse(body.as_bytes()).nth(1).unwrap();
        assert_eq!(why.chars().count(), REASON);
    }

    #[test]
    fn no_message_contains_the_token() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url: Url = "http://10.0.0.5:8080/report?node=etcd-1&token=secret"
            .parse()
            .unwrap();
        assert_eq!(place(&url), "http://10.0.0.5:8080/report");
        // No program listens on port 9, which is reserved for the discard service.
        let error = send(
            &"http://127.0.0.1:9/report?token=secret".parse().unwrap(),
            InstallStage::Healthy,
            None,
        )
        .unwrap_err();
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
    }
}
