//! Cells of CSV files that a spreadsheet would take for formulas (CWE-1236).

use std::borrow::Cow;

/// What formulas begin with, full-width signs included, and the blanks that spreadsheets skip before them.
const BEGINNINGS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// A cell as it is written: an apostrophe has a spreadsheet show what follows as text.
pub fn neutral(cell: &str) -> Cow<'_, str> {
    if begins_a_formula(cell) { format!("'{cell}").into() } else { cell.into() }
}

/// What was written as this cell: the inverse of [`neutral`].
pub fn original(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| begins_a_formula(text)).unwrap_or(cell)
}

/// One with an apostrophe before it counts as well: it could not be told from one that was written with it.
fn begins_a_formula(cell: &str) -> bool {
    cell.trim_start_matches('\'').starts_with(BEGINNINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_comes_back() {
        for (cell, written) in [
            ("", ""),
            ("'", "'"),
            ("小明", "小明"),
            ("O'Brien", "O'Brien"),
            ("'quoted'", "'quoted'"),
            ("a=b", "a=b"),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("＝1", "'＝1"),
            ("＠SUM", "'＠SUM"),
            ("'=1", "''=1"),
            ("''-1", "'''-1"),
        ] {
            assert_eq!(neutral(cell), written);
            assert_eq!(original(written), cell);
        }
    }
}
