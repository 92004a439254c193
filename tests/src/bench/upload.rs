//! Compares two ways to upload a snapshot to an object store: firstboot uploads the snapshot while
//! receiving it, whereas etcdctl first saves the snapshot to a file, and boto3 then uploads the
//! file.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::firstboot::cost;
use super::snapshot::Node;
use super::{Row, database, table, timed};
use crate::{process, s3};

const ADDRESS: &str = "10.101.15.1:9000";
const BUCKET: &str = "backups";
/// Uploads with Amazon's own client library, using the defaults of `aws s3 cp`: parts of 8 MiB, ten
/// at a time. For both uploads, the store computes the same kind of digest, and computes this
/// digest again when it assembles the parts.
const UPLOAD: &str = "import sys, boto3
store = boto3.client('s3', endpoint_url='http://10.101.15.1:9000', region_name='us-east-1',
                     aws_access_key_id='AKIATEST', aws_secret_access_key='hush')
store.upload_file(sys.argv[1], 'backups', sys.argv[2], ExtraArgs={'ChecksumAlgorithm': 'SHA256'})";

/// Measures both uploads alternately, `runs` times each, with the same member and the same kind of
/// store.
pub fn run(runs: usize) -> Result<String> {
    let recipe = format!(
        "[backup]\ndestination = \"s3://{BUCKET}/\"\n[backup.s3]\nendpoint = \"http://{ADDRESS}\""
    );
    let node = Node::new(database::mib(), &recipe)?;
    let keys = "AWS_ACCESS_KEY_ID=AKIATEST\nAWS_SECRET_ACCESS_KEY=hush\n";
    node.host.write("/etc/firstboot/s3-keys", keys, 0o600)?;
    let world = node.provisioning.network.world();
    let saved = node.host.path("/root/bench/a.db");
    let mut seen: [Vec<Duration>; 2] = Default::default();
    let (mut bytes, mut memory) = (0, 0);
    for nth in 0..runs {
        for (theirs, times) in seen.iter_mut().enumerate() {
            node.clear()?;
            // The server keeps all objects in memory, so each run starts a new server.
            let _server = s3::Server::start(world, ADDRESS, BUCKET)?;
            times.push(timed(|| {
                if theirs == 0 {
                    let (_, kib) = cost(&mut node.host.command(&["firstboot", "snapshot"])?)?;
                    memory = memory.max(kib);
                    return Ok(());
                }
                process::run(&mut node.save("/root/bench/a.db")?)?.ok()?;
                let mut upload: Command = world.command("python3");
                upload.args(["-c", UPLOAD, &saved.to_string_lossy(), &format!("{nth}.db")]);
                process::run(upload.env("PYTHONPATH", s3::library()?))?
                    .ok()
                    .map(drop)
            })?);
            if theirs == 1 {
                bytes = saved.metadata().context("nothing was saved")?.len();
            }
        }
    }
    ensure!(bytes > 0, "nothing was measured");
    let [ours, theirs] = seen;
    let row = |name: &str, times| Row {
        name: name.to_owned(),
        times,
        bytes: None,
    };
    Ok(format!(
        "{}{runs} runs of each, alternating; {} MiB into moto on the same machine; firstboot's peak memory {} MiB\n",
        table(&[
            row("firstboot snapshot s3://", ours),
            row("etcdctl snapshot save, then boto3", theirs)
        ]),
        bytes >> 20,
        memory >> 10
    ))
}
