//! Expands the specifiers in unit files (src/core/unit-printf.c, src/shared/specifier.c).

use super::name;

/// One of the two tables of specifiers in systemd 219.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check) enum Table {
    /// `unit_name_printf`, for names of units and folders.
    Name,
    /// `unit_full_printf`, for strings, paths and conditions.
    Full,
}

/// The user of a unit's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::check) enum User {
    /// The user root.
    Root,
    /// Another user, given by name or number.
    Other(String),
    /// An unknown user, because a drop-in does not show the user of its unit.
    Unknown,
}

/// The properties of a unit to which specifiers can expand.
#[derive(Debug, Clone)]
pub(in crate::check) struct Subject {
    /// The unit's name.
    pub(in crate::check) id: String,
    /// The unit's user, if the unit runs processes.
    pub(in crate::check) user: Option<User>,
}

/// Specifiers of later systemd releases, each with a replacement.
pub(in crate::check) const LATER: [(char, &str); 9] = [
    ('S', "/var/lib"),
    ('C', "/var/cache"),
    ('L', "/var/log"),
    ('E', "/etc"),
    ('T', "/tmp"),
    ('V', "/var/tmp"),
    ('j', "the part of the unit's name after the last -"),
    ('J', "the part of the unit's name after the last -"),
    ('l', "%H"),
];

/// The letters of the specifiers in [`Table::Name`].
pub(in crate::check) const NAME_LETTERS: &str = "nNpi";

/// Returns whether systemd 219 supports the specifier with this letter.
pub(in crate::check) fn is_known(letter: char) -> bool {
    "nNpPiIfcrRtUuhsmHbv".contains(letter)
}

impl Subject {
    fn instance(&self) -> Option<&str> {
        name::instance(&self.id)
    }

    /// Returns the text that a specifier expands to. Returns `Ok(None)` if the letter is not a
    /// specifier, so that the text stays unchanged. Returns an error if systemd 219 cannot resolve
    /// the specifier.
    fn value(&self, table: Table, letter: char) -> Result<Option<String>, char> {
        let id = self.id.as_str();
        let prefix = name::prefix(id);
        let known = match letter {
            'n' => id.to_owned(),
            'N' => name::stem(id).to_owned(),
            'p' => prefix.to_owned(),
            'i' => self.instance().unwrap_or_default().to_owned(),
            _ if table == Table::Name => return Ok(None),
            'P' => name::unescape(prefix),
            'I' => name::unescape(self.instance().ok_or(letter)?),
            'f' => name::to_path(self.instance().unwrap_or(prefix)),
            'c' => format!("/system.slice/{id}"),
            // While systemd reads a unit file, the unit has no slice yet, so both specifiers expand
            // to the cgroup root of PID 1. The path of this root is empty.
            'r' | 'R' => String::new(),
            't' => "/run".to_owned(),
            'u' | 'U' | 'h' | 's' => return self.of_user(letter).map(Some),
            // The values of these specifiers depend on the machine, so sample values replace them.
            'm' | 'b' => "a".repeat(32),
            'H' => "node".to_owned(),
            'v' => "3.10.0-1160.el7.x86_64".to_owned(),
            _ => return Ok(None),
        };
        Ok(Some(known))
    }

    fn of_user(&self, letter: char) -> Result<String, char> {
        let value = match (self.user.as_ref().ok_or(letter)?, letter) {
            (User::Root, 'u') => "root",
            (User::Root | User::Unknown, 'U') => "0",
            (User::Root, 'h') => "/root",
            (User::Root, _) => "/bin/sh",
            (User::Unknown, 'u') => "user",
            (User::Unknown, _) => "/unknown",
            (User::Other(name), 'u') => name,
            (User::Other(name), 'U') if super::number::unsigned(name).is_some() => name,
            // PID 1 cannot look up this user, because PID 1 does not query a name service.
            (User::Other(_), _) => return Err(letter),
        };
        Ok(value.to_owned())
    }

    /// Resolves the specifiers in a string. The error is the letter of a specifier that systemd 219
    /// cannot resolve.
    pub(in crate::check) fn expand(&self, table: Table, text: &str) -> Result<String, char> {
        let mut out = String::new();
        let mut letters = text.chars();
        while let Some(c) = letters.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            // systemd drops a `%` at the end of the text.
            let Some(letter) = letters.next() else { break };
            match self.value(table, letter)? {
                _ if letter == '%' => out.push('%'),
                Some(value) => out.push_str(&value),
                None => out.extend(['%', letter]),
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_are_expanded_as_systemd_219_expands_them() {
        let unit = |id: &str, user| Subject {
            id: id.into(),
            user,
        };
        let plain = unit("a-b.service", Some(User::Root));
        assert_eq!(
            plain.expand(Table::Full, "%n %N %p %P [%i] %t %h %% %z %"),
            Ok("a-b.service a-b a-b a/b [] /run /root % %z ".into())
        );
        assert_eq!(plain.expand(Table::Full, "%f"), Ok("/a/b".into()));
        assert_eq!(plain.expand(Table::Full, "x%I"), Err('I'));
        for letter in ('A'..='z').filter(|letter| is_known(*letter)) {
            let specifier = format!("%{letter}");
            let is_expanded = plain.expand(Table::Name, &specifier) != Ok(specifier);
            assert_eq!(is_expanded, NAME_LETTERS.contains(letter), "%{letter}");
        }
        let instance = unit("a@b-c.service", Some(User::Other("etcd".into())));
        assert_eq!(
            instance.expand(Table::Full, "%i %I %f %u"),
            Ok("b-c b/c /b/c etcd".into())
        );
        assert_eq!(instance.expand(Table::Full, "%h"), Err('h'));
        assert_eq!(unit("a.timer", None).expand(Table::Full, "%u"), Err('u'));
    }
}
