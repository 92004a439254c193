//! A machine on which the `%pre` script runs. Folders represent /sys and the machine's disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use recipes::Sha256;
use tempfile::TempDir;
use tests::installer::{Kickstart, Kind};
use tests::{process, programs};

pub(super) const ROOT: &str = "sda2";
pub(super) const VOLUME: &str = "sda3";

/// The public key of the cluster.
pub(super) const TRUST: &str = "the key of this cluster\n";
const MAC: &str = "52:54:00:00:00:11";
const LIFE: &str = "00000000000000000000000000000001";

/// The scripts of the demo's recipe with `data = "keep"`.
pub(super) struct Rendered {
    folder: TempDir,
}

/// Renders the demo's recipe, with `data = "keep"` and these additional lines in `[install]`, into
/// this folder. Returns the kickstart.
pub(crate) fn kickstart(folder: &Path, install: &str) -> Result<Kickstart> {
    let recipe = folder.join("recipe.toml");
    let demo = fs::read_to_string(programs::recipe("demo"))?;
    fs::write(
        &recipe,
        demo.replace(
            "[install]\n",
            &format!("[install]\ndata = \"keep\"\n{install}\n"),
        ),
    )?;
    let planned = folder.join("planned");
    let arguments = [&recipe, &planned].map(|path| path.display().to_string());
    programs::run_builder(&["plan", &arguments[0], "--files", &arguments[1]])?.ok()?;
    let text = fs::read_to_string(planned.join("centos7.ks"))?;
    Kickstart::parse(&text, &|_| Ok(None))
}

impl Rendered {
    pub(super) fn new() -> Result<Self> {
        Self::with("")
    }

    /// Renders the recipe with these additional lines in `[install]`.
    pub(super) fn with(install: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let read = kickstart(folder.path(), install)?;
        let pre = read.sections(Kind::Pre).next().context("no %pre")?;
        // `builder plan` has no key, so it writes zeros for the key's digest.
        let zeros = Sha256::new([0; 32]).to_string();
        ensure!(
            pre.body.matches(&zeros).count() == 1,
            "the script must contain the digest of the key exactly once"
        );
        let script = pre
            .body
            .replace(&zeros, &Sha256::of(TRUST.as_bytes()).to_string());
        fs::write(folder.path().join("pre"), script)?;
        let post = read
            .sections(Kind::Post)
            .find(|post| post.body.contains("restore_journal() {"))
            .context("no %post restores the journal")?;
        let functions = ["mount_kept", "restore_journal", "release_kept"]
            .map(|name| function(&post.body, name));
        let functions: String = functions.into_iter().collect::<Result<_>>()?;
        fs::write(folder.path().join("restore-journal.sh"), functions)?;
        fs::write(folder.path().join("devices.sh"), include_str!("../keep.sh"))?;
        Ok(Self { folder })
    }

    /// Restores the journal from the copy in the folder `volume` to the folder `state`, as `%post`
    /// does, and removes the copy. The power fails at the change with the number `cut`. Returns
    /// whether the script finished.
    pub(super) fn restore(&self, folder: &Path, cut: u32) -> Result<bool> {
        let script = "set -Eeuo pipefail; folder=$1; . \"$2\"; . \"$3\"
            umount() { :; }
            kept=$folder/volume/firstboot-kept state=$folder/state
            restore_journal; release_kept";
        let mut bash = Command::new("bash");
        bash.args(["-c", script, "restore"])
            .arg(folder)
            .arg(self.folder.path().join("devices.sh"))
            .arg(self.folder.path().join("restore-journal.sh"))
            .env("CUT", cut.to_string());
        Ok(process::run(&mut bash)?.success())
    }

    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Returns a machine with an empty disk.
    pub(super) fn machine(&self, name: &str) -> Result<Machine> {
        let machine = Machine {
            rendered: self.folder.path().to_owned(),
            folder: self.folder.path().join(name),
        };
        fs::create_dir_all(machine.folder.join("sys/firmware"))?;
        machine.card(MAC)?;
        Ok(machine)
    }

    /// Returns a machine that is a node of the cluster.
    pub(super) fn node(&self, name: &str) -> Result<Machine> {
        let machine = self.machine(name)?;
        machine.field("sda", "PTTYPE", "dos")?;
        let xfs = |label, uuid| [("LABEL", label), ("TYPE", "xfs"), ("UUID", uuid)];
        machine.partition(1, 2048, 2 << 20, &xfs("boot", "b"))?;
        machine.partition(2, 2_099_200, 16 << 20, &xfs("root", "r"))?;
        machine.partition(3, 18_876_416, 8 << 20, &xfs("etcd", "e"))?;
        machine.write(ROOT, "etc/firstboot/trust.pub", TRUST)?;
        machine.write(ROOT, "var/lib/firstboot/keys.pem", "keys\n")?;
        machine.append_event(&format!(
            r#""event":"accepted","name":"etcd-1","machine":{{"macs":["{MAC}"],"serial":null,"uuid":"00000000-0000-0000-0000-00000000000A"}}"#
        ))?;
        machine.append_event(&format!(r#""event":"life","nonce":"{LIFE}""#))?;
        machine.append_event(r#""event":"healthy","cluster":1,"member":2"#)?;
        machine.write(VOLUME, "firstboot-life", &format!("{LIFE}\n"))?;
        machine.write(VOLUME, "data/member/snap/db", "data\n")?;
        fs::create_dir_all(machine.path(VOLUME, "files/lost+found"))?;
        Ok(machine)
    }
}

/// Returns the text of the shell function `name` in a script.
fn function<'a>(script: &'a str, name: &str) -> Result<&'a str> {
    let (_, from) = script
        .split_once(&format!("{name}() {{"))
        .with_context(|| format!("no function {name}"))?;
    let end = from.find("\n}\n").context("the function does not end")? + 3;
    let start = script.len() - from.len() - name.len() - 4;
    Ok(&script[start..script.len() - from.len() + end])
}

/// A machine with the disk `sda`.
pub(super) struct Machine {
    rendered: PathBuf,
    folder: PathBuf,
}

impl Machine {
    /// Adds a partition of `size` sectors that begins at the sector `start`.
    pub(super) fn partition(
        &self,
        number: u32,
        start: u64,
        size: u64,
        fields: &[(&str, &str)],
    ) -> Result<()> {
        let name = format!("sda{number}");
        let sys = self.folder.join("sys/block/sda").join(&name);
        fs::create_dir_all(&sys)?;
        for (file, value) in [
            ("partition", number.to_string()),
            ("start", start.to_string()),
            ("size", size.to_string()),
            ("dev", format!("4095:{number}")),
        ] {
            fs::write(sys.join(file), value + "\n")?;
        }
        fs::create_dir_all(self.path(&name, "files"))?;
        fields
            .iter()
            .try_for_each(|(field, value)| self.field(&name, field, value))
    }

    /// Sets the value that blkid prints for a field of a device.
    pub(super) fn field(&self, device: &str, field: &str, value: &str) -> Result<()> {
        fs::create_dir_all(self.path(device, ""))?;
        let value = if value.is_empty() {
            String::new()
        } else {
            format!("{value}\n")
        };
        fs::write(self.path(device, field), value)?;
        Ok(())
    }

    pub(super) fn resize(&self, number: u32, sectors: u64) -> Result<()> {
        let size = self.folder.join(format!("sys/block/sda/sda{number}/size"));
        fs::write(size, format!("{sectors}\n"))?;
        Ok(())
    }

    pub(super) fn firmware_is_uefi(&self) -> Result<()> {
        fs::create_dir_all(self.folder.join("sys/firmware/efi"))?;
        Ok(())
    }

    /// Sets the machine's only network card.
    pub(super) fn card(&self, mac: &str) -> Result<()> {
        let card = self.folder.join("sys/class/net/eth0");
        fs::create_dir_all(&card)?;
        fs::write(card.join("address"), format!("{mac}\n"))?;
        Ok(())
    }

    pub(super) fn uuid(&self, uuid: &str) -> Result<()> {
        let id = self.folder.join("sys/class/dmi/id");
        fs::create_dir_all(&id)?;
        fs::write(id.join("product_uuid"), format!("{uuid}\n"))?;
        Ok(())
    }

    pub(super) fn unmountable(&self, device: &str) -> Result<()> {
        let files = self.path(device, "files");
        fs::rename(files, self.path(device, "erased"))?;
        Ok(())
    }

    pub(super) fn damaged(&self, device: &str) -> Result<()> {
        fs::write(self.path(device, "damaged"), "")?;
        Ok(())
    }

    /// Returns a path below the folder of a device.
    pub(super) fn path(&self, device: &str, path: &str) -> PathBuf {
        self.folder.join("devices").join(device).join(path)
    }

    /// Reads a file of a file system. The device name `..` denotes the installer itself.
    pub(super) fn read(&self, device: &str, path: &str) -> Result<String> {
        let file = match device {
            ".." => self.folder.join(path),
            device => self.path(device, "files").join(path),
        };
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    pub(super) fn write(&self, device: &str, path: &str, text: &str) -> Result<()> {
        let file = self.path(device, "files").join(path);
        fs::create_dir_all(file.parent().context("the path has no folder")?)?;
        fs::write(file, text)?;
        Ok(())
    }

    /// Removes a file or folder of a file system.
    pub(super) fn remove(&self, device: &str, path: &str) -> Result<()> {
        let file = self.path(device, "files").join(path);
        let removed = if file.is_dir() {
            fs::remove_dir_all(&file)
        } else {
            fs::remove_file(&file)
        };
        removed.with_context(|| format!("cannot remove {}", file.display()))
    }

    /// Adds an event to the journal on the old root, in firstboot's format.
    pub(super) fn append_event(&self, event: &str) -> Result<()> {
        let json = format!("{{\"at\":1,{event}}}");
        let check = Sha256::of(json.as_bytes()).to_string();
        self.append_to_journal(&format!("{} {json}\n", &check[..16]))
    }

    pub(super) fn append_to_journal(&self, text: &str) -> Result<()> {
        let path = "var/lib/firstboot/journal";
        let before = self.read(ROOT, path).unwrap_or_default();
        self.write(ROOT, path, &(before + text))
    }

    /// Inserts an event at the start of the journal, which is then a different journal.
    pub(super) fn rewrite_journal(&self) -> Result<()> {
        let before = self.read(ROOT, "var/lib/firstboot/journal")?;
        self.remove(ROOT, "var/lib/firstboot/journal")?;
        self.append_event(r#""event":"exchanged""#)?;
        self.append_to_journal(&before)
    }

    /// Runs `%pre`, and returns the lines of disk.ks, or the reason for the failure. With `cut`,
    /// the power fails at the change with that number.
    pub(super) fn run(&self, cut: Option<u32>) -> Result<Result<String, String>> {
        let why = self.folder.join("run/etcd-image/why");
        for stale in [
            &why,
            &self.folder.join("run/etcd-image/keep"),
            &self.folder.join("disk.ks"),
        ] {
            let _ = fs::remove_file(stale);
        }
        // The mounts disappear when the power fails.
        for mounted in ["etcd-image-root", "etcd-image-volume"] {
            let _ = fs::remove_file(self.folder.join(mounted));
        }
        let mut bash = Command::new("bash");
        bash.args(["-c", include_str!("../pre.sh"), "pre.sh"])
            .arg(self.rendered.join("pre"))
            .arg(&self.folder)
            .arg("sda")
            .arg(self.rendered.join("devices.sh"));
        if let Some(cut) = cut {
            bash.env("CUT", cut.to_string());
        }
        let ran = process::run(&mut bash)?;
        if ran.success() {
            return Ok(Ok(fs::read_to_string(self.folder.join("disk.ks"))?));
        }
        ensure!(
            !self.folder.join("disk.ks").exists(),
            "anaconda would write to the disk"
        );
        let why = fs::read_to_string(&why).unwrap_or_default();
        ensure!(cut.is_some() || !why.is_empty(), "{ran:?}");
        Ok(Err(why))
    }

    /// Checks that `%pre` keeps the volume and writes exactly these lines for the disk.
    pub(super) fn keeps(&self, expected: &[&str]) -> Result<()> {
        let lines = self.run(None)?.map_err(anyhow::Error::msg)?;
        let of_disk: Vec<&str> = lines
            .lines()
            .filter(|line| line.starts_with("clearpart") || line.starts_with("part "))
            .collect();
        ensure!(of_disk == expected, "{lines}");
        ensure!(!lines.contains("zerombr"), "{lines}");
        for mounted in ["etcd-image-root", "etcd-image-volume"] {
            ensure!(
                !self.folder.join(mounted).is_symlink(),
                "{mounted} is still mounted"
            );
        }
        ensure!(
            self.read(VOLUME, "data/member/snap/db")
                .is_ok_and(|text| text == "data\n")
                || self.read(VOLUME, "firstboot-life").is_err()
        );
        Ok(())
    }

    /// Mounts the volume that `%pre` has kept, as `%post` does in a system whose etcd has these
    /// ids. Returns the reason if `%post` refuses the volume.
    pub(super) fn mount_kept(&self, ids: &str) -> Result<Result<(), String>> {
        let script = "set -Eeuo pipefail; folder=$1 wanted=$2; . \"$3\"
            chown() { :; }
            fail() { echo \"$*\" && exit 1; }
            functions=$(<\"$4\")
            functions=${functions//\\/var\\/lib\\/etcd/$folder/etcd}
            eval \"${functions//\\/run\\//$folder/run/}\"
            mount_kept";
        let mut bash = Command::new("bash");
        bash.args(["-c", script, "mount_kept"])
            .arg(&self.folder)
            .arg(ids)
            .arg(self.rendered.join("devices.sh"))
            .arg(self.rendered.join("restore-journal.sh"));
        let ran = process::run(&mut bash)?;
        let mounted = self.folder.join("etcd");
        ensure!(mounted.join("data").is_dir(), "not mounted: {ran:?}");
        fs::remove_file(mounted)?;
        Ok(if ran.success() {
            Ok(())
        } else {
            Err(ran.stdout)
        })
    }

    /// Checks that `%pre` refuses the machine for this reason, and changes nothing on the disk.
    /// Returns the message.
    pub(super) fn refuses(&self, id: &str) -> Result<String> {
        let before = self.disk_content()?;
        let why = match self.run(None)? {
            Ok(lines) => bail!("{id}: not refused\n{lines}"),
            Err(why) => why,
        };
        ensure!(why.contains(&format!("[{id}]")), "{id}: {why}");
        ensure!(self.disk_content()? == before, "{id}: the disk was changed");
        ensure!(self.read("..", "run/etcd-image/keep").is_err(), "{id}");
        Ok(why)
    }

    /// Returns the names and digests of all files on the disk, and the names of all folders.
    pub(super) fn disk_content(&self) -> Result<String> {
        content(&self.folder.join("devices"))
    }
}

/// Returns the names and digests of all files below a folder, and the names of all folders.
fn content(folder: &Path) -> Result<String> {
    let folder = folder.display().to_string();
    let list = format!(
        "cd {folder:?} && find . -type f -exec sha256sum {{}} + | sort && find . -type d | sort"
    );
    process::check("sh", &["-c", &list])
}
