//! `firstboot status`: every member of the cluster, asked one by one (the guide's steps 4.1.1 and 4.1.2).

mod backup;

use anyhow::Result;
use recipes::cluster::Member;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::etcd::{self, Client, Credentials, StatusResponse};
use crate::exit::Exit;
use crate::identity;
use crate::say::show;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// For programs
    #[arg(long)]
    json: bool,
}

/// One member as it answered.
#[derive(Debug, Default, Serialize)]
struct Row {
    name: String,
    endpoint: String,
    healthy: bool,
    leader: bool,
    learner: bool,
    version: String,
    db_size: i64,
    revision: i64,
    raft_term: u64,
    raft_index: u64,
    errors: Vec<String>,
}

/// The answer for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    members: &'a [Row],
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<&'a backup::Backup>,
}

/// Prints the table; says how the cluster is by the exit code.
pub(crate) fn run(options: &Options) -> Result<Option<Exit>> {
    let cluster = identity::cluster()?;
    let credentials = Credentials::installed()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (rows, backup) = runtime.block_on(async {
        let mut rows = ask_all(&cluster.members, &credentials).await;
        compare(&mut rows, &roster(&cluster.members, &credentials).await);
        (rows, backup::Backup::ask(&cluster, &credentials).await)
    });
    if options.json {
        show(&(serde_json::to_string_pretty(&Answer { members: &rows, backup: backup.as_ref() })? + "\n"))?;
    } else {
        show(&(table(&rows) + &backup.map_or_else(String::new, |backup| backup.line())))?;
    }
    Ok(verdict(&rows))
}

/// Asks all at once: a member that does not answer costs its own time only.
async fn ask_all(members: &[Member], credentials: &Credentials) -> Vec<Row> {
    let mut asked = JoinSet::new();
    for (at, member) in members.iter().enumerate() {
        let (name, endpoint) = (member.name.to_string(), member.client_url());
        let credentials = credentials.clone();
        asked.spawn(async move { (at, ask(name, endpoint, &credentials).await) });
    }
    let mut rows = asked.join_all().await;
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The members as the first node that answers knows them.
async fn roster(members: &[Member], credentials: &Credentials) -> Vec<etcd::Member> {
    for member in members {
        if let Ok(client) = Client::connect(&member.client_url(), credentials).await
            && let Ok(roster) = client.members(false).await
        {
            return roster;
        }
    }
    Vec::new()
}

/// Says where the recipe and etcd's own list differ.
fn compare(rows: &mut Vec<Row>, roster: &[etcd::Member]) {
    if roster.is_empty() {
        return;
    }
    for row in rows.iter_mut() {
        let peer = row.endpoint.replace(":2379", ":2380");
        if !roster.iter().any(|member| member.peer_urls.contains(&peer)) {
            row.healthy = false;
            row.errors.push("in the recipe, but no member of the cluster".to_owned());
        }
    }
    let known: Vec<String> = rows.iter().map(|row| row.endpoint.replace(":2379", ":2380")).collect();
    for stranger in roster.iter().filter(|member| !member.peer_urls.iter().any(|url| known.contains(url))) {
        rows.push(Row {
            name: if stranger.name.is_empty() { format!("{:x}", stranger.id) } else { stranger.name.clone() },
            endpoint: stranger.client_urls.first().or(stranger.peer_urls.first()).cloned().unwrap_or_default(),
            learner: stranger.is_learner,
            errors: vec!["a member of the cluster, but not in the recipe".to_owned()],
            ..Row::default()
        });
    }
}

async fn ask(name: String, endpoint: String, credentials: &Credentials) -> Row {
    let answers = async {
        let client = Client::connect(&endpoint, credentials).await?;
        let status = client.status().await?;
        let health = if status.is_learner { Ok(()) } else { client.healthy().await };
        let alarms = client.alarms().await.unwrap_or_default();
        Ok::<_, anyhow::Error>((status, health, alarms))
    };
    let (status, mut errors) = match answers.await {
        Ok((status, health, alarms)) => {
            let own = status.header.as_ref().map(|header| header.member_id);
            let alarms = alarms.iter().filter(|alarm| Some(alarm.member_id) == own);
            let named = alarms.map(|alarm| if alarm.alarm == 1 { "alarm NOSPACE" } else { "alarm CORRUPT" }.to_owned());
            let mut errors: Vec<String> = status.errors.iter().cloned().chain(named).collect();
            errors.extend(health.err().map(|error| format!("{error:#}")));
            (Some(status), errors)
        }
        Err(error) => (None, vec![format!("{error:#}")]),
    };
    errors.dedup();
    let answered = status.is_some();
    let StatusResponse { header, version, db_size, leader, raft_index, raft_term, is_learner, .. } =
        status.unwrap_or_default();
    let header = header.unwrap_or_default();
    Row {
        name,
        endpoint,
        healthy: answered && errors.is_empty(),
        leader: leader != 0 && leader == header.member_id,
        learner: is_learner,
        version,
        db_size,
        revision: header.revision,
        raft_term,
        raft_index,
        errors,
    }
}

fn verdict(rows: &[Row]) -> Option<Exit> {
    // A learner has no vote; it counts among those that are to be well, and not for the quorum.
    let voters = rows.iter().filter(|row| !row.learner);
    let (voters, well) = (voters.clone().count(), voters.filter(|row| row.healthy).count());
    if rows.iter().all(|row| row.healthy && !row.learner) {
        None
    } else if well > voters / 2 {
        Some(Exit::Degraded)
    } else {
        Some(Exit::NoQuorum)
    }
}

fn table(rows: &[Row]) -> String {
    let head = ["NAME", "ENDPOINT", "HEALTH", "ROLE", "VERSION", "DB SIZE", "REVISION", "TERM", "INDEX", "ERRORS"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let answered = !row.version.is_empty();
        let number = |text: String| if answered { text } else { "-".to_owned() };
        let role = match (answered, row.leader, row.learner) {
            (false, ..) => "-",
            (_, true, _) => "leader",
            (_, _, true) => "learner",
            _ => "follower",
        };
        lines.push(vec![
            row.name.clone(),
            row.endpoint.clone(),
            if row.healthy { "healthy" } else { "UNHEALTHY" }.to_owned(),
            role.to_owned(),
            number(row.version.clone()),
            number(size(row.db_size)),
            number(row.revision.to_string()),
            number(row.raft_term.to_string()),
            number(row.raft_index.to_string()),
            row.errors.join("; "),
        ]);
    }
    let widths: Vec<usize> =
        (0..head.len()).map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0)).collect();
    let show = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(show).collect()
}

fn size(bytes: i64) -> String {
    // etcd's databases are MiB to a few GiB; a tenth of a MiB is as fine as anyone looks.
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, healthy: bool) -> Row {
        Row {
            name: name.into(),
            endpoint: format!("https://{name}:2379"),
            healthy,
            leader: name == "a",
            learner: false,
            version: if healthy { "3.6.14".into() } else { String::new() },
            db_size: 3 << 19,
            revision: 7,
            raft_term: 2,
            raft_index: 9,
            errors: if healthy { vec![] } else { vec!["connection refused".into()] },
        }
    }

    #[test]
    fn the_verdict_counts_the_quorum() {
        assert_eq!(verdict(&[row("a", true), row("b", true), row("c", true)]), None);
        assert_eq!(verdict(&[row("a", true), row("b", true), row("c", false)]), Some(Exit::Degraded));
        assert_eq!(verdict(&[row("a", true), row("b", false), row("c", false)]), Some(Exit::NoQuorum));
        assert_eq!(verdict(&[row("a", false)]), Some(Exit::NoQuorum));
        let learner = Row { learner: true, ..row("b", true) };
        assert_eq!(verdict(&[row("a", true), learner]), Some(Exit::Degraded));
    }

    #[test]
    fn recipe_and_member_list_are_compared() {
        let member = |name: &str, id| etcd::Member {
            id,
            name: name.into(),
            peer_urls: vec![format!("https://{name}:2380")],
            client_urls: vec![],
            is_learner: false,
        };
        let mut rows = vec![row("a", true), row("b", true)];
        compare(&mut rows, &[member("a", 1), member("z", 2)]);
        assert!(rows[0].healthy && !rows[1].healthy);
        assert_eq!((rows[2].name.as_str(), rows[2].healthy), ("z", false));
    }

    #[test]
    fn the_table_shows_who_leads_and_who_is_silent() {
        let shown = table(&[row("a", true), row("b", false)]);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].contains("leader") && lines[1].contains("1.5 MiB"), "{shown}");
        assert!(lines[2].contains("UNHEALTHY") && lines[2].ends_with("connection refused"), "{shown}");
    }
}
