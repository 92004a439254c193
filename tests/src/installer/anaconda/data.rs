//! Reads the commands in the same way as pykickstart's RHEL7 handler and anaconda's own parse
//! methods.

use std::collections::BTreeSet;

use super::super::hardware::Hardware;
use super::super::kickstart::{Command, Kickstart, Kind};
use super::commands;
use super::types::{Failure, User};
use super::values::{BootLoader, FinalAction, Firewall, Timezone};

/// Everything that the kickstart specifies.
#[derive(Debug, Default)]
pub(in super::super) struct Data {
    pub(super) authconfig: Option<String>,
    pub(super) firstboot: Option<bool>,
    pub(super) selinux: Option<&'static str>,
    pub(super) enabled: Vec<String>,
    pub(super) disabled: Vec<String>,
    pub(super) keymap: String,
    pub(super) lang: String,
    pub(super) timezone: Timezone,
    pub(super) firewall: Firewall,
    pub(super) graphical: bool,
    pub(super) hostname: Option<String>,
    pub(super) root: Option<(Option<String>, bool)>,
    pub(super) groups: Vec<(String, Option<u32>)>,
    pub(super) users: Vec<User>,
    pub(super) keys: Vec<(String, String)>,
    pub(super) only_use: Vec<String>,
    /// The type of partition table that `clearpart` names.
    pub(super) disk_label: Option<String>,
    /// Whether `clearpart` writes a new partition table to a disk that has one.
    pub(super) relabels: bool,
    pub(super) boot: BootLoader,
    pub(super) parts: Vec<Command>,
    /// The storage commands other than `part`, in file order.
    pub(super) volumes: Vec<Command>,
    pub(in super::super) url: Option<String>,
    pub(in super::super) repos: Vec<(String, String)>,
    pub(super) packages: BTreeSet<String>,
    pub(super) excluded: BTreeSet<String>,
    pub(super) package_groups: Vec<(String, &'static str)>,
    pub(super) nocore: bool,
    pub(in super::super) end: Option<FinalAction>,
}

impl Data {
    /// Reads all commands and packages. The errors are those that end anaconda before its exit
    /// handler is registered (kickstart.py, parseKickstart and check_kickstart_error).
    pub(in super::super) fn read(
        kickstart: &Kickstart,
        hardware: &Hardware,
    ) -> Result<Self, Failure> {
        let mut data = Self {
            lang: "en_US.UTF-8".into(),
            keymap: "us".into(),
            ..Self::default()
        };
        for command in &kickstart.commands {
            data.command(command, hardware)
                .map_err(|error| Failure::Early(format!("{}: {error}", command.place)))?;
        }
        for section in kickstart.sections(Kind::Packages) {
            data.nocore |= section.has("--nocore");
            for line in section.body.lines() {
                data.package(line.split('#').next().unwrap_or_default().trim());
            }
        }
        Ok(data)
    }

    fn command(&mut self, command: &Command, hardware: &Hardware) -> Result<(), String> {
        let value = |name: &str| command.option(name).map(str::to_owned);
        let list = |name: &str| split(command.option(name));
        match command.name.as_str() {
            "auth" | "authconfig" => self.authconfig = Some(command.arguments.join(" ")),
            "bootloader" => self.boot_loader(command)?,
            "clearpart" => self.clear_part(command, hardware)?,
            "firewall" => self.firewall(command),
            "firstboot" => {
                self.firstboot = Some(command.has("--enable") || command.has("--enabled"));
            }
            "group" => self
                .groups
                .push((needed(command, "--name")?, number(command, "--gid")?)),
            "halt" => self.end = Some(FinalAction::Halt),
            "ignoredisk" => {
                self.only_use = list("--only-use");
                for disk in &self.only_use {
                    there(hardware, disk, "ignoredisk")?;
                }
            }
            "keyboard" => {
                self.keymap = value("--vckeymap")
                    .or_else(|| bare(command))
                    .unwrap_or_default();
            }
            "lang" => self.lang = bare(command).ok_or("it does not name a language")?,
            "network" => self.hostname = value("--hostname").or(self.hostname.take()),
            "part" | "partition" => {
                commands::read(command, &self.volumes)?;
                self.parts.push(command.clone());
            }
            "autopart" | "logvol" | "volgroup" | "raid" | "btrfs" | "reqpart" | "mount"
            | "snapshot" => {
                commands::read(command, &self.parts)?;
                commands::read(command, &self.volumes)?;
                self.volumes.push(command.clone());
            }
            "poweroff" | "shutdown" => self.end = Some(FinalAction::Poweroff),
            "reboot" => self.end = Some(FinalAction::Reboot),
            "repo" => {
                self.repo(command)?;
            }
            "rootpw" => self.root = Some((bare(command), command.has("--lock"))),
            "selinux" => {
                self.selinux = ["enforcing", "permissive", "disabled"]
                    .into_iter()
                    .find(|mode| command.has(&format!("--{mode}")));
            }
            "services" => {
                self.enabled = list("--enabled");
                self.disabled = list("--disabled");
            }
            "sshkey" => self.ssh_key(command)?,
            "timezone" => self.timezone(command)?,
            "url" => self.url = value("--url"),
            "user" => self.user(command)?,
            "xconfig" => self.graphical = command.has("--startxonboot"),
            // Ignore all other commands, because they concern the installer itself, or hardware
            // that the stand-in does not have.
            _ => {}
        }
        Ok(())
    }

    fn repo(&mut self, command: &Command) -> Result<(), String> {
        let value = |name: &str| command.option(name).map(str::to_owned);
        let (base, list) = (value("--baseurl"), value("--mirrorlist"));
        if base.is_some() && list.is_some() {
            return Err(
                "Only one of --baseurl and --mirrorlist may be specified for repo command.".into(),
            );
        }
        let name = needed(command, "--name")?;
        // A repository without an address is one of the installer's own repositories, which the
        // command enables.
        self.repos.extend(base.or(list).map(|url| (name, url)));
        Ok(())
    }

    /// Models `Bootloader.parse` in kickstart.py.
    fn boot_loader(&mut self, command: &Command) -> Result<(), String> {
        let location = command.option("--location").unwrap_or("mbr");
        if location == "partition" {
            return Err("GRUB2 does not support installation to a partition".into());
        }
        let password = command.option("--password");
        if command.has("--iscrypted")
            && password.is_none_or(|hash| !hash.starts_with("grub.pbkdf2."))
        {
            return Err("GRUB2's encrypted password must be in grub.pbkdf2 format".into());
        }
        self.boot = BootLoader {
            none: location == "none",
            disabled: command.has("--disabled"),
            drive: command.option("--boot-drive").map(str::to_owned),
            append: command.option("--append").unwrap_or_default().to_owned(),
        };
        Ok(())
    }

    /// Models `ClearPart.parse` in kickstart.py.
    fn clear_part(&mut self, command: &Command, hardware: &Hardware) -> Result<(), String> {
        let label = command.option("--disklabel").map(str::to_owned);
        let known: &[&str] = if hardware.efi {
            &["gpt"]
        } else {
            &["msdos", "gpt"]
        };
        if let Some(label) = label
            .as_ref()
            .filter(|label| !known.contains(&label.as_str()))
        {
            return Err(format!(
                "disklabel {label} is not supported on this platform"
            ));
        }
        for disk in split(command.option("--drives")) {
            there(hardware, &disk, "clearpart")?;
        }
        self.disk_label = label;
        self.relabels = command.has("--all") || command.has("--initlabel");
        Ok(())
    }

    /// Models commands/firewall.py.
    fn firewall(&mut self, command: &Command) {
        let mut services = split(command.option("--service"));
        services.extend(
            ["ssh", "http", "smtp", "ftp"]
                .iter()
                .filter(|s| command.has(&format!("--{s}")))
                .map(|s| (*s).to_owned()),
        );
        self.firewall = Firewall {
            seen: true,
            disabled: command.has("--disabled") || command.has("--disable"),
            system_defaults: command.has("--use-system-defaults"),
            trusts: split(command.option("--trust")),
            // A port without a protocol is a TCP port (commands/firewall.py, firewall_port_cb).
            ports: split(command.option("--port"))
                .into_iter()
                .map(|port| {
                    if port.contains(':') {
                        port
                    } else {
                        format!("{port}:tcp")
                    }
                })
                .collect(),
            services,
            remove_services: split(command.option("--remove-service")),
        };
    }

    /// Models `F22_SshKey.parse` in commands/sshkey.py: a second key for a user ends the parsing
    /// with an AttributeError, because the warning about this key reads an attribute that does not
    /// exist.
    fn ssh_key(&mut self, command: &Command) -> Result<(), String> {
        let user = needed(command, "--username")?;
        let bare: Vec<&String> = command
            .arguments
            .iter()
            .filter(|argument| !argument.starts_with("--"))
            .collect();
        let [key] = bare.as_slice() else {
            return Err("A single argument is expected for the sshkey command".into());
        };
        if self.keys.iter().any(|(known, _)| *known == user) {
            return Err("AttributeError: 'F22_SshKeyData' object has no attribute 'name'".into());
        }
        self.keys.push((user, (*key).clone()));
        Ok(())
    }

    /// Models commands/timezone.py.
    fn timezone(&mut self, command: &Command) -> Result<(), String> {
        let zone = bare(command).ok_or("it does not name a time zone")?;
        let (nontp, servers) = (
            command.has("--nontp"),
            split(command.option("--ntpservers")),
        );
        if nontp && !servers.is_empty() {
            return Err("Options --nontp and --ntpservers are mutually exclusive".into());
        }
        // anaconda keeps the servers in a set, so it ignores repeated servers.
        let servers: BTreeSet<String> = servers.into_iter().collect();
        let servers = servers.into_iter().collect();
        self.timezone = Timezone {
            zone,
            utc: command.has("--isUtc") || command.has("--utc"),
            nontp,
            servers,
        };
        Ok(())
    }

    /// Models commands/user.py, and `User.execute` in kickstart.py: a new account is locked, and
    /// stays locked if the line sets no password.
    fn user(&mut self, command: &Command) -> Result<(), String> {
        let name = needed(command, "--name")?;
        self.users.push(User {
            uid: number(command, "--uid")?,
            gid: number(command, "--gid")?,
            groups: split(command.option("--groups")),
            home: command
                .option("--homedir")
                .map_or_else(|| format!("/home/{name}"), str::to_owned),
            shell: command.option("--shell").map(str::to_owned),
            gecos: command.option("--gecos").map(str::to_owned),
            password: command
                .option("--password")
                .filter(|text| !text.is_empty())
                .map(str::to_owned),
            locked: command.has("--lock"),
            name,
        });
        Ok(())
    }

    /// Models `Packages.add` in pykickstart's parser.py, which anaconda calls for each line.
    fn package(&mut self, line: &str) {
        if line.is_empty() || line.starts_with("@^") || line.starts_with("-@") {
        } else if let Some(group) = line.strip_prefix('@') {
            let (required, optional) =
                (group.contains("--nodefaults"), group.contains("--optional"));
            let name = group
                .split_whitespace()
                .filter(|word| !word.starts_with("--"))
                .collect::<Vec<_>>()
                .join(" ");
            let what = if required {
                "mandatory"
            } else if optional {
                "all"
            } else {
                "default"
            };
            if !self.package_groups.iter().any(|(known, _)| *known == name) {
                self.package_groups.push((name, what));
            }
        } else if let Some(name) = line.strip_prefix('-') {
            self.packages.remove(name);
            self.excluded.insert(name.to_owned());
        } else {
            // A package that is listed after its exclusion is no longer excluded. A package that is
            // excluded after it is listed is no longer listed.
            self.excluded.remove(line);
            self.packages.insert(line.to_owned());
        }
    }
}

fn split(list: Option<&str>) -> Vec<String> {
    let words = list.unwrap_or_default().split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn needed(command: &Command, option: &str) -> Result<String, String> {
    command
        .option(option)
        .map(str::to_owned)
        .ok_or_else(|| format!("{} needs {option}", command.name))
}

fn number(command: &Command, option: &str) -> Result<Option<u32>, String> {
    let text = command.option(option);
    text.map(|text| {
        text.parse()
            .map_err(|_| format!("{option} {text} is not a number"))
    })
    .transpose()
}

/// Returns the last argument that is not an option.
fn bare(command: &Command) -> Option<String> {
    command
        .arguments
        .iter()
        .rfind(|argument| !argument.starts_with("--"))
        .cloned()
}

/// Models `IgnoreDisk.parse` and `ClearPart.parse` in kickstart.py: parsing stops if a disk does
/// not exist (device_matches).
fn there(hardware: &Hardware, disk: &str, command: &str) -> Result<(), String> {
    let name = disk.strip_prefix("/dev/").unwrap_or(disk);
    if hardware
        .disks
        .iter()
        .any(|disk| disk.name == name || disk.links.iter().any(|link| link == name))
    {
        return Ok(());
    }
    Err(format!(
        "Disk \"{disk}\" given in {command} command does not exist."
    ))
}
