//! Names of time zones, locales and keymaps. The reader accepts only names that CentOS 7.9's
//! installer supports, because the installer silently replaces any other name.

use std::fmt;
use std::str::FromStr;

use crate::diagnostic::nearest;

const TIMEZONES: &str = include_str!("known/timezones.txt");
const LOCALES: &str = include_str!("known/locales.txt");
const KEYMAPS: &str = include_str!("known/keymaps.txt");

fn words(table: &'static str) -> impl Iterator<Item = &'static str> {
    table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $table:ident, $what:literal, $otherwise:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(&'static str);

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                if let Some(name) = words($table).find(|name| *name == text) {
                    return Ok(Self(name));
                }
                let near = similar(text, $table).map(|near| format!("; did you mean \"{near}\"?"));
                let near = near.unwrap_or_else(|| concat!("; write a name such as ", $example).to_owned());
                Err(format!(concat!("the installer does not have the ", $what, " `{}` and would \
                    use ", $otherwise, "{}"), text, near))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }
    };
}

name!(
    /// A time zone that anaconda supports. anaconda replaces any other name with America/New_York
    /// (pyanaconda/kickstart.py, Timezone).
    Timezone, TIMEZONES, "time zone", "America/New_York", "\"Europe/Berlin\" or \"UTC\""
);

name!(
    /// A locale that anaconda writes unchanged. anaconda replaces any other name with the nearest
    /// locale that it supports, or with en_US.UTF-8 (pyanaconda/localization.py,
    /// setup_locale_environment).
    Locale, LOCALES, "locale", "another locale", "\"en_US.UTF-8\""
);

name!(
    /// A keymap of the console. If loadkeys does not find the name, anaconda uses `us`
    /// (pyanaconda/keyboard.py, activate_keyboard).
    Keymap, KEYMAPS, "keymap", "us", "\"us\" or \"de-latin1\""
);

/// Languages and countries that people use as the name of a keymap, each with the actual name.
const LANGUAGES: [(&str, &str); 12] = [
    ("american", "us"),
    ("british", "uk"),
    ("danish", "dk"),
    ("english", "us"),
    ("french", "fr"),
    ("german", "de"),
    ("italian", "it"),
    ("norwegian", "no"),
    ("polish", "pl"),
    ("spanish", "es"),
    ("swedish", "sv-latin1"),
    ("swiss", "ch"),
];

/// Returns the known name that the user probably meant: a name that differs only in case, a name
/// with the same start or end, or a similar name.
fn similar(text: &str, table: &'static str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    let same = |name: &&str| name.to_lowercase() == lower;
    // Users write `de_DE` or `en` for a locale, `Berlin` for a time zone, and `german` for the
    // keymap `de`.
    let starts = |name: &&str| {
        name.split(['.', '-', '@'])
            .next()
            .is_some_and(|start| start.to_lowercase() == lower)
    };
    let ends = |name: &&str| {
        name.rsplit('/')
            .next()
            .is_some_and(|end| end.to_lowercase() == lower)
    };
    let language = format!("{lower}_");
    let of_language = |name: &&str| name.to_lowercase().starts_with(&language);
    let preferred = format!(
        "{lower}_{}.utf-8",
        if lower == "en" {
            "us".to_owned()
        } else {
            lower.clone()
        }
    );
    words(table)
        .find(same)
        .or_else(|| words(table).find(starts))
        .or_else(|| words(table).find(ends))
        .or_else(|| words(table).find(|name| name.to_lowercase() == preferred))
        .or_else(|| words(table).find(of_language))
        .or_else(|| words(table).find(|name| LANGUAGES.contains(&(&lower, name))))
        // Skip known names that are more than one character shorter than the text, because most of
        // them resemble only the first letters of the text.
        .or_else(|| {
            nearest(
                text,
                words(table).filter(|name| name.len() + 1 >= text.len()),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_installer_supports_are_accepted() {
        for zone in [
            "UTC",
            "Etc/UTC",
            "Europe/Berlin",
            "Asia/Colombo",
            "Etc/GMT-14",
            "America/New_York",
            "Japan",
        ] {
            assert_eq!(
                zone.parse::<Timezone>().map(|zone| zone.to_string()),
                Ok(zone.to_owned())
            );
        }
        for locale in [
            "en_US.UTF-8",
            "de_DE.UTF-8",
            "sr_RS.UTF-8@latin",
            "zh_CN.UTF-8",
        ] {
            assert!(locale.parse::<Locale>().is_ok(), "{locale}");
        }
        for keymap in [
            "us",
            "uk",
            "de",
            "de-latin1",
            "de-nodeadkeys",
            "fr-latin9",
            "gb",
            "dvorak",
        ] {
            assert!(keymap.parse::<Keymap>().is_ok(), "{keymap}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_a_suggestion() {
        let zone = |text: &str| text.parse::<Timezone>().expect_err(text);
        assert!(zone("Europe/Berln").ends_with("did you mean \"Europe/Berlin\"?"));
        assert!(zone("europe/berlin").ends_with("did you mean \"Europe/Berlin\"?"));
        assert!(zone("Berlin").ends_with("did you mean \"Europe/Berlin\"?"));
        assert!(zone("No/Such").contains("would use America/New_York"));
        // This zone is missing from pytz 2016.10, and therefore from anaconda, although 7.9's
        // tzdata has it.
        assert!(zone("America/Punta_Arenas").contains("would use America/New_York"));
        let locale = |text: &str| text.parse::<Locale>().expect_err(text);
        assert!(locale("en").ends_with("did you mean \"en_US.UTF-8\"?"));
        assert!(locale("de").ends_with("did you mean \"de_DE.UTF-8\"?"));
        assert!(locale("en_GB").ends_with("did you mean \"en_GB.UTF-8\"?"));
        assert!(locale("en_US.utf8").ends_with("did you mean \"en_US.UTF-8\"?"));
        assert!(locale("xx_YY").contains("xx_YY"));
        assert!(locale("C").contains("would use another locale"));
        let keymap = |text: &str| text.parse::<Keymap>().expect_err(text);
        assert!(keymap("DE").ends_with("did you mean \"de\"?"));
        assert!(
            keymap("nokb").ends_with("would use us; write a name such as \"us\" or \"de-latin1\"")
        );
        for (language, name) in LANGUAGES {
            assert!(
                keymap(language).ends_with(&format!("did you mean \"{name}\"?")),
                "{}",
                keymap(language)
            );
        }
        assert!(keymap("").contains("write a name such as"));
    }
}
