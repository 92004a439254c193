//! Models `doConfiguration` in install.py: everything that anaconda writes into the new system
//! after it has installed the packages and before it runs `%post`. The functions write in the same
//! order as anaconda.

use super::data::Data;
use super::types::{Effect, User};

/// The names that anaconda supports, from the recipe reader's own tables.
const TIMEZONES: &str = include_str!("../../../../recipes/src/recipe/install/known/timezones.txt");
const LOCALES: &str = include_str!("../../../../recipes/src/recipe/install/known/locales.txt");
const KEYMAPS: &str = include_str!("../../../../recipes/src/recipe/install/known/keymaps.txt");

/// Returns the name itself if the table contains it, otherwise the name with which anaconda
/// replaces it. anaconda replaces an unknown locale with the nearest locale in langtable. In this
/// model, the nearest locale is always the default.
fn known<'a>(table: &str, name: &'a str, otherwise: &'a str) -> &'a str {
    let mut names = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace);
    if names.any(|known| known == name) {
        name
    } else {
        otherwise
    }
}

/// The services to disable and those to enable.
#[derive(Debug, Default)]
pub(super) struct Services {
    disabled: Vec<String>,
    enabled: Vec<String>,
}

/// Models `Timezone.setup` in kickstart.py, which runs before the packages are installed. If
/// --nontp is given or the package chrony is excluded, chronyd is disabled. Otherwise, chronyd is
/// enabled, unless the kickstart disables chronyd.
pub(super) fn services(data: &Data) -> Services {
    let mut services = Services {
        disabled: data.disabled.clone(),
        enabled: data.enabled.clone(),
    };
    let named = |list: &[String]| list.iter().any(|name| name == "chronyd");
    if data.timezone.nontp || data.excluded.contains("chrony") {
        if !named(&services.disabled) {
            services.disabled.push("chronyd".into());
        }
    } else if !named(&services.enabled) && !named(&services.disabled) {
        services.enabled.push("chronyd".into());
    }
    services
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(super) fn effects(data: &Data, services: &Services) -> Vec<Effect> {
    let mut effects = Vec::new();
    effects.push(authconfig(data));
    // Models SELinux.execute.
    if let Some(mode) = data.selinux {
        effects.push(Effect::Set {
            path: "/etc/selinux/config",
            key: "SELINUX",
            value: mode.to_owned(),
        });
    }
    effects.extend(enabled_services(services));
    // Models `Keyboard.execute` (`write_keyboard_config` in keyboard.py). At this point,
    // activate_keyboard has already discarded keymaps that loadkeys refuses.
    let content = format!(
        "KEYMAP=\"{}\"\nFONT=\"latarcyrheb-sun16\"\n",
        known(KEYMAPS, &data.keymap, "us")
    );
    effects.push(Effect::File {
        path: "/etc/vconsole.conf",
        content,
    });
    timezone(data, &mut effects);
    // Models `Lang.execute` (`write_language_configuration` in localization.py), which runs after
    // setup_locale_environment.
    let content = format!("LANG=\"{}\"\n", known(LOCALES, &data.lang, "en_US.UTF-8"));
    effects.push(Effect::File {
        path: "/etc/locale.conf",
        content,
    });
    firewall(data, &mut effects);
    // Models `XConfig.execute` and `SkipX.execute` (`Desktop.write` in desktop.py). Every
    // non-graphical installation implies skipx.
    let target = if data.graphical {
        "graphical"
    } else {
        "multi-user"
    };
    let to = format!("/lib/systemd/system/{target}.target");
    effects.push(Effect::Link {
        path: "/etc/systemd/system/default.target",
        to,
    });
    // Models `Network.execute` (`write_hostname` in network.py).
    let hostname = data.hostname.as_deref().unwrap_or("localhost.localdomain");
    effects.push(Effect::File {
        path: "/etc/hostname",
        content: format!("{hostname}\n"),
    });
    // Models RootPw.execute: root's account is locked if the kickstart does not set a password.
    let (password, locked) = data.root.clone().unwrap_or((None, true));
    effects.push(Effect::Root { password, locked });
    effects.extend(data.groups.iter().map(|(name, gid)| Effect::Group {
        name: name.clone(),
        gid: *gid,
    }));
    effects.extend(data.users.iter().cloned().map(|user| new_user(data, user)));
    // Models `SshKey.execute` (`setUserSshKey` in users.py).
    let key = |(user, key): &(String, String)| Effect::SshKey {
        user: user.clone(),
        key: key.clone(),
    };
    effects.extend(data.keys.iter().map(key));
    effects
}

/// Models Authconfig.execute: runs the program `authconfig` if it exists, even if the kickstart
/// does not contain the command `authconfig`. The stand-in's base does not have the program.
fn authconfig(data: &Data) -> Effect {
    let mut authconfig = words(&["/usr/sbin/authconfig", "--update", "--nostart"]);
    authconfig.extend(
        data.authconfig
            .iter()
            .flat_map(|given| given.split_whitespace())
            .map(str::to_owned),
    );

    Effect::Target(authconfig)
}

/// Models Services.execute: ignores the result of systemctl.
fn enabled_services(services: &Services) -> Vec<Effect> {
    let mut effects = Vec::new();
    for (verb, names) in [
        ("disable", &services.disabled),
        ("enable", &services.enabled),
    ] {
        for name in names {
            let unit = if name.ends_with(".service") {
                name.clone()
            } else {
                format!("{name}.service")
            };
            effects.push(Effect::Target(vec!["systemctl".into(), verb.into(), unit]));
        }
    }
    effects
}

/// Models `createUser` in users.py: if a group with the user's name exists, the function stops
/// before it sets the password and the lock.
fn new_user(data: &Data, user: User) -> Effect {
    let half = data.groups.iter().any(|(name, _)| *name == user.name);
    Effect::User(if half {
        User {
            password: None,
            locked: false,
            ..user
        }
    } else {
        user
    })
}

/// Models Timezone.execute, which calls write_timezone_config (timezone.py) and
/// save_servers_to_config (ntp.py).
fn timezone(data: &Data, effects: &mut Vec<Effect>) {
    let zone = known(TIMEZONES, &data.timezone.zone, "America/New_York");
    effects.push(Effect::Link {
        path: "/etc/localtime",
        to: format!("../usr/share/zoneinfo/{zone}"),
    });
    let clock = if data.timezone.utc { "UTC" } else { "LOCAL" };
    effects.push(Effect::File {
        path: "/etc/adjtime",
        content: format!("0.0 0 0.0\n0\n{clock}\n"),
    });
    if !data.timezone.nontp && !data.timezone.servers.is_empty() {
        effects.push(Effect::Servers(data.timezone.servers.clone()));
    }
}

/// Models Firewall.execute.
fn firewall(data: &Data, effects: &mut Vec<Effect>) {
    let firewall = &data.firewall;
    if firewall.system_defaults {
        return;
    }
    let mut arguments = vec![
        if firewall.disabled {
            "--disabled"
        } else {
            "--enabled"
        }
        .to_owned(),
    ];
    let ssh = firewall
        .services
        .iter()
        .chain(&firewall.remove_services)
        .any(|service| service == "ssh");
    if !ssh && !firewall.ports.iter().any(|port| port == "22:tcp") {
        arguments.push("--service=ssh".into());
    }
    for (option, values) in [
        ("--trust", &firewall.trusts),
        ("--port", &firewall.ports),
        ("--remove-service", &firewall.remove_services),
        ("--service", &firewall.services),
    ] {
        arguments.extend(values.iter().map(|value| format!("{option}={value}")));
    }
    arguments.insert(0, "/usr/bin/firewall-offline-cmd".into());
    effects.push(Effect::Target(arguments));
}
