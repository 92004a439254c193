//! Formats the table of the members.

use super::row::Row;

/// Formats a header and one line for each member. Each column is as wide as its longest cell.
pub fn table(rows: &[Row]) -> String {
    let head = [
        "NAME", "ENDPOINT", "HEALTH", "ROLE", "VERSION", "DB SIZE", "REVISION", "TERM", "INDEX",
        "REMARKS",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let answered = !row.version.is_empty();
        let number = |text: String| if answered { text } else { "-".to_owned() };
        lines.push(vec![
            row.name.clone(),
            row.endpoint.clone(),
            health(row).to_owned(),
            role(row).to_owned(),
            number(row.version.clone()),
            number(size(row.db_size)),
            number(row.revision.to_string()),
            number(row.raft_term.to_string()),
            number(row.raft_index.to_string()),
            remarks(row),
        ]);
    }
    columns(&lines)
}

/// Returns the role of a member, or a dash if the member did not answer.
pub fn role(row: &Row) -> &'static str {
    match (row.version.is_empty(), row.leader, row.learner) {
        (true, ..) => "-",
        (_, true, _) => "leader",
        (_, _, true) => "learner",
        _ => "follower",
    }
}

/// Returns the health of a member in words.
pub fn health(row: &Row) -> &'static str {
    match (row.healthy, row.member) {
        (true, _) => "healthy",
        (false, true) => "UNHEALTHY",
        (false, false) => "NOT A MEMBER",
    }
}

/// Formats lines of cells, with each column as wide as its longest cell.
pub fn columns(lines: &[Vec<String>]) -> String {
    let mut widths = Vec::new();
    for (i, cell) in lines.iter().flat_map(|line| line.iter().enumerate()) {
        widths.resize(widths.len().max(i + 1), 0);
        widths[i] = widths[i].max(cell.chars().count());
    }
    let show = |line: &Vec<String>| {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(show).collect()
}

/// Returns the errors and notes of a member. Omits the errors of an excluded member, because an
/// excluded member is not expected to answer.
pub fn remarks(row: &Row) -> String {
    let errors = row.errors.iter().filter(|_| !row.without);
    errors
        .chain(&row.notes)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Formats a size with one decimal and a unit.
pub fn size(bytes: i64) -> String {
    // The sizes of etcd's databases usually range from a few MiB to a few GiB.
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 {
        format!("{mib:.1} MiB")
    } else {
        format!("{:.1} GiB", mib / 1024.0)
    }
}
