//! The harness's orders to the tracer, and the tracer's answers. Orders and answers are files in a
//! folder that both programs can access.
//!
//! | file | writer | content |
//! |---|---|---|
//! | `order` | the harness | what to do; only the next program that starts reads it |
//! | `points` | the tracer | every point that the program passed, one per line |
//! | `reached` | the tracer | exists if the program reached the point that the order names |
//! | `clock` | the harness | the error of the program's clock in seconds, while the file exists |

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// A program's call with an effect that other programs can see: the call, its object, and its
/// ordinal among equal calls. These three parts identify the call in every run, even if another
/// action, such as a query to a peer, occurs more often or less often in some runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The call and its object, such as `rename /etc/etcd/etcd.conf`.
    pub what: String,
    /// The ordinal of the point among equal calls, counted from 1.
    pub nth: usize,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} #{}", self.what, self.nth)
    }
}

impl std::str::FromStr for Point {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (what, nth) = text
            .rsplit_once(" #")
            .with_context(|| format!("{text:?} is not a point"))?;
        Ok(Self {
            what: what.to_owned(),
            nth: nth
                .parse()
                .with_context(|| format!("{text:?} is not a point"))?,
        })
    }
}

/// The tracer's action on the next program that is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TracerOrder {
    /// List all points that the program passes, without any other action.
    List,
    /// Kill the program at this point, before the call happens.
    Kill(Point),
    /// Hold the program at this point, before the call happens, until its machine is switched off.
    Hold(Point),
}

impl TracerOrder {
    /// Writes this order, which replaces any earlier order, and removes the answers to the earlier
    /// order.
    pub fn submit(&self, folder: &Path) -> Result<()> {
        for file in ["reached", "points"] {
            remove(&folder.join(file))?;
        }
        let text = match self {
            Self::List => "list".to_owned(),
            Self::Kill(point) => format!("kill {point}"),
            Self::Hold(point) => format!("hold {point}"),
        };
        let path = folder.join("order");
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Returns the current order, if there is one, and removes it.
    pub fn take(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("order");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        remove(&path)?;
        Ok(Some(match text.split_once(' ') {
            None if text == "list" => Self::List,
            Some(("kill", point)) => Self::Kill(point.parse()?),
            Some(("hold", point)) => Self::Hold(point.parse()?),
            _ => bail!("{} does not contain an order, but {text:?}", path.display()),
        }))
    }

    /// Returns whether the ordered point was reached.
    pub fn was_reached(folder: &Path) -> bool {
        folder.join("reached").exists()
    }

    /// Returns the points that were passed, in order.
    pub fn points(folder: &Path) -> Result<Vec<Point>> {
        let path = folder.join("points");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text.lines().map(str::parse).collect()
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_only_once() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(TracerOrder::take(folder.path()).unwrap(), None);
        let point = Point {
            what: "write /a #b".to_owned(),
            nth: 12,
        };
        for order in [
            TracerOrder::List,
            TracerOrder::Kill(point.clone()),
            TracerOrder::Hold(point),
        ] {
            order.submit(folder.path()).unwrap();
            assert_eq!(TracerOrder::take(folder.path()).unwrap(), Some(order));
            assert_eq!(TracerOrder::take(folder.path()).unwrap(), None);
        }
    }
}
